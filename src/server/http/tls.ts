/**
 * TLS of a port: certificates that may change on disk, and which clients are let in.
 *
 * The files are read again for each handshake, as etcd does, so a certificate that was renewed is in use from the next
 * connection on, whether or not the client names a server. A handshake whose files can't be read fails; the connections
 * there are go on.
 *
 * @module
 */

import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP, type Socket } from 'node:net';
import tls, { type PeerCertificate, type SecureVersion, type TLSSocket } from 'node:tls';

/** PEM text itself, or where to read it, again for each handshake. */
export type PemSource = string | Uint8Array | { readonly path: string };

/** Certificates of a port, and of its clients. */
export interface PortTlsOptions {
  readonly cert: PemSource;
  readonly key: PemSource;
  /** The authorities of client certificates. With it every client must have one. */
  readonly clientCa?: PemSource | undefined;
  /** Revoked client certificates. */
  readonly clientCrl?: PemSource | undefined;
  /** Common names, of which a client's certificate must have one. Default: any. */
  readonly allowedCommonNames?: readonly string[] | undefined;
  /** Hosts or addresses, of which a client's certificate must name one. Default: any. */
  readonly allowedHostnames?: readonly string[] | undefined;
  /** Asked of a client with a certificate, and where it comes from: whether it is let in. Never rejects. Default: yes. */
  readonly admits?: ((certificate: X509Certificate, address: string) => Promise<boolean>) | undefined;
  /** Default: TLS 1.2. */
  readonly minVersion?: SecureVersion | undefined;
  readonly maxVersion?: SecureVersion | undefined;
  /** As OpenSSL names them. Default: those of Node.js. */
  readonly ciphers?: string | undefined;
  /** What may be spoken. Default: HTTP/2 and HTTP/1.1. */
  readonly alpn?: readonly string[] | undefined;
}

/** Makes TLS connections of clear ones. */
export class TlsAcceptor {
  readonly #options: PortTlsOptions;
  readonly #server: tls.Server;
  #texts: readonly (string | undefined)[] = [];

  private constructor(options: PortTlsOptions, handshakeMs: number, accepted: (socket: TLSSocket) => void) {
    this.#options = options;
    const mutual = options.clientCa !== undefined;
    this.#server = tls.createServer({
      ALPNProtocols: [...(options.alpn ?? ['h2', 'http/1.1'])],
      requestCert: mutual,
      rejectUnauthorized: mutual,
      handshakeTimeout: handshakeMs,
    });
    this.#server.on('secureConnection', (socket: TLSSocket) => {
      if (!this.#maySpeak(socket)) socket.destroy();
      else if (options.admits) void this.#ask(options.admits, socket, accepted);
      else accepted(socket);
    });
    this.#server.on('tlsClientError', (_error, socket) => socket.destroy());
  }

  /** @throws Error when the certificates can't be read or used. */
  static async create(
    options: PortTlsOptions,
    handshakeMs: number,
    accepted: (socket: TLSSocket) => void,
  ): Promise<TlsAcceptor> {
    const acceptor = new TlsAcceptor(options, handshakeMs, accepted);
    await acceptor.#reload();
    return acceptor;
  }

  /** Shakes hands on a connection. Never rejects: one that fails is closed. */
  async accept(socket: Socket): Promise<void> {
    try {
      await this.#reload();
    } catch {
      socket.destroy();
      return;
    }
    if (!socket.destroyed) this.#server.emit('connection', socket);
  }

  async #reload(): Promise<void> {
    const { cert, key, clientCa, clientCrl, minVersion = 'TLSv1.2', maxVersion, ciphers } = this.#options;
    const texts = await Promise.all([cert, key, clientCa, clientCrl].map(readPem));
    if (texts.every((text, i) => text === this.#texts[i]) && this.#texts.length > 0) return;
    const [certText, keyText, caText, crlText] = texts;
    this.#server.setSecureContext({
      cert: certText,
      key: keyText,
      minVersion,
      ...(caText === undefined ? {} : { ca: caText }),
      ...(crlText === undefined ? {} : { crl: crlText }),
      ...(maxVersion === undefined ? {} : { maxVersion }),
      ...(ciphers === undefined ? {} : { ciphers }),
    });
    this.#texts = texts;
  }

  #maySpeak(socket: TLSSocket): boolean {
    const { allowedCommonNames = [], allowedHostnames = [] } = this.#options;
    if (allowedCommonNames.length === 0 && allowedHostnames.length === 0) return true;
    return socket.authorized && hasAllowedName(socket.getPeerCertificate(), this.#options);
  }

  async #ask(
    admits: NonNullable<PortTlsOptions['admits']>,
    socket: TLSSocket,
    accepted: (socket: TLSSocket) => void,
  ): Promise<void> {
    // Whoever takes the connection listens later; it may break before.
    socket.on('error', () => {});
    const certificate = socket.getPeerX509Certificate();
    const { remoteAddress } = socket;
    const admitted = !certificate || remoteAddress === undefined || (await admits(certificate, remoteAddress));
    if (!admitted) socket.destroy();
    else if (!socket.destroyed) accepted(socket);
  }
}

/** A common name is no host's name, nor is there a pattern for a part of one: as with etcd. */
const HOST_RULES = { subject: 'never', partialWildcards: false } as const;

/** Whether a certificate has one of the names that it must have one of. */
export function hasAllowedName(
  certificate: PeerCertificate,
  {
    allowedCommonNames: names = [],
    allowedHostnames: hosts = [],
  }: Pick<PortTlsOptions, 'allowedCommonNames' | 'allowedHostnames'>,
): boolean {
  if (names.length > 0 && !names.includes(certificate.subject.CN as string)) return false;
  if (hosts.length === 0) return true;
  const x509 = new X509Certificate(certificate.raw);
  return hosts.some((host) => (isIP(host) === 0 ? x509.checkHost(host, HOST_RULES) : x509.checkIP(host)) !== undefined);
}

async function readPem(source: PemSource | undefined): Promise<string | undefined> {
  if (source === undefined || typeof source === 'string') return source;
  return source instanceof Uint8Array ? Buffer.from(source).toString('utf8') : readFile(source.path, 'utf8');
}

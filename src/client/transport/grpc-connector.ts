/**
 * The part of a connection that grpc-js leaves to its credentials: what happens between
 * TCP and HTTP/2.
 *
 * We make the TLS handshake ourselves, for four reasons. The error keeps its code, where
 * grpc-js hands on a text. An IP address is never sent as a server name, which RFC 6066
 * forbids. No session is resumed, so every handshake checks the server's identity. And the
 * socket stays in our hands: grpc-js forgets a socket whose handshake never ends, and such
 * sockets would pile up while a member is paused.
 *
 * Obligation of the owner: `drop` what is not a connection any more.
 *
 * @module
 */

import type { Socket } from 'node:net';
import { isIP } from 'node:net';
import { checkServerIdentity, connect, type SecureContext } from 'node:tls';
import { CallCredentials, ChannelCredentials } from '@grpc/grpc-js';
import { ConnectError } from './transport.ts';

type SecureConnector = ReturnType<ChannelCredentials['_createSecureConnector']>;
type Secured = Awaited<ReturnType<SecureConnector['connect']>>;

/** What a TLS handshake needs. */
export interface TlsSettings {
  readonly context: SecureContext;
  /** The name that the server's certificate must carry. */
  readonly expectedName: string;
}

/** Failures of the network and not of the handshake, by their code. */
const NETWORK_CODES: ReadonlySet<string> = new Set(['ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT']);

/** Credentials of one connection; they hold its sockets. */
export class ConnectionCredentials extends ChannelCredentials {
  readonly #tls: TlsSettings | undefined;
  /** Several while one of a host's addresses after the other is tried. */
  readonly #sockets = new Set<Socket>();
  readonly #connecting = new AbortController();
  #failure: ConnectError | undefined;

  /** Without settings the connection is in clear text. */
  constructor(tls: TlsSettings | undefined) {
    super();
    this.#tls = tls;
  }

  /** Why the last TLS handshake failed. */
  get failure(): ConnectError | undefined {
    return this.#failure;
  }

  /** Ends the sockets that TCP has not connected yet, and that we have not been given; see grpc-resolver.ts. */
  get connecting(): AbortSignal {
    return this.#connecting.signal;
  }

  /** Ends the sockets at once; later ones are refused. */
  drop(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
    // Last: the signal destroys with an error, which those in use above need not be told.
    this.#connecting.abort();
  }

  override _isSecure(): boolean {
    return this.#tls !== undefined;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    _target: unknown,
    _options: unknown,
    callCredentials: CallCredentials = CallCredentials.createEmpty(),
  ): SecureConnector {
    return {
      connect: (socket) => this.#secure(socket),
      // Asked before each attempt, of which a channel that was closed while it connected makes one more.
      waitForReady: async () => this.#refuseIfDropped(),
      getCallCredentials: () => callCredentials,
      destroy: ignore,
    };
  }

  async #secure(socket: Socket): Promise<Secured> {
    // One that is aborted right now has nobody else to hear of it.
    socket.on('error', ignore);
    this.#refuseIfDropped(socket);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    if (this.#tls === undefined) return { socket, secure: false };
    return { socket: await this.#handshake(socket, this.#tls), secure: true };
  }

  #refuseIfDropped(socket?: Socket): void {
    if (!this.#connecting.signal.aborted) return;
    socket?.destroy();
    throw new ConnectError('closed', 'the connection was given up');
  }

  #handshake(socket: Socket, { context, expectedName }: TlsSettings): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const secured = connect({
        socket,
        secureContext: context,
        ALPNProtocols: ['h2'],
        servername: isIP(expectedName) === 0 ? expectedName : '',
        checkServerIdentity: (_host, certificate) => checkServerIdentity(expectedName, certificate),
      });
      secured.once('secureConnect', () => resolve(secured));
      // It stays on: a server refuses a client's certificate only after the handshake (TLS 1.3).
      secured.on('error', (error: NodeJS.ErrnoException) => {
        if (!NETWORK_CODES.has(error.code ?? '')) this.#failure = new ConnectError('tls', describe(error));
        reject(error);
      });
      secured.once('close', () => reject(new Error('the connection was closed during the TLS handshake')));
    });
  }
}

/** OpenSSL's texts begin with the place in its source; what people need comes after it. */
function describe(error: NodeJS.ErrnoException): string {
  const text = error.message.replace(/^[0-9A-F]+:error:[0-9A-F]+:([^:]*):([^:]*):([^:]*):.*$/s, '$3');
  if (error.code === 'ERR_SSL_WRONG_VERSION_NUMBER') return 'the TLS handshake failed: the server does not speak TLS';
  const code = error.code === undefined || text.includes(error.code) ? '' : ` (${error.code})`;
  return `the TLS handshake failed: ${text.trim()}${code}`;
}

function ignore(): void {}

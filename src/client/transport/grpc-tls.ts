/**
 * Channel credentials for grpc-js from the client's TLS options.
 *
 * They are made anew for each connection, so a certificate that was rotated on disk is in
 * use from the next connection on. No TLS session is kept, so every handshake is a full
 * one and the server's identity is checked in each; Node 20 accepts a wrong server name on
 * a resumed session. A secure endpoint never falls back to clear text.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { ConnectionCredentials } from './grpc-connector.ts';
import { ConnectError, type EndpointAddress } from './transport.ts';

/** Makes the credentials of one connection. */
export type CredentialsSource = (endpoint: EndpointAddress) => Promise<ConnectionCredentials>;

/** PEM text itself, or where to read it, again for each connection. */
export type PemSource = string | Uint8Array | { readonly path: string };

/** How to prove who we are, and whom to believe. */
export interface TlsOptions {
  /** The authorities to trust. Default: those of Node.js. */
  readonly ca?: PemSource | undefined;
  /** The client's certificate chain; needs `key`. */
  readonly cert?: PemSource | undefined;
  /** The client's private key; needs `cert`. */
  readonly key?: PemSource | undefined;
  /** The passphrase of `key`. */
  readonly passphrase?: string | undefined;
  /** The name that the server's certificate must carry. Default: the endpoint's host. */
  readonly serverName?: string | undefined;
}

async function readPem(source: PemSource | undefined, what: string): Promise<string | Buffer | undefined> {
  if (source === undefined || typeof source === 'string') return source;
  if (source instanceof Uint8Array) return Buffer.from(source.buffer, source.byteOffset, source.byteLength);
  try {
    return await readFile(source.path);
  } catch (error) {
    throw new ConnectError('tls', `cannot read the ${what} file: ${(error as Error).message}`);
  }
}

/** Credentials for plain and for TLS endpoints, by the endpoint's scheme. */
export function credentialsSource(tls: TlsOptions | undefined): CredentialsSource {
  return async (endpoint) => {
    if (!endpoint.secure) return new ConnectionCredentials(undefined);
    const [ca, cert, key] = await Promise.all([
      readPem(tls?.ca, 'CA'),
      readPem(tls?.cert, 'certificate'),
      readPem(tls?.key, 'key'),
    ]);
    const expectedName = tls?.serverName ?? endpoint.serverName;
    try {
      const context = createSecureContext({ ca, cert, key, passphrase: tls?.passphrase, minVersion: 'TLSv1.2' });
      return new ConnectionCredentials({ context, expectedName });
    } catch (error) {
      // OpenSSL's texts say what is wrong with the PEM without quoting it.
      throw new ConnectError('tls', `the TLS options cannot be used: ${(error as Error).message}`);
    }
  };
}

/**
 * Who is at the other end of a TLS connection.
 *
 * @module
 */
import type { TLSSocket } from 'node:tls';

/** Found once for a connection: each look at a certificate decodes it. */
const names = new WeakMap<object, string | undefined>();

/** Common name of the certificate at the other end; undefined without one, or one that was not checked. */
export function commonNameOf(socket: object | undefined): string | undefined {
  const { authorized, getPeerCertificate } = (socket ?? {}) as Partial<TLSSocket>;
  if (socket === undefined || authorized !== true) return undefined;
  if (!names.has(socket)) {
    const name = getPeerCertificate?.call(socket)?.subject?.CN as string | readonly string[] | undefined;
    names.set(socket, typeof name === 'string' && name !== '' ? name : undefined);
  }
  return names.get(socket);
}

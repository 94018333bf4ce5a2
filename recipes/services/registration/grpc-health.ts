/**
 * The check of a gRPC service: `grpc.health.v1.Health/Check`.
 *
 * One call over HTTP/2, on a connection of its own. Two messages of two fields need no generated code, and a check of the
 * user's service no second copy of a gRPC library.
 *
 * Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md and PROTOCOL-HTTP2.md beside it.
 *
 * @module
 */

import { type ClientHttp2Session, connect, constants } from 'node:http2';
import { authorityOf } from '../instance.ts';
import { type Check, CheckFailedError } from './checks.ts';

/** What to ask over gRPC. */
export interface GrpcHealthCheckOptions {
  /** Default: `127.0.0.1`. */
  readonly address?: string | undefined;
  readonly port: number;
  /** The service asked about, `package.Service`. Default: the server as a whole. */
  readonly service?: string | undefined;
  /** TLS; PEM of the authorities that are trusted. Default: no TLS. */
  readonly tls?: { readonly ca?: string | Uint8Array | undefined } | undefined;
}

/** By number, as in `HealthCheckResponse.ServingStatus`. */
const STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
const SERVING = STATUSES.indexOf('SERVING');
/** An answer has seven bytes. */
const MAX_ANSWER_BYTES = 4_096;

/** Passes when the answer is `SERVING`. */
export function grpcHealthCheck({ address = '127.0.0.1', port, service = '', tls }: GrpcHealthCheckOptions): Check {
  const origin = `${tls === undefined ? 'http' : 'https'}://${authorityOf({ address, port })}`;
  const ca = tls?.ca === undefined ? undefined : Buffer.from(tls.ca);
  return {
    run: (signal) =>
      new Promise<void>((resolve, reject) => {
        const session = connect(origin, ca === undefined ? {} : { ca });
        const end = (error?: unknown): void => {
          signal.removeEventListener('abort', onAbort);
          session.destroy();
          if (error === undefined) resolve();
          else reject(error);
        };
        const onAbort = (): void => end(signal.reason);
        signal.addEventListener('abort', onAbort, { once: true });
        session.on('error', end);
        session.on('close', () => end(new CheckFailedError('the connection was closed')));
        // Not before: a stream that waits for a connection only says that it was cancelled, not why.
        session.on('connect', () => ask(session, service, end));
      }),
  };
}

/** Makes the call. `end` may be called more than once: the first time counts. */
function ask(session: ClientHttp2Session, service: string, end: (error?: unknown) => void): void {
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    [constants.HTTP2_HEADER_PATH]: '/grpc.health.v1.Health/Check',
    [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
    [constants.HTTP2_HEADER_TE]: 'trailers',
  });
  const chunks: Buffer[] = [];
  let bytes = 0;
  let code: unknown;
  const onHeaders = (headers: { readonly [name: string]: unknown }): void => {
    code ??= headers['grpc-status'];
  };
  stream.on('response', onHeaders);
  stream.on('trailers', onHeaders);
  stream.on('error', end);
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) end(new CheckFailedError('the answer is not one of a health service'));
    else chunks.push(chunk);
  });
  stream.on('close', () => end(judge(code, Buffer.concat(chunks))));
  stream.end(frame(service));
}

/** What is wrong with an answer; undefined when nothing is. */
function judge(code: unknown, body: Buffer): CheckFailedError | undefined {
  if (code !== '0') {
    const known = typeof code === 'string' && /^\d{1,2}$/.test(code);
    return new CheckFailedError(known ? `it answered with gRPC status ${code}` : 'it did not answer as gRPC does');
  }
  const status = statusOf(body);
  if (status === SERVING) return undefined;
  return new CheckFailedError(`it says ${STATUSES[status] ?? 'a status that is not known'}`);
}

/** `HealthCheckRequest { string service = 1; }` in a frame: not compressed, its length, the message. */
function frame(service: string): Buffer {
  const text = Buffer.from(service, 'utf8');
  const message = text.length === 0 ? text : Buffer.concat([Buffer.from([0x0a, ...varint(text.length)]), text]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

/** `HealthCheckResponse { ServingStatus status = 1; }`; an enum that is 0 is left out. -1: it is something else. */
function statusOf(body: Buffer): number {
  if (body.length < 5 || body[0] !== 0 || body.readUInt32BE(1) !== body.length - 5) return -1;
  if (body.length === 5) return 0;
  return body.length === 7 && body[5] === 0x08 ? (body[6] ?? -1) : -1;
}

/**
 * What gRPC says in HTTP/2 headers: what a request must have, deadlines, and statuses.
 *
 * Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; the texts are those of etcd 3.5.
 *
 * @module
 */
import { GrpcCode } from '../../protocol/status.ts';
import { encodeHeaders } from '../http2/hpack/encoder.ts';
import type { RequestHead } from '../http2/request-head.ts';
import type { MethodTable } from './call.ts';

const CONTENT_TYPE = 'application/grpc';

/** Milliseconds in each unit of `grpc-timeout`. */
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** Headers of an answer, before its first message. */
export const RESPONSE_HEADERS = encodeHeaders([
  [':status', '200'],
  ['content-type', CONTENT_TYPE],
]);

/** Trailers of a call that went well: they have an empty message, as etcd's have. */
export const OK_TRAILERS = statusTrailers(GrpcCode.OK, '');

/** Whether a request says that it is gRPC: `application/grpc`, with a subtype or parameters or without. */
export function isGrpc(head: RequestHead): boolean {
  const type = head.get('content-type');
  if (type === undefined || !type.startsWith(CONTENT_TYPE)) return false;
  const next = type[CONTENT_TYPE.length];
  return next === undefined || next === '+' || next === ';';
}

/** How long the client waits, in ms; undefined: for ever. NaN when it is not to be understood. */
export function timeoutMs(head: RequestHead): number | undefined {
  const text = head.get('grpc-timeout');
  if (text === undefined) return undefined;
  const match = /^(\d{1,8})([HMSmun])$/.exec(text);
  return match === null ? Number.NaN : Number(match[1]) * (UNIT_MS[match[2] as string] as number);
}

/** `grpc-message` is percent-encoded UTF-8. */
function encodeMessage(text: string): string {
  return text.replace(/[^ !-$&-~]+/gu, (part) => {
    // By way of bytes, since half of a surrogate pair makes encodeURIComponent throw.
    const hex = Buffer.from(part, 'utf8').toString('hex').toUpperCase();
    return hex.replace(/../g, '%$&');
  });
}

function status(code: GrpcCode, text: string): readonly (readonly [string, string])[] {
  return [
    ['grpc-status', String(code)],
    ['grpc-message', encodeMessage(text)],
  ];
}

/** The trailers of a call, as a block of headers. */
export function statusTrailers(code: GrpcCode, text: string): Buffer {
  return encodeHeaders(status(code, text));
}

/** Headers that are the whole answer, as a block. */
export function statusHeaders(code: GrpcCode, text: string, httpStatus = 200): Buffer {
  return encodeHeaders([[':status', String(httpStatus)], ['content-type', CONTENT_TYPE], ...status(code, text)]);
}

/** The answer to a request that is wrong before anybody looks at its method; undefined if nothing is. */
export function badRequest(head: RequestHead): Buffer | undefined {
  if (head.method !== 'POST') {
    const text = `Received a HEADERS frame with :method ${quote(head.method)} which should be POST`;
    return statusHeaders(GrpcCode.INTERNAL, text, 405);
  }
  if (!isGrpc(head)) {
    const text = `invalid gRPC request content-type ${quote(head.get('content-type'))}`;
    return statusHeaders(GrpcCode.INVALID_ARGUMENT, text, 415);
  }
  const encoding = head.get('grpc-encoding');
  if (encoding !== undefined && encoding !== 'identity' && encoding !== 'gzip') {
    const text = `grpc: Decompressor is not installed for grpc-encoding ${quote(encoding)}`;
    return statusHeaders(GrpcCode.UNIMPLEMENTED, text);
  }
  if (Number.isNaN(timeoutMs(head))) {
    return statusHeaders(GrpcCode.INTERNAL, `malformed grpc-timeout: ${quote(head.get('grpc-timeout'))}`, 400);
  }
  return undefined;
}

/** The answer to a path that no method has. */
export function unknownMethod(path: string, methods: MethodTable): Buffer {
  const [, service, method] = /^\/(.+)\/([^/]*)$/.exec(path) ?? [];
  if (service === undefined) return statusHeaders(GrpcCode.UNIMPLEMENTED, `malformed method name: ${quote(path)}`);
  const known = [...methods.keys()].some((each) => each.startsWith(`/${service}/`));
  const text = known ? `unknown method ${method} for service ${service}` : `unknown service ${service}`;
  return statusHeaders(GrpcCode.UNIMPLEMENTED, text);
}

function quote(text: string | undefined): string {
  return JSON.stringify(text ?? '');
}

/**
 * What grpc-js says when things fail, in the seam's terms.
 *
 * grpc-js keeps the fact we need most (was the request processed?) to itself and lets out
 * a code and a text. Three texts prove that no server acted on a request, provided that
 * they are grpc-js's own and no server wrote them; every other failure counts as "maybe".
 *
 * @module
 */

import type { StatusObject } from '@grpc/grpc-js';
import { GrpcCode } from '../../protocol/status.ts';
import { type CallFailure, ConnectError, type ConnectFailureKind } from './transport.ts';

// RST_STREAM with REFUSED_STREAM: "no application processing has occurred" (RFC 9113, 8.7).
const REFUSED = 'Stream refused by server';
// The session could not even number the stream, as when it has been told to go away.
const NOT_STARTED = 'Failed to start HTTP/2 stream';
// The picker's words: no connection at the moment of the call.
const NO_CONNECTION = 'No connection established';

/**
 * The seam's view of a status that is not a success.
 *
 * @param answered whether anything came before the status: headers or a message.
 * @param malformed why a message could not be decoded, if that is what ended the call.
 */
export function callFailure(status: StatusObject, answered: boolean, malformed: unknown): CallFailure {
  if (malformed !== undefined) {
    const details = `malformed message: ${malformed instanceof Error ? malformed.message : 'unreadable'}`;
    return { grpcCode: GrpcCode.INTERNAL, details, sent: 'maybe' };
  }
  if (status.code === GrpcCode.OK) {
    return { grpcCode: GrpcCode.INTERNAL, details: 'the server answered OK without a message', sent: 'maybe' };
  }
  const { details } = status;
  const never = details === REFUSED || details.startsWith(NOT_STARTED) || details.startsWith(NO_CONNECTION);
  if (!never || answered || isFromServer(status)) return { grpcCode: status.code, details, sent: 'maybe' };
  return { grpcCode: GrpcCode.UNAVAILABLE, details, sent: 'no' };
}

/** A status that a server sent carries at least the content type of its headers; one made here carries nothing. */
function isFromServer({ metadata }: StatusObject): boolean {
  return Object.keys(metadata.getMap()).length > 0;
}

const UNREACHABLE =
  /ECONNREFUSED|ENOENT|EACCES|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_|Name resolution failed|ECONNRESET|EPIPE|ETIMEDOUT/;

/** Why a connection failed, from the text that grpc-js has for it. */
export function connectError(details: string, secure: boolean): ConnectError {
  const why = details
    .replace(/^No connection established\.\s*(Last error:\s*)?/, '')
    .replace(/\s*Resolution note:\s*$/, '')
    .replace(/^(Error: )+/, '')
    .replace(/\s*\(\d{4}-\d\d-\d\dT[^)]*\)\.?/g, '')
    .replace(/[.\s]+$/, '')
    .trim();
  const kind: ConnectFailureKind = UNREACHABLE.test(why) ? 'refused' : 'protocol';
  if (why === 'Protocol error') return new ConnectError(kind, 'what listens there does not speak HTTP/2');
  const closed = why === '' || why === 'Failed to connect' || why === 'undefined';
  return new ConnectError(kind, closed ? (secure ? CLOSED_AFTER_TLS : CLOSED) : why);
}

const CLOSED = 'the connection was closed before the HTTP/2 handshake was over';
// A server may refuse a certificate by hanging up.
const CLOSED_AFTER_TLS = `${CLOSED}; perhaps the server does not accept the client's certificate`;

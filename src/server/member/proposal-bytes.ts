/**
 * The bytes of a request for the log.
 *
 * A request is one of some thirty kinds, and the generated codec looks at all of them. Puts are most of what comes, so
 * they are written by hand: the same bytes, an `InternalRaftRequest` with a header and a put.
 *
 * @module
 */
import { writePutRequest } from '../../protocol/generated/etcdserverpb.ts';
import {
  InternalRaftRequest,
  type RequestHeader,
  writeRequestHeader,
} from '../../protocol/generated/raftinternalpb.ts';
import { type Init, Writer } from '../../protocol/wire.ts';

/** Tags: the number of the field, and how it is written. */
const PUT = 34;
const HEADER = 802;

/** For one message at a time: nothing here waits. */
const writer = new Writer();

/** Encodes a request with its header. Last field first, as the {@link Writer} does. */
export function encodeProposal(request: Init<InternalRaftRequest>, header: Init<RequestHeader>): Uint8Array {
  const { put } = request;
  if (put === undefined) return InternalRaftRequest.encode({ ...request, header });
  writer.begin();
  writeRequestHeader(writer, header);
  writer.close(HEADER, 0);
  const before = writer.size();
  writePutRequest(writer, put);
  writer.close(PUT, before);
  return writer.finish();
}

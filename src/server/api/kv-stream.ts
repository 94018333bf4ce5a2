/**
 * `RangeStream`: a range in pieces.
 *
 * All pieces are of one revision: the records are chosen in one go, as references, and encoded piece by piece as the
 * reader takes them. So a stream once begun can't fail on a compaction; what it holds until its end is the list of
 * records, and those of them that were superseded meanwhile.
 *
 * The first piece is small, so that the reader has something soon; they double from there, to at most the size of a
 * request. Only the last one has a header, `count` and `more`: merged, the pieces are the response of `Range`.
 *
 * Source: etcd 3.7's API reference (`KV.RangeStream`).
 *
 * @module
 */
import type { RangeRequest, RangeStreamResponse } from '../../protocol/generated/etcdserverpb.ts';
import type { QueryResult } from '../mvcc/query.ts';
import type { KvRecord } from '../mvcc/record.ts';
import type { Outlet } from '../rpc/call.ts';
import { encodeRangeChunk, type Header } from './kv-encode.ts';

/** Keys in the first piece. */
const FIRST_KEYS = 10;

/** A range that was read, and is to be sent. */
export interface StreamedRange {
  readonly request: RangeRequest;
  readonly found: QueryResult;
  /** For the last piece. */
  readonly header: Header;
  /** Size of a piece, roughly: a record alone may have more. */
  readonly maxBytes: number;
}

/** Sends a range. Resolves when all of it is sent, or nobody waits for it any more. */
export async function streamRange(
  { request, found, header, maxBytes }: StreamedRange,
  out: Outlet<RangeStreamResponse>,
  signal: AbortSignal,
): Promise<void> {
  const { records, count, more } = found;
  let from = 0;
  for (let keys = FIRST_KEYS; !signal.aborted; keys *= 2) {
    const to = endOfPiece(records, from, keys, maxBytes);
    const isLast = to === records.length;
    const piece = encodeRangeChunk(
      records.slice(from, to),
      request.keysOnly,
      isLast ? { header, count, more } : undefined,
    );
    const hasRoom = out.send(piece);
    if (isLast) return;
    if (!hasRoom) await out.drained();
    from = to;
  }
}

/** At most so many records and bytes, but one record at least. */
function endOfPiece(records: readonly KvRecord[], from: number, keys: number, maxBytes: number): number {
  const most = Math.min(records.length, from + keys);
  let bytes = 0;
  for (let at = from; at < most; at += 1) {
    bytes += (records[at] as KvRecord).bytes.length;
    if (bytes > maxBytes && at > from) return at;
  }
  return most;
}

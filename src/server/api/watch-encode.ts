/**
 * Watch responses with events, made of stored bytes.
 *
 * An event is made of records as they are stored: no record is decoded, and none is encoded but the mark of a delete,
 * which is stored without its revision and sent with it. The field numbers are those of `rpc.proto` and `kv.proto`;
 * messages are written back to front.
 *
 * @module
 */
import { EventType } from '../../protocol/generated/mvccpb.ts';
import { fromLatin1 } from '../../protocol/keys.ts';
import { Writer } from '../../protocol/wire.ts';
import type { KvRecord } from '../mvcc/record.ts';
import { Encoded } from '../rpc/call.ts';

/** Tags: the number of the field, and how it is written. */
const HEADER = 10;
const WATCH_ID = 16;
const FRAGMENT = 56;
const EVENTS = 90;
const EVENT_TYPE = 8;
const EVENT_KV = 18;
const EVENT_PREV_KV = 26;
const KV_KEY = 10;
const KV_MOD_REVISION = 24;

/** What is in the message of a fragment besides: the mark that more follow. */
const FRAGMENT_BYTES = 2;

/** Events for one watcher. */
export interface EventBatch {
  /** An encoded `ResponseHeader`. */
  readonly header: Uint8Array;
  readonly watchId: bigint;
  readonly records: readonly KvRecord[];
  /** What was before a record, if that is to be sent too. */
  readonly previousOf?: ((record: KvRecord) => KvRecord | undefined) | undefined;
}

const writer = new Writer();

/** One response with all events. */
export function encodeEvents(batch: EventBatch): Encoded {
  return encode(batch, batch.records, false);
}

/**
 * The events in as many responses as it takes for each to be smaller than `maxBytes`. An event is never split: one that
 * is too large is alone.
 */
export function encodeFragments(batch: EventBatch, maxBytes: number): readonly Encoded[] {
  const { records } = batch;
  const sizes: number[] = [];
  const whole = encode(batch, records, false, sizes);
  if (whole.bytes.length < maxBytes || records.length < 2) return [whole];
  const eventBytes = sizes.reduce((sum, size) => sum + size, 0);
  const otherBytes = whole.bytes.length - eventBytes + FRAGMENT_BYTES;
  const fragments: Encoded[] = [];
  for (let from = 0; from < records.length; ) {
    let to = from + 1;
    for (let bytes = otherBytes + at(sizes, from); to < records.length; to += 1) {
      bytes += at(sizes, to);
      if (bytes >= maxBytes) break;
    }
    fragments.push(encode(batch, records.slice(from, to), to < records.length));
    from = to;
  }
  return fragments;
}

function at(sizes: readonly number[], index: number): number {
  return sizes[index] as number;
}

/** @param sizes Is told how large each event is, with its tag and length. */
function encode(
  { header, watchId, previousOf }: EventBatch,
  records: readonly KvRecord[],
  fragment: boolean,
  sizes?: number[],
): Encoded {
  writer.begin();
  for (let i = records.length; i-- > 0; ) {
    const before = writer.size();
    const record = records[i] as KvRecord;
    writeEvent(writer, record, previousOf?.(record));
    if (sizes) sizes[i] = writer.size() - before;
  }
  if (fragment) writer.bool(FRAGMENT, true);
  if (watchId !== 0n) writer.int64(WATCH_ID, watchId);
  writer.bytes(HEADER, header);
  return new Encoded(writer.finish());
}

function writeEvent(w: Writer, record: KvRecord, previous: KvRecord | undefined): void {
  const before = w.size();
  if (previous) w.bytes(EVENT_PREV_KV, previous.bytes);
  if (record.isTombstone) {
    const beforeKv = w.size();
    w.int64(KV_MOD_REVISION, BigInt(record.main));
    w.bytes(KV_KEY, fromLatin1(record.key));
    w.close(EVENT_KV, beforeKv);
    w.int32(EVENT_TYPE, EventType.DELETE);
  } else w.bytes(EVENT_KV, record.bytes);
  w.close(EVENTS, before);
}

/** The version of a key before a transaction. */
export function versionBefore(record: KvRecord, compactRevision: number): KvRecord | undefined {
  // What was before is read as of the revision before, and that is compacted.
  if (record.main <= compactRevision) return undefined;
  // A new key had nothing before it that counts.
  if (!record.isTombstone && record.createRevision === record.main) return undefined;
  let previous = record.previous;
  // One transaction may write a key twice, where it deletes without an upper bound.
  while (previous && previous.main === record.main) previous = previous.previous;
  return previous?.isTombstone ? undefined : previous;
}

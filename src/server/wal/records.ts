/**
 * What is in the records: whose log it is, entries, the hard state, that a snapshot was saved.
 *
 * They are written as etcd writes them, every number even when it is 0. Reading is strict: as the checksum does not
 * cover the type of a record, a flipped bit in it could make an entry of a vote. So each message must have the fields
 * that its kind always has and no others, and numbers that can be.
 *
 * @module
 */

import { Entry as EntryCodec, EntryType, HardState as HardStateCodec } from '../../protocol/generated/raftpb.ts';
import { Metadata as MetadataCodec, Snapshot as SnapshotCodec } from '../../protocol/generated/walpb.ts';
import type { ClusterId, MemberId } from '../../protocol/int64.ts';
import { Reader, Writer } from '../../protocol/wire.ts';
import type { Entry, EntryId, HardState } from '../raft/types.ts';

/** Whose log it is. */
export interface WalMetadata {
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
}

/** That a snapshot was saved; the log can be read from there on. */
export interface WalSnapshot extends EntryId {
  /** The encoded `raftpb.ConfState` as of that entry; empty in the logs of etcd 3.4, and at the start of a log. */
  readonly confState: Uint8Array;
}

/** Why data is not what the type of its record says. */
export class RecordError extends Error {
  override name = 'RecordError';
}

// Bit `n` for field `n`.
const REQUIRED = { entry: 0b1110, state: 0b1110, metadata: 0b110, snapshot: 0b110 };
const ALLOWED = { entry: 0b11110, state: 0b1110, metadata: 0b110, snapshot: 0b1110 };

const ENTRY_TYPES = ['EntryNormal', 'EntryConfChange', 'EntryConfChangeV2'] as const;

// The generated codecs leave out numbers that are 0; etcd writes them. Last field first: the writer goes backwards.
const writer = new Writer();

export function encodeEntry({ type, term, index, data }: Entry): Uint8Array {
  writer.begin();
  if (data.length > 0) writer.bytes(0x22, data);
  writer.uint64(0x18, BigInt(index));
  writer.uint64(0x10, BigInt(term));
  writer.int32(0x08, EntryType[type]);
  return writer.finish();
}

export function decodeEntry(bytes: Uint8Array): Entry {
  checkFields(bytes, 'entry');
  const { Type, Term, Index, Data } = EntryCodec.decode(bytes);
  const type = ENTRY_TYPES[Type];
  if (type === undefined) throw new RecordError('no such type of entry');
  // A copy: the view would keep alive all that was read with it.
  return { type, term: positive(Term, 'term'), index: positive(Index, 'index'), data: Uint8Array.from(Data) };
}

export function encodeHardState({ term, vote, commit }: HardState): Uint8Array {
  writer.begin();
  writer.uint64(0x18, BigInt(commit));
  writer.uint64(0x10, vote);
  writer.uint64(0x08, BigInt(term));
  return writer.finish();
}

export function decodeHardState(bytes: Uint8Array): HardState {
  checkFields(bytes, 'state');
  const { term, vote, commit } = HardStateCodec.decode(bytes);
  return { term: positive(term, 'term'), vote: vote as MemberId, commit: safe(commit, 'commit') };
}

export function encodeMetadata({ memberId, clusterId }: WalMetadata): Uint8Array {
  writer.begin();
  writer.uint64(0x10, clusterId);
  writer.uint64(0x08, memberId);
  return writer.finish();
}

export function decodeMetadata(bytes: Uint8Array): WalMetadata {
  checkFields(bytes, 'metadata');
  const { NodeID, ClusterID } = MetadataCodec.decode(bytes);
  return { memberId: NodeID as MemberId, clusterId: ClusterID as ClusterId };
}

export function encodeSnapshot({ index, term, confState }: WalSnapshot): Uint8Array {
  writer.begin();
  if (confState.length > 0) writer.bytes(0x1a, confState);
  writer.uint64(0x10, BigInt(term));
  writer.uint64(0x08, BigInt(index));
  return writer.finish();
}

export function decodeSnapshot(bytes: Uint8Array): WalSnapshot {
  checkFields(bytes, 'snapshot');
  const { index, term, confState } = SnapshotCodec.decode(bytes);
  return { index: safe(index, 'index'), term: safe(term, 'term'), confState: Uint8Array.from(confState) };
}

/** That each required field is there once, in order, and nothing that is not allowed. */
function checkFields(bytes: Uint8Array, kind: keyof typeof REQUIRED): void {
  const reader = new Reader(bytes);
  let last = 0;
  let found = 0;
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    const field = tag >>> 3;
    if (field <= last || field > 30 || (ALLOWED[kind] & (1 << field)) === 0) {
      throw new RecordError(`a field that is not of ${kind}`);
    }
    last = field;
    found |= 1 << field;
    if ((tag & 7) === 0) reader.uint64();
    else reader.bytes();
  }
  if ((found & REQUIRED[kind]) !== REQUIRED[kind]) throw new RecordError(`a field of ${kind} is missing`);
}

function safe(value: bigint, name: string): number {
  if (value > Number.MAX_SAFE_INTEGER) throw new RecordError(`${name} is too large`);
  return Number(value);
}

function positive(value: bigint, name: string): number {
  if (value === 0n) throw new RecordError(`${name} is 0`);
  return safe(value, name);
}

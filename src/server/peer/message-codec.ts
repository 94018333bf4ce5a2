/**
 * Messages of the core as bytes, as etcd's members send them to each other.
 *
 * All numbers are written, also those that are 0, as etcd writes them; a snapshot only where there is one. Reading takes
 * any `raftpb.Message` that can be one: its numbers are within reason, the entries of an append are those that come next,
 * an image names its place. What only storage threads say to their own member is refused, as is what has no place in
 * this release's vocabulary: {@link decodeMessage} has nothing to give then, and the stream goes on.
 *
 * On a stream of its own a message is preceded by its length.
 *
 * @module
 */
import {
  Entry as EntryCodec,
  EntryType,
  Message as MessageCodec,
  MessageType,
  type Entry as WireEntry,
  type Message as WireMessage,
  type Snapshot as WireSnapshot,
  writeSnapshot,
} from '../../protocol/generated/raftpb.ts';
import type { MemberId } from '../../protocol/int64.ts';
import { EMPTY, WireError, Writer } from '../../protocol/wire.ts';
import {
  type ConfState,
  type Entry,
  isLocal,
  type MessageType as Kind,
  type Message,
  message as makeMessage,
  type Snapshot,
} from '../raft/types.ts';
import { FrameError, join, type Parser, readLength, writeLength } from './frames.ts';
import { MAX_MESSAGE_BYTES } from './limits.ts';

const KINDS = Object.keys(MessageType) as readonly Kind[];
const ENTRY_KINDS = ['EntryNormal', 'EntryConfChange', 'EntryConfChangeV2'] as const;

const writer = new Writer();

/** The bytes of a message. They may share memory with others: send them or copy them. */
export function encodeMessage(message: Message): Uint8Array {
  const { type, to, from, term, logTerm, index, entries, commit, snapshot, reject, rejectHint, context } = message;
  writer.begin();
  if (context.length > 0) writer.bytes(0x62, context);
  writer.uint64(0x58, BigInt(rejectHint));
  writer.bool(0x50, reject);
  if (snapshot) {
    const size = writer.size();
    writeSnapshot(writer, wireSnapshot(snapshot));
    writer.close(0x4a, size);
  }
  writer.uint64(0x40, BigInt(commit));
  for (let i = entries.length; i-- > 0; ) {
    const size = writer.size();
    writeEntry(entries[i] as Entry);
    writer.close(0x3a, size);
  }
  writer.uint64(0x30, BigInt(index));
  writer.uint64(0x28, BigInt(logTerm));
  writer.uint64(0x20, BigInt(term));
  writer.uint64(0x18, from);
  writer.uint64(0x10, to);
  writer.int32(0x08, MessageType[type]);
  return writer.finish();
}

/** The bytes of an entry, as {@link encodeMessage} gives them. */
export function encodeEntry(entry: Entry): Uint8Array {
  writer.begin();
  writeEntry(entry);
  return writer.finish();
}

function writeEntry({ type, term, index, data }: Entry): void {
  if (data.length > 0) writer.bytes(0x22, data);
  writer.uint64(0x18, BigInt(index));
  writer.uint64(0x10, BigInt(term));
  writer.int32(0x08, EntryType[type]);
}

function wireSnapshot({ data, index, term, confState }: Snapshot) {
  const { voters, learners, votersOutgoing, learnersNext, autoLeave } = confState;
  return {
    data,
    metadata: {
      confState: {
        voters: [...voters],
        learners: [...learners],
        votersOutgoing: [...votersOutgoing],
        learnersNext: [...learnersNext],
        autoLeave,
      },
      index: BigInt(index),
      term: BigInt(term),
    },
  };
}

/** Reads a message; undefined if it is of a kind that no member may send. @throws FrameError it is none. */
export function decodeMessage(bytes: Uint8Array): Message | undefined {
  const wire = decoded(() => MessageCodec.decode(bytes));
  const type = KINDS[wire.type];
  if (type === undefined || MessageType[type] !== wire.type || isLocal(type)) return undefined;
  const message = fromWire(type, wire);
  if (type === 'MsgApp') checkAppend(message);
  if (type === 'MsgSnap' && message.snapshot === undefined) throw new FrameError('a snapshot has no place in the log');
  return message;
}

/** Reads an entry. @throws FrameError it is none. */
export function decodeEntry(bytes: Uint8Array): Entry {
  return entryOf(decoded(() => EntryCodec.decode(bytes)));
}

function fromWire(type: Kind, wire: WireMessage): Message {
  return makeMessage(type, {
    to: wire.to as MemberId,
    from: wire.from as MemberId,
    term: safe(wire.term),
    logTerm: safe(wire.logTerm),
    index: safe(wire.index),
    entries: wire.entries.map(entryOf),
    commit: safe(wire.commit),
    snapshot: snapshotOf(wire.snapshot),
    reject: wire.reject,
    rejectHint: safe(wire.rejectHint),
    context: kept(wire.context),
  });
}

function entryOf({ Type, Term, Index, Data }: WireEntry): Entry {
  const type = ENTRY_KINDS[Type];
  if (type === undefined) throw new FrameError('no such type of entry');
  return { type, term: safe(Term), index: safe(Index), data: kept(Data) };
}

/** Releases before 3.6 send an empty one with every message. */
function snapshotOf(wire: WireSnapshot | undefined): Snapshot | undefined {
  const { confState, index = 0n, term = 0n } = wire?.metadata ?? {};
  if (wire === undefined || index === 0n) return undefined;
  const ids = (list: readonly bigint[] = []): readonly MemberId[] => list as readonly MemberId[];
  const configuration: ConfState = {
    voters: ids(confState?.voters),
    learners: ids(confState?.learners),
    votersOutgoing: ids(confState?.votersOutgoing),
    learnersNext: ids(confState?.learnersNext),
    autoLeave: confState?.autoLeave ?? false,
  };
  return { data: kept(wire.data), index: safe(index), term: safe(term), confState: configuration };
}

/** The core takes the entries of an append for what follows its index. */
export function checkAppend({ index, term, logTerm, entries }: Message): void {
  let last = logTerm;
  for (const [i, entry] of entries.entries()) {
    if (entry.index !== index + 1 + i || entry.term < last)
      throw new FrameError('the entries of an append do not follow');
    last = entry.term;
  }
  if (last > term) throw new FrameError('an entry is of a later term than who sends it');
}

function decoded<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof WireError) throw new FrameError('not the encoding of a message', { cause: error });
    throw error;
  }
}

function safe(value: bigint): number {
  if (value > Number.MAX_SAFE_INTEGER) throw new FrameError('a term or index is out of range');
  return Number(value);
}

/** What is kept for long must not keep alive, for its few bytes, all that was read with it. */
function kept(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0) return EMPTY;
  return 2 * bytes.length >= bytes.buffer.byteLength ? bytes : bytes.slice();
}

/** A message as it goes over the stream `message`: pieces to be written one after the other. */
export function encodeFramed(message: Message): readonly Uint8Array[] {
  const bytes = encodeMessage(message);
  return join([writeLength(bytes.length), bytes]);
}

/** Reads the stream `message`, and hands on what {@link decodeMessage} gives. */
export function* messageParser(deliver: (message: Message) => void): Parser {
  for (;;) {
    const message = decodeMessage(yield readLength(yield 8, MAX_MESSAGE_BYTES));
    if (message) deliver(message);
  }
}

/** What keeps a stream alive, between messages: a heartbeat from nobody to nobody. */
export const LINK_HEARTBEAT: Message = makeMessage('MsgHeartbeat', {});

/** Whether a message is {@link LINK_HEARTBEAT}, which is of no concern to the core. */
export function isLinkHeartbeat({ type, from, to }: Message): boolean {
  return type === 'MsgHeartbeat' && from === 0n && to === 0n;
}

/**
 * The stream `msgapp` (etcd's "msgappv2"): appends of one leader to one member, mostly without what goes without saying.
 *
 * It is a sequence of frames. Each begins with its type, one byte:
 *
 * - 0: the stream lives; nothing follows.
 * - 1: an append that goes on where the last one ended, in the sender's term. How many entries (8 bytes), for each its
 *   length (8) and its bytes, then the index that is committed (8).
 * - 2: any append. The length of the message (8) and its bytes.
 *
 * All numbers are unsigned, most significant byte first. Both ends remember where the last append ended: the term that
 * it was sent in and the index of its last entry, or its own index if it had none. They must reckon alike, and so start
 * anew with each connection. An append is of type 1 if it starts at that index, and the entry there, as the one who
 * sends it, are of that term.
 *
 * Source: etcd's package `rafthttp`, and the streams of servers 3.5.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import { type Entry, type Message, message as makeMessage } from '../raft/types.ts';
import { FrameError, join, type Parser, readLength, writeLength } from './frames.ts';
import { MAX_MESSAGE_BYTES } from './limits.ts';
import {
  checkAppend,
  decodeEntry,
  decodeMessage,
  encodeEntry,
  encodeMessage,
  isLinkHeartbeat,
} from './message-codec.ts';

const HEARTBEAT = Buffer.of(0);
const ENTRIES = Buffer.of(1);
const WHOLE = Buffer.of(2);

/** What an entry costs here besides its bytes, so that many small ones are bounded too. */
const ENTRY_COST = 64;

/** Makes frames of the appends to one member, over one connection. */
export class AppendEncoder {
  #term = 0;
  #index = 0;

  /** An append, or a link heartbeat: pieces to be written one after the other. */
  encode(message: Message): readonly Uint8Array[] {
    if (isLinkHeartbeat(message)) return [HEARTBEAT];
    const { term, logTerm, index, entries, commit } = message;
    if (index === this.#index && logTerm === this.#term && term === logTerm) {
      this.#index += entries.length;
      const parts: Uint8Array[] = [ENTRIES, writeLength(entries.length)];
      for (const entry of entries) {
        const bytes = encodeEntry(entry);
        parts.push(writeLength(bytes.length), bytes);
      }
      parts.push(writeLength(commit));
      return join(parts);
    }
    this.#term = term;
    this.#index = index + entries.length;
    const bytes = encodeMessage(message);
    return join([WHOLE, writeLength(bytes.length), bytes]);
  }
}

/**
 * Reads one connection's frames, and hands on the appends.
 *
 * @param from The member at the other end.
 * @param to This one.
 */
export function* appendParser(from: bigint, to: bigint, deliver: (message: Message) => void): Parser {
  let term = 0;
  let index = 0;
  for (;;) {
    switch ((yield 1)[0]) {
      case 0:
        break;
      case 1: {
        const entries = yield* entriesParser();
        const commit = readLength(yield 8, Number.MAX_SAFE_INTEGER);
        const ends = { from: from as MemberId, to: to as MemberId };
        const message = makeMessage('MsgApp', { ...ends, term, logTerm: term, index, entries, commit });
        checkAppend(message);
        index += entries.length;
        deliver(message);
        break;
      }
      case 2: {
        const message = decodeMessage(yield readLength(yield 8, MAX_MESSAGE_BYTES));
        if (message?.type !== 'MsgApp') throw new FrameError('something else than an append');
        term = message.term;
        index = message.index + message.entries.length;
        deliver(message);
        break;
      }
      default:
        throw new FrameError('no such type of frame');
    }
  }
}

function* entriesParser(): Generator<number, Entry[], Buffer> {
  const entries: Entry[] = [];
  let budget = MAX_MESSAGE_BYTES;
  for (let count = readLength(yield 8, budget / ENTRY_COST); count > 0; count--) {
    const length = readLength(yield 8, budget);
    budget -= Math.min(budget, length + ENTRY_COST);
    entries.push(decodeEntry(yield length));
  }
  return entries;
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { FrameError, FrameReader, type Parser } from '../../../src/server/peer/frames.ts';
import {
  decodeMessage,
  encodeFramed,
  encodeMessage,
  LINK_HEARTBEAT,
  messageParser,
} from '../../../src/server/peer/message-codec.ts';
import { AppendEncoder, appendParser } from '../../../src/server/peer/msgapp-codec.ts';
import { type Entry, type Message, type MessageType, message } from '../../../src/server/raft/types.ts';

/** Kinds that members send each other. */
const KINDS: readonly MessageType[] = [
  ...(['MsgProp', 'MsgApp', 'MsgAppResp', 'MsgVote', 'MsgVoteResp', 'MsgSnap', 'MsgHeartbeat'] as const),
  ...(['MsgHeartbeatResp', 'MsgTransferLeader', 'MsgTimeoutNow', 'MsgReadIndex', 'MsgReadIndexResp'] as const),
  ...(['MsgPreVote', 'MsgPreVoteResp'] as const),
];

const id = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }) as fc.Arbitrary<MemberId>;
const ids = fc.array(id, { maxLength: 4 });
const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const bytes = fc.uint8Array({ maxLength: 40 });
const confState = fc.record({
  voters: ids,
  learners: ids,
  votersOutgoing: ids,
  learnersNext: ids,
  autoLeave: fc.boolean(),
});
const entryTypes = fc.constantFrom<Entry['type']>('EntryNormal', 'EntryConfChange', 'EntryConfChangeV2');
const place = fc.nat({ max: 2 ** 40 });
/** The entries of an append: those that follow, of terms that don't fall. */
const append = fc
  .record({
    index: place,
    logTerm: place,
    commit: count,
    rises: fc.nat({ max: 3 }),
    entries: fc.array(fc.record({ type: entryTypes, data: bytes, rise: fc.nat({ max: 2 }) }), { maxLength: 4 }),
  })
  .map(({ index, logTerm, commit, rises, entries }) => {
    let term = logTerm;
    const follow = entries.map(({ type, data, rise }, i): Entry => {
      term += rise;
      return { type, data, term, index: index + 1 + i };
    });
    return { index, logTerm, commit, entries: follow, term: term + rises + 1 };
  });

const anyMessage: fc.Arbitrary<Message> = fc
  .record({
    type: fc.constantFrom(...KINDS),
    ends: fc.record({ to: id, from: id }),
    numbers: fc.record({ term: count, logTerm: count, index: count, commit: count, rejectHint: count }),
    rest: fc.record({ reject: fc.boolean(), context: bytes }),
    proposed: fc.array(fc.record({ type: entryTypes, data: bytes, term: count, index: count }), { maxLength: 3 }),
    append,
    snapshot: fc.record({ data: bytes, index: count.map((n) => Math.max(n, 1)), term: count, confState }),
  })
  .map(({ type, ends, numbers, rest, proposed, append, snapshot }) => {
    const own = type === 'MsgApp' ? append : { entries: proposed };
    return message(type, { ...ends, ...numbers, ...rest, ...own, snapshot: type === 'MsgSnap' ? snapshot : undefined });
  });

/** Cuts bytes anywhere, and gives the pieces to a reader. */
function feed(parser: Parser, whole: Buffer, cuts: readonly number[]): void {
  const reader = new FrameReader(parser);
  let at = 0;
  for (const cut of cuts) {
    reader.push(whole.subarray(at, at + cut));
    at = Math.min(at + cut, whole.length);
  }
  reader.push(whole.subarray(at));
}

const cuts = fc.array(fc.nat({ max: 60 }), { maxLength: 60 });

describe('messages', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(anyMessage, (one) => {
        expect(decodeMessage(encodeMessage(one))).toEqual(one);
      }),
    );
  });

  it('come out of a stream as they went in, wherever it is cut', () => {
    fc.assert(
      fc.property(fc.array(anyMessage, { maxLength: 6 }), cuts, (sent, where) => {
        const got: Message[] = [];
        const whole = Buffer.concat(sent.flatMap(encodeFramed));
        feed(
          messageParser((one) => got.push(one)),
          whole,
          where,
        );
        expect(got).toEqual(sent);
      }),
    );
  });

  it('keep alive no more memory than a few times their own', () => {
    const huge = Buffer.alloc(1_000_000);
    const bytes = encodeMessage(message('MsgReadIndex', { context: new Uint8Array(20) }));
    huge.set(bytes, 500);
    const context = decodeMessage(huge.subarray(500, 500 + bytes.length))?.context;
    expect(context).toHaveLength(20);
    expect(context?.buffer.byteLength).toBeLessThan(100);
  });

  it.each(['MsgHup', 'MsgStorageAppend', 'MsgUnreachable', 'MsgCheckQuorum'] as const)(
    '%s is not one of a member',
    (type) => {
      expect(decodeMessage(encodeMessage(message(type, {})))).toBeUndefined();
    },
  );

  it('of kinds of a later release are passed over', () => {
    expect(decodeMessage(Buffer.of(0x08, 99))).toBeUndefined();
  });

  it.each<[string, Message]>([
    ['entries with a gap', append2({ index: 7 })],
    ['entries of a term that falls', append2({ logTerm: 5 })],
    ['entries of a later term than the sender', append2({ term: 2 })],
    ['a snapshot of nothing', message('MsgSnap', { term: 3 })],
  ])('%s are refused', (_name, one) => {
    expect(() => decodeMessage(encodeMessage(one))).toThrow(FrameError);
  });

  it('garbage is a FrameError, or a message', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (garbage) => {
        try {
          decodeMessage(garbage);
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('a damaged stream gives messages, or ends with a FrameError', () => {
    const flip = fc.tuple(fc.nat({ max: 400 }), fc.integer({ min: 1, max: 255 }));
    fc.assert(
      fc.property(
        fc.array(append, { minLength: 1, maxLength: 4 }),
        fc.array(flip, { maxLength: 3 }),
        (steps, flips) => {
          const encoder = new AppendEncoder();
          const sent = steps.map(appendMessage);
          const streams = [sent.flatMap((one) => encoder.encode(one)), sent.flatMap(encodeFramed)].map((parts) => {
            const whole = Buffer.concat(parts);
            for (const [at, mask] of flips) if (at < whole.length) whole[at] = (whole[at] ?? 0) ^ mask;
            return whole;
          });
          for (const [i, whole] of streams.entries()) {
            try {
              feed(i === 0 ? appendParser(11n, 12n, () => {}) : messageParser(() => {}), whole, []);
            } catch (error) {
              expect(error).toBeInstanceOf(FrameError);
            }
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it('a length beyond all reason ends the stream before memory is taken', () => {
    const reader = new FrameReader(messageParser(() => {}));
    expect(() => reader.push(Buffer.from('0000000010000000', 'hex'))).toThrow(FrameError);
    expect(() => new FrameReader(messageParser(() => {})).push(Buffer.from('ffffffffffffffff', 'hex'))).toThrow(
      FrameError,
    );
  });
});

function append2(fields: Partial<Message>): Message {
  const entry = (term: number, index: number): Entry => ({ type: 'EntryNormal', data: new Uint8Array(0), term, index });
  return message('MsgApp', { term: 3, logTerm: 3, index: 4, entries: [entry(3, 5), entry(3, 6)], ...fields });
}

/** What a leader may send: whole streaks that follow each other, and what does not. */
const leader = fc
  .array(fc.record({ append, follows: fc.constantFrom('no', 'in the term', 'in a later term') }), { maxLength: 8 })
  .map((steps) => {
    const sent: Message[] = [];
    for (const { append, follows } of steps) {
      const last = sent.at(-1);
      if (follows === 'no' || last === undefined) {
        sent.push(appendMessage(append));
        continue;
      }
      const index = last.index + last.entries.length;
      const term = last.term + (follows === 'in the term' ? 0 : 1);
      const entries = append.entries.map((entry, i) => ({ ...entry, term, index: index + 1 + i }));
      const logTerm = last.entries.at(-1)?.term ?? last.logTerm;
      sent.push(appendMessage({ term, logTerm, index, entries, commit: append.commit }));
    }
    return sent;
  });

function appendMessage(fields: Partial<Message>): Message {
  return message('MsgApp', { from: 11n as MemberId, to: 12n as MemberId, ...fields });
}

describe('the append stream', () => {
  it('gives what went in, wherever it is cut, with heartbeats in between', () => {
    let short = 0;
    fc.assert(
      fc.property(leader, cuts, fc.boolean(), (sent, where, beats) => {
        const encoder = new AppendEncoder();
        const parts: Uint8Array[] = [];
        for (const one of sent) {
          const frame = encoder.encode(one);
          if (frame[0]?.[0] === 1) short++;
          parts.push(...frame, ...(beats ? encoder.encode(LINK_HEARTBEAT) : []));
        }
        const got: Message[] = [];
        feed(
          appendParser(11n, 12n, (one) => got.push(one)),
          Buffer.concat(parts),
          where,
        );
        expect(got).toEqual(sent);
      }),
    );
    // The short form was among them.
    expect(short).toBeGreaterThan(20);
  });

  /** Sent by a server 3.5.16 to a member that had joined: its addition, what commits it, and two puts with their commits. */
  const RECORDED = [
    '020000000000000091080310f3b78dbdb9e0b0c57318dbb1e08cf7f4a6ee96012002280230043a6008011002180522580886baf8b2e6bfe8ed18100018f3b78dbdb9e0b0c57322407b226964223a383332353638313238313334343136363839392c227065657255524c73223a5b22687474703a2f2f3132372e302e302e313a3237383839225d7d40054a0a12080a0228001000180050005800',
    '0100000000000000000000000000000005',
    '010000000000000001000000000000001d080010021806221522060a016b120176a2060a0887baf8b2e6bfe8ed180000000000000005',
    '0100000000000000000000000000000006',
    '010000000000000001000000000000001d080010021807221522060a016b120177a2060a0888baf8b2e6bfe8ed180000000000000006',
    '0100000000000000000000000000000007',
  ];

  it('of a real etcd is read, and made again to the byte', () => {
    const [from, to] = [0x96dc9ba7719818dbn, 0x738ac30397a35bf3n];
    const got: Message[] = [];
    feed(
      appendParser(from, to, (one) => got.push(one)),
      Buffer.from(RECORDED.join(''), 'hex'),
      [],
    );
    expect(got.map(({ index, entries, commit }) => [index, entries.length, commit])).toEqual([
      [4, 1, 5],
      [5, 0, 5],
      [5, 1, 5],
      [6, 0, 6],
      [6, 1, 6],
      [7, 0, 7],
    ]);
    expect(got.every((one) => one.type === 'MsgApp' && one.from === from && one.to === to && one.term === 2)).toBe(
      true,
    );
    expect(got[0]?.entries[0]?.type).toBe('EntryConfChange');
    const encoder = new AppendEncoder();
    const again = got.map((one) => Buffer.concat(encoder.encode(one)).toString('hex'));
    expect(again.slice(1)).toEqual(RECORDED.slice(1));
    // Releases before 3.6 say "no snapshot" in twelve bytes; we, as later ones, in none.
    expect(again[0]).toBe(RECORDED[0]?.replace('4a0a12080a02280010001800', '').replace('91080310', '85080310'));
  });

  it.each([
    ['no such type', '07'],
    [
      'a message that is no append',
      `02${Buffer.concat(encodeFramed(message('MsgVote', { term: 1 }))).toString('hex')}`,
    ],
    ['more entries than there can be', '010000000010000000'],
    ['a count beyond 53 bits', '01ffffffffffffffff'],
    ['an entry longer than all may be', '0100000000000000010000000010000000'],
  ])('with %s is refused', (_name, hex) => {
    expect(() =>
      feed(
        appendParser(11n, 12n, () => {}),
        Buffer.from(hex, 'hex'),
        [],
      ),
    ).toThrow(FrameError);
  });
});

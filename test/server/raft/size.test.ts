import { describe, expect, it } from 'vitest';
import {
  entriesSize,
  entrySize,
  limitSize,
  NO_LIMIT,
  payloadSize,
  payloadsSize,
} from '../../../src/server/raft/size.ts';
import type { Entry } from '../../../src/server/raft/types.ts';
import { entry, log } from './support.ts';

describe('entrySize', () => {
  it.each<[name: string, entry: Entry, size: number]>([
    // Type, term and index, each with a tag, as found in the log of an etcd: 08 00 10 02 18 02.
    ['without data', entry(2, 2), 6],
    ['with one byte of data', entry(2, 2, 'x'), 9],
    ['with 127 bytes', entry(2, 2, 'x'.repeat(127)), 6 + 2 + 127],
    ['with 128 bytes: the length takes two', entry(2, 2, 'x'.repeat(128)), 6 + 3 + 128],
    ['of term 127 and index 128', entry(127, 128), 7],
    ['of term 2^14 and index 2^14-1', entry(2 ** 14, 2 ** 14 - 1), 2 + 4 + 3],
    // Past 32 bits, and as far as numbers go.
    ['of index 2^35-1', entry(1, 2 ** 35 - 1), 2 + 2 + 6],
    ['of index 2^35', entry(1, 2 ** 35), 2 + 2 + 7],
    ['of index 2^53-1', entry(1, Number.MAX_SAFE_INTEGER), 2 + 2 + 9],
    ['that is a change', { ...entry(2, 2, 'x'), type: 'EntryConfChangeV2' }, 9],
    ['that is proposed only', entry(0, 0), 6],
  ])('of an entry %s', (_, one, size) => {
    expect(entrySize(one)).toBe(size);
  });

  it('adds up', () => {
    expect(entriesSize([])).toBe(0);
    expect(entriesSize([entry(1, 1), entry(1, 2, 'x')])).toBe(15);
  });
});

describe('payloadSize', () => {
  it('is what the proposer brought: nothing for an empty entry, which no quota refuses', () => {
    expect(payloadSize(entry(7, 7))).toBe(0);
    expect(payloadSize(entry(7, 7, 'abc'))).toBe(3);
    expect(payloadsSize([entry(1, 1, 'a'), entry(1, 2), entry(1, 3, 'bc')])).toBe(3);
    expect(payloadsSize([])).toBe(0);
  });
});

describe('limitSize', () => {
  // Three entries of 6 bytes.
  it.each<[maxBytes: number, count: number]>([
    [NO_LIMIT, 3],
    [100, 3],
    [18, 3],
    [17, 2],
    [12, 2],
    [11, 1],
    [6, 1],
    // One always comes along, or nothing would ever go on.
    [5, 1],
    [0, 1],
  ])('within %d bytes: %d', (maxBytes, count) => {
    expect(limitSize(log(4, 5, 6), maxBytes)).toEqual(log(4, 5, 6).slice(0, count));
  });

  it('of nothing is nothing', () => {
    expect(limitSize([], 0)).toEqual([]);
  });
});

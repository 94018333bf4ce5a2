import { describe, expect, it } from 'vitest';
import { RaftInvariantError } from '../../../../src/server/raft/errors.ts';
import { MemoryStorage } from '../../../../src/server/raft/log/storage.ts';
import { NO_LIMIT } from '../../../../src/server/raft/size.ts';
import type { Entry } from '../../../../src/server/raft/types.ts';
import { bytes, confState, entry, ids, snapshot } from '../support.ts';

/** Compacted up to index 3 of term 3; entries 4 and 5, each of term = index. */
function compacted(): MemoryStorage {
  const storage = new MemoryStorage();
  storage.applySnapshot(snapshot(3, 3, [1, 2, 3]));
  storage.append([entry(4, 4), entry(5, 5)]);
  return storage;
}

function content(storage: MemoryStorage): readonly Entry[] {
  const all = storage.entries(storage.firstIndex(), storage.lastIndex() + 1, NO_LIMIT);
  return typeof all === 'string' ? [] : all;
}

describe('MemoryStorage', () => {
  it('begins with nothing, as if after a snapshot of nothing', () => {
    const storage = new MemoryStorage();
    expect([storage.firstIndex(), storage.lastIndex(), storage.term(0), storage.term(1)]).toEqual([
      1,
      0,
      0,
      'unavailable',
    ]);
    expect(storage.snapshot()).toMatchObject({ index: 0, term: 0 });
    expect(storage.initialState()).toEqual({
      hardState: { term: 0, vote: 0n, commit: 0 },
      confState: confState({}),
    });
  });

  it.each([
    [2, 'compacted'],
    // The entry before the first one is needed to append after it.
    [3, 3],
    [4, 4],
    [5, 5],
    [6, 'unavailable'],
  ])('the term of %d is %s', (index, term) => {
    expect(compacted().term(index)).toBe(term);
  });

  it.each<[low: number, high: number, maxBytes: number, expected: readonly number[] | string]>([
    [2, 6, NO_LIMIT, 'compacted'],
    [3, 4, NO_LIMIT, 'compacted'],
    [4, 5, NO_LIMIT, [4]],
    [4, 6, NO_LIMIT, [4, 5]],
    [5, 6, NO_LIMIT, [5]],
    // An entry without data has 6 bytes. The first one comes along whatever its size.
    [4, 6, 0, [4]],
    [4, 6, 11, [4]],
    [4, 6, 12, [4, 5]],
  ])('entries [%d, %d) within %d bytes are %j', (low, high, maxBytes, expected) => {
    const entries = compacted().entries(low, high, maxBytes);
    expect(typeof entries === 'string' ? entries : entries.map(({ index }) => index)).toEqual(expected);
  });

  it('refuses to be asked for entries that were never there', () => {
    expect(() => compacted().entries(4, 7, NO_LIMIT)).toThrow(RaftInvariantError);
  });

  it('has no entries to give when all are compacted', () => {
    const storage = compacted();
    storage.compact(5);
    expect(storage.entries(6, 6, NO_LIMIT)).toBe('unavailable');
  });

  it('what was read does not change with what is written afterwards', () => {
    const storage = compacted();
    const before = content(storage);
    storage.append([entry(9, 4)]);
    expect(before).toEqual([entry(4, 4), entry(5, 5)]);
  });

  it.each<[index: number, left: readonly Entry[]]>([
    // Compacted already.
    [2, [entry(4, 4), entry(5, 5)]],
    [3, [entry(4, 4), entry(5, 5)]],
    [4, [entry(5, 5)]],
    [5, []],
  ])('compact(%d) keeps what is behind, and the term of the entry before that', (index, left) => {
    const storage = compacted();
    storage.compact(index);
    expect(content(storage)).toEqual(left);
    expect([storage.firstIndex(), storage.lastIndex()]).toEqual([6 - left.length, 5]);
    expect(storage.term(5 - left.length)).toBe(5 - left.length);
    expect(storage.term(4 - left.length)).toBe('compacted');
  });

  it('can not be compacted past its end', () => {
    expect(() => compacted().compact(6)).toThrow(RaftInvariantError);
  });

  it.each<[name: string, entries: readonly Entry[], expected: readonly Entry[]]>([
    ['nothing', [], [entry(4, 4), entry(5, 5)]],
    ['what a snapshot stands for is not wanted back', [entry(1, 1), entry(2, 2)], [entry(4, 4), entry(5, 5)]],
    ['the same again', [entry(4, 4), entry(5, 5)], [entry(4, 4), entry(5, 5)]],
    ['other ones replace', [entry(6, 4), entry(6, 5)], [entry(6, 4), entry(6, 5)]],
    ['more follow', [entry(4, 4), entry(5, 5), entry(5, 6)], [entry(4, 4), entry(5, 5), entry(5, 6)]],
    ['what was there from the first one on is gone', [entry(5, 4)], [entry(5, 4)]],
    ['from before the beginning', [entry(3, 2), entry(3, 3), entry(5, 4)], [entry(5, 4)]],
    ['at the end', [entry(5, 6)], [entry(4, 4), entry(5, 5), entry(5, 6)]],
  ])('append: %s', (_, entries, expected) => {
    const storage = compacted();
    storage.append(entries);
    expect(content(storage)).toEqual(expected);
    expect(storage.lastIndex()).toBe(3 + expected.length);
  });

  it('append leaves no gap', () => {
    expect(() => compacted().append([entry(5, 7)])).toThrow(RaftInvariantError);
  });

  it('keeps a snapshot of an index with its term, and the log stays', () => {
    const storage = compacted();
    const confStateThen = confState({ voters: ids(1, 2) });
    storage.createSnapshot(4, confStateThen, bytes('state'));
    expect(storage.snapshot()).toEqual({ index: 4, term: 4, confState: confStateThen, data: bytes('state') });
    expect(storage.firstIndex()).toBe(4);
    expect(storage.initialState().confState).toEqual(confStateThen);
  });

  it('an older snapshot does not replace a later one', () => {
    const storage = compacted();
    storage.createSnapshot(5, confState({}), bytes('late'));
    storage.createSnapshot(4, confState({}), bytes('early'));
    expect(storage.snapshot()).toMatchObject({ index: 5, data: bytes('late') });
  });

  it('has no snapshot of what is not there', () => {
    expect(() => compacted().createSnapshot(6, confState({}), bytes(''))).toThrow(RaftInvariantError);
  });

  it('applySnapshot replaces everything, unless a later one is there', () => {
    const storage = compacted();
    storage.applySnapshot(snapshot(3, 3, [9]));
    expect(content(storage)).toHaveLength(2);
    storage.applySnapshot(snapshot(9, 7, [1, 4]));
    expect([storage.firstIndex(), storage.lastIndex(), storage.term(9)]).toEqual([10, 9, 7]);
    expect(storage.initialState().confState.voters).toEqual(ids(1, 4));
    storage.applySnapshot(snapshot(8, 7, [9]));
    expect(storage.lastIndex()).toBe(9);
  });
});

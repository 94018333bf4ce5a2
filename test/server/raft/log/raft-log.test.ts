import { describe, expect, it } from 'vitest';
import { RaftInvariantError } from '../../../../src/server/raft/errors.ts';
import { RaftLog } from '../../../../src/server/raft/log/raft-log.ts';
import { MemoryStorage } from '../../../../src/server/raft/log/storage.ts';
import { NO_LIMIT } from '../../../../src/server/raft/size.ts';
import { type EntryType, proposal } from '../../../../src/server/raft/types.ts';
import { log as entries, entry, snapshot } from '../support.ts';

/** Entries of those terms, from 1 on: the first `stable` of them in storage, the others not. */
function newLog(terms: readonly number[], stable: number, maxApplyingBytes = NO_LIMIT): RaftLog {
  const storage = new MemoryStorage();
  storage.append(entries(...terms.slice(0, stable)));
  const made = new RaftLog(storage, maxApplyingBytes);
  made.append(entries(...terms).slice(stable));
  return made;
}

/** Entries of those terms in storage, from `first` on; what is before is compacted, with term `before` at its end. */
function compactedLog(first: number, before: number, terms: readonly number[]): RaftLog {
  const storage = new MemoryStorage();
  storage.applySnapshot(snapshot(first - 1, before, []));
  storage.append(terms.map((term, at) => entry(term, first + at)));
  return new RaftLog(storage);
}

function termsOf(log: RaftLog): readonly number[] | string {
  const all = log.entriesFrom(log.firstIndex(), NO_LIMIT);
  return typeof all === 'string' ? all : all.map(({ term }) => term);
}

describe('RaftLog', () => {
  it('begins after what storage has compacted, all of that being committed and applied', () => {
    const log = compactedLog(11, 5, [5, 6]);
    expect([log.firstIndex(), log.lastIndex()]).toEqual([11, 12]);
    expect(log).toMatchObject({ committed: 10, applying: 10, applied: 10 });
    expect(log.unstable).toMatchObject({ offset: 13, offsetInProgress: 13 });
    expect(log.lastEntryId()).toEqual({ term: 6, index: 12 });
  });

  describe('maybeAppend', () => {
    // To terms 1, 2, 3, committed up to 1. The terms come after the entry of (logTerm, index).
    it.each<
      [
        logTerm: number,
        index: number,
        terms: number[],
        leaderCommit: number,
        last: number | undefined,
        after: number[],
        committed: number,
      ]
    >([
      // The entry before is another one, or missing: the log matching rule.
      [2, 3, [4], 3, undefined, [1, 2, 3], 1],
      [3, 4, [4], 4, undefined, [1, 2, 3], 1],
      [0, 4, [4], 4, undefined, [1, 2, 3], 1],
      // Nothing new but a commit: up to the last entry that is known to match, and never back.
      [3, 3, [], 3, 3, [1, 2, 3], 3],
      [3, 3, [], 4, 3, [1, 2, 3], 3],
      [3, 3, [], 2, 3, [1, 2, 3], 2],
      [3, 3, [], 0, 3, [1, 2, 3], 1],
      [0, 0, [], 3, 0, [1, 2, 3], 1],
      [1, 1, [], 3, 1, [1, 2, 3], 1],
      [2, 2, [], 3, 2, [1, 2, 3], 2],
      // New ones.
      [3, 3, [4], 3, 4, [1, 2, 3, 4], 3],
      [3, 3, [4], 5, 4, [1, 2, 3, 4], 4],
      [3, 3, [4, 4], 5, 5, [1, 2, 3, 4, 4], 5],
      // In place of others, with all that followed those.
      [2, 2, [4], 3, 3, [1, 2, 4], 3],
      [1, 1, [4], 3, 2, [1, 4], 2],
      [1, 1, [2, 4], 3, 3, [1, 2, 4], 3],
      // The same again: what follows stays, for an old message says nothing of it.
      [1, 1, [2], 1, 2, [1, 2, 3], 1],
      [0, 0, [1, 2], 3, 2, [1, 2, 3], 2],
      [0, 0, [1, 2, 3, 3], 3, 4, [1, 2, 3, 3], 3],
    ])('after term %d of %d, %j, commit %d: last %s, log %j, committed %d', (logTerm, index, terms, ...row) => {
      const [leaderCommit, last, after, committed] = row;
      const log = newLog([1, 2, 3], 3);
      log.commitTo(1);
      const given = terms.map((term, at) => entry(term, index + 1 + at));
      expect(log.maybeAppend({ term: logTerm, index }, given, leaderCommit)).toBe(last);
      expect(termsOf(log)).toEqual(after);
      expect(log.committed).toBe(committed);
    });

    it('never replaces what is committed: rather the member stops', () => {
      const log = newLog([1, 2, 3], 3);
      log.commitTo(1);
      expect(() => log.maybeAppend({ term: 0, index: 0 }, [entry(4, 1)], 3)).toThrow(RaftInvariantError);
      expect(termsOf(log)).toEqual([1, 2, 3]);
    });

    it('gives to the disk only what is new to it', () => {
      const log = newLog([1, 2, 3], 3);
      log.maybeAppend({ term: 1, index: 1 }, [entry(2, 2), entry(3, 3), entry(3, 4)], 0);
      expect(log.unstable.entries).toEqual([entry(3, 4)]);
      log.maybeAppend({ term: 1, index: 1 }, [entry(2, 2), entry(4, 3)], 0);
      expect(log.unstable.entries).toEqual([entry(4, 3)]);
      expect(log.unstable.offset).toBe(3);
    });
  });

  describe('findConflictByTerm', () => {
    it.each<[index: number, term: number, found: number, itsTerm: number]>([
      // Not known here: no statement.
      [100, 2, 100, 0],
      [5, 6, 5, 5],
      [5, 5, 5, 5],
      [5, 4, 2, 2],
      [5, 2, 2, 2],
      [5, 1, 0, 0],
      [1, 2, 1, 2],
      [1, 1, 0, 0],
      [0, 0, 0, 0],
    ])('in terms 2 2 5 5 5, from %d with term %d: %d of term %d', (index, term, found, itsTerm) => {
      expect(newLog([2, 2, 5, 5, 5], 3).findConflictByTerm(index, term)).toEqual({ index: found, term: itsTerm });
    });

    it.each<[index: number, term: number, found: number, itsTerm: number]>([
      [30, 3, 30, 0],
      [14, 9, 14, 4],
      [14, 4, 14, 4],
      [14, 3, 12, 3],
      [14, 2, 9, 2],
      [11, 5, 11, 3],
      [10, 3, 10, 3],
      // The entry before the first one has a term still; those before it have none.
      [10, 2, 9, 2],
      [9, 2, 9, 2],
      [14, 1, 8, 0],
      [4, 2, 4, 0],
      [0, 0, 0, 0],
    ])('in terms 3 3 3 4 4 from 10 on, from %d with term %d: %d of term %d', (index, term, found, itsTerm) => {
      const log = compactedLog(10, 2, [3, 3, 3, 4, 4]);
      expect(log.findConflictByTerm(index, term)).toEqual({ index: found, term: itsTerm });
    });
  });

  it.each<[term: number, index: number, upToDate: boolean]>([
    // A later last term, however short the log.
    [4, 1, true],
    [4, 3, true],
    [4, 4, true],
    // An earlier one, however long.
    [2, 2, false],
    [2, 3, false],
    [2, 9, false],
    // The same: by length.
    [3, 2, false],
    [3, 3, true],
    [3, 4, true],
  ])('a log that ends with term %d at %d may lead one that ends with term 3 at 3: %s', (term, index, upToDate) => {
    expect(newLog([1, 2, 3], 1).isUpToDate({ term, index })).toBe(upToDate);
  });

  it.each<[first: number, terms: readonly number[], after: readonly number[], offset: number]>([
    [3, [], [1, 2], 3],
    [3, [2], [1, 2, 2], 3],
    [1, [2], [2], 1],
    [2, [3, 3], [1, 3, 3], 2],
  ])('append from %d on, terms %j, to the stored terms 1 2: %j, unstable from %d on', (first, terms, after, offset) => {
    const log = newLog([1, 2], 2);
    log.append(terms.map((term, at) => entry(term, first + at)));
    expect(termsOf(log)).toEqual(after);
    expect(log.unstable.offset).toBe(offset);
  });

  it('append refuses to replace what is committed', () => {
    const log = newLog([1, 2], 2);
    log.commitTo(2);
    expect(() => log.append([entry(3, 2)])).toThrow(RaftInvariantError);
  });

  describe('term', () => {
    it.each([
      [99, 'compacted'],
      [100, 1],
      [101, 2],
      [104, 3],
      [105, 'unavailable'],
    ])('of %d is %s', (index, term) => {
      const log = compactedLog(101, 1, [2, 2, 3]);
      log.append([entry(3, 104)]);
      expect(log.term(index)).toBe(term);
    });

    it.each([
      // Those in storage are before the snapshot, and so not of this log any more.
      [100, 'compacted'],
      [104, 'compacted'],
      [105, 7],
      [106, 'unavailable'],
    ])('of %d is %s after an unstable snapshot of 105', (index, term) => {
      const log = compactedLog(101, 1, [2, 2, 3]);
      log.restore(snapshot(105, 7, []));
      expect(log.term(index)).toBe(term);
    });

    it('a missing entry matches nothing, not even term 0', () => {
      const log = compactedLog(101, 1, [2]);
      expect(log.matches({ term: 0, index: 50 })).toBe(false);
      expect(log.matches({ term: 0, index: 102 })).toBe(false);
      expect(newLog([], 0).matches({ term: 0, index: 0 })).toBe(true);
    });
  });

  it('begins behind a snapshot that it is restored from', () => {
    const log = newLog([1, 1, 1], 2);
    log.restore(snapshot(10, 4, []));
    expect([log.firstIndex(), log.lastIndex(), log.committed]).toEqual([11, 10, 10]);
    expect(log.lastEntryId()).toEqual({ term: 4, index: 10 });
    expect(log.unstable).toMatchObject({ offset: 11, entries: [] });
    log.append([entry(4, 11)]);
    expect(termsOf(log)).toEqual([4]);
  });

  it('goes on with less after a compaction of its storage', () => {
    const storage = new MemoryStorage();
    storage.append(entries(1, 2, 3, 4, 5));
    const log = new RaftLog(storage);
    log.commitTo(5);
    log.appliedTo(5, 0);
    storage.compact(3);
    expect([log.firstIndex(), log.lastIndex()]).toEqual([4, 5]);
    expect([2, 3, 4, 5].map((index) => log.term(index))).toEqual(['compacted', 3, 4, 5]);
    expect(log.slice(3, 6, NO_LIMIT)).toBe('compacted');
    expect(log.entriesFrom(3, NO_LIMIT)).toBe('compacted');
    expect(log.slice(4, 6, NO_LIMIT)).toEqual([entry(4, 4), entry(5, 5)]);
  });

  it('gives no entries past its end', () => {
    const log = newLog([1, 1], 1);
    expect(log.entriesFrom(3, NO_LIMIT)).toEqual([]);
    expect(() => log.slice(1, 4, NO_LIMIT)).toThrow(RaftInvariantError);
    expect(() => log.slice(2, 1, NO_LIMIT)).toThrow(RaftInvariantError);
  });

  it('a commit index never goes back, and never past the end', () => {
    const log = newLog([1, 2, 3], 3);
    log.commitTo(2);
    log.commitTo(1);
    expect(log.committed).toBe(2);
    expect(() => log.commitTo(4)).toThrow(RaftInvariantError);
    expect(log.committed).toBe(2);
  });

  it.each<[term: number, index: number, commits: boolean]>([
    [3, 3, true],
    [3, 4, true],
    // Committed already, of an earlier term, or not there.
    [3, 1, false],
    [3, 2, false],
    [3, 5, false],
    [3, Number.POSITIVE_INFINITY, false],
  ])('a leader of term %d commits what a quorum has up to %d in terms 1 2 3 3: %s', (term, index, commits) => {
    const log = newLog([1, 2, 3, 3], 4);
    log.commitTo(1);
    expect(log.maybeCommit({ term, index })).toBe(commits);
    expect(log.committed).toBe(commits ? index : 1);
  });

  it('has the snapshot that is on its way to storage, or else that of storage', () => {
    const log = compactedLog(11, 5, []);
    expect(log.snapshot()).toMatchObject({ index: 10 });
    log.restore(snapshot(20, 6, []));
    expect(log.snapshot()).toMatchObject({ index: 20 });
  });

  describe('hasUnappliedConfChange', () => {
    /** Five entries, all committed but the last, the first applied; one is a change of configuration. */
    const search = (changeAt: number, type: EntryType, maxApplyingBytes?: number): boolean => {
      const log = newLog([], 0, maxApplyingBytes);
      const list = entries(1, 1, 1, 1, 1);
      log.append(
        list.map((one) =>
          one.index === changeAt ? { ...proposal(undefined, type), ...{ term: 1, index: changeAt } } : one,
        ),
      );
      log.commitTo(4);
      log.appliedTo(1, 0);
      return log.hasUnappliedConfChange();
    };

    it.each<[changeAt: number, found: boolean]>([
      [1, false],
      [2, true],
      [4, true],
      [5, false],
      [9, false],
    ])('with 1 applied and 4 committed, a change at %d: %s', (changeAt, found) => {
      expect(search(changeAt, 'EntryConfChange')).toBe(found);
      expect(search(changeAt, 'EntryConfChangeV2')).toBe(found);
    });

    it('looks through all pages, however small', () => {
      for (const maxBytes of [1, 6, 12, 13]) {
        expect(search(4, 'EntryConfChangeV2', maxBytes)).toBe(true);
        expect(search(9, 'EntryConfChangeV2', maxBytes)).toBe(false);
      }
    });
  });
});

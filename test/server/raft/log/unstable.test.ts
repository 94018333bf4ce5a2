import { describe, expect, it } from 'vitest';
import { RaftInvariantError } from '../../../../src/server/raft/errors.ts';
import { type StableResult, Unstable } from '../../../../src/server/raft/log/unstable.ts';
import { entry, snapshot } from '../support.ts';

const SNAPSHOT = snapshot(4, 1, []);

/**
 * A state in short. `5: 1 2 >6 S>`: entry 5 of term 1 and 6 of term 2, with those before 6 on their way to the disk
 * (default: none), and the snapshot of index 4, also on its way.
 */
function unstable(state: string): Unstable {
  const [, offset = '', terms = '', inProgress, snapshotState] = /^(\d+):((?: \d+)*)(?: >(\d+))?(?: (S>?))?$/.exec(
    state,
  )!;
  const made = new Unstable(Number(offset));
  const list = terms.trim() === '' ? [] : terms.trim().split(' ');
  made.truncateAndAppend(list.map((term, at) => entry(Number(term), Number(offset) + at)));
  if (inProgress !== undefined) made.offsetInProgress = Number(inProgress);
  if (snapshotState !== undefined) made.snapshot = SNAPSHOT;
  made.snapshotInProgress = snapshotState === 'S>';
  return made;
}

function show(log: Unstable): string {
  const { offset, entries, offsetInProgress, snapshot: kept, snapshotInProgress } = log;
  const begun = offsetInProgress !== offset ? [`>${offsetInProgress}`] : [];
  const saved = kept ? [snapshotInProgress ? 'S>' : 'S'] : [];
  return [`${offset}:`, ...entries.map(({ term }) => term), ...begun, ...saved].join(' ');
}

describe('Unstable', () => {
  it.each<[string, first: number | undefined, last: number | undefined]>([
    ['5:', undefined, undefined],
    ['5: 1', undefined, 5],
    ['5: 1 1 S', 5, 6],
    ['5: S', 5, 4],
  ])('"%s" begins at %s and ends at %s', (state, first, last) => {
    const log = unstable(state);
    expect([log.firstIndex(), log.lastIndex()]).toEqual([first, last]);
  });

  it.each<[string, index: number, term: number | undefined]>([
    ['5: 2', 5, 2],
    ['5: 2', 6, undefined],
    ['5: 2', 4, undefined],
    ['5: 2 S', 5, 2],
    ['5: 2 S', 6, undefined],
    ['5: 2 S', 4, 1],
    ['5: 2 S', 3, undefined],
    ['5: S', 5, undefined],
    ['5: S', 4, 1],
    ['0:', 5, undefined],
  ])('"%s" has at %d the term %s', (state, index, term) => {
    expect(unstable(state).term(index)).toBe(term);
  });

  it('starts again from a snapshot, with nothing on its way to the disk', () => {
    const log = unstable('5: 1 >6 S>');
    const next = snapshot(6, 2, [1]);
    log.restore(next);
    expect(show(log)).toBe('7: S');
    expect(log.nextSnapshot()).toBe(next);
  });

  it.each<[string, next: readonly number[]]>([
    ['5: 1 1', [5, 6]],
    ['5: 1 1 >6', [6]],
    ['5: 1 1 >7', []],
    ['5:', []],
  ])('"%s" has %j to write next', (state, next) => {
    const log = unstable(state);
    expect(log.nextEntries().map(({ index }) => index)).toEqual(next);
    expect(log.hasNextEntries()).toBe(next.length > 0);
  });

  it('hands a snapshot to the disk once', () => {
    const log = unstable('5: S');
    expect(log.nextSnapshot()).toBe(SNAPSHOT);
    log.acceptInProgress();
    expect(log.nextSnapshot()).toBeUndefined();
    expect(log.snapshot).toBe(SNAPSHOT);
  });

  it.each([
    ['5:', '5:'],
    ['5: 1', '5: 1 >6'],
    ['5: 1 1 >6', '5: 1 1 >7'],
    ['5: S', '5: S>'],
    ['5: 1 S', '5: 1 >6 S>'],
    ['5: 1 S>', '5: 1 >6 S>'],
  ])('"%s" once all is on its way: "%s"', (before, after) => {
    const log = unstable(before);
    log.acceptInProgress();
    expect(show(log)).toBe(after);
  });

  describe('stableTo', () => {
    it.each<[string, term: number, index: number, StableResult, string]>([
      ['5:', 1, 5, 'missing', '5:'],
      ['5: 1 1 >7', 1, 5, 'stable', '6: 1 >7'],
      ['5: 1 1 >7', 1, 6, 'stable', '7:'],
      ['5: 1 1 >6', 1, 5, 'stable', '6: 1'],
      // What is on its way never lags behind what is stable.
      ['5: 1 1', 1, 5, 'stable', '6: 1'],
      // What is here is not what was written.
      ['6: 2 >7', 1, 6, 'mismatched', '6: 2 >7'],
      ['5: 1 1 >7', 1, 4, 'missing', '5: 1 1 >7'],
      ['5: 1 1 >7', 1, 7, 'missing', '5: 1 1 >7'],
      // A snapshot of that entry came meanwhile.
      ['5: 1 1 S', 1, 4, 'snapshot', '5: 1 1 S'],
      ['5: 1 1 S', 1, 5, 'stable', '6: 1 S'],
      ['5: 1 1 S', 1, 3, 'missing', '5: 1 1 S'],
    ])('of "%s", term %d, index %d: %s, then "%s"', (before, term, index, result, after) => {
      const log = unstable(before);
      expect(log.stableTo({ term, index })).toBe(result);
      expect(show(log)).toBe(after);
    });

    it('the report of an entry that was replaced while it was written is not one of its replacement', () => {
      const log = unstable('5: 1 1');
      log.acceptInProgress();
      log.truncateAndAppend([entry(2, 6)]);
      expect(log.stableTo({ index: 6, term: 1 })).toBe('mismatched');
      expect(show(log)).toBe('5: 1 2 >6');
    });
  });

  it('a snapshot is stable when that very one is', () => {
    const log = unstable('5: S>');
    log.stableSnapshotTo(3);
    log.stableSnapshotTo(5);
    expect(show(log)).toBe('5: S>');
    log.stableSnapshotTo(4);
    expect(show(log)).toBe('5:');
    expect(log.snapshotInProgress).toBe(false);
  });

  describe('truncateAndAppend', () => {
    it.each<[string, first: number, terms: readonly number[], string]>([
      ['5: 1', 6, [1, 1], '5: 1 1 1'],
      ['5: 1 >6', 6, [1], '5: 1 1 >6'],
      // In place of all.
      ['5: 1', 5, [2, 2], '5: 2 2'],
      ['5: 1 >6', 5, [2], '5: 2'],
      // In place of stored ones too.
      ['5: 1', 4, [2, 2], '4: 2 2'],
      ['5: 1 >6', 4, [2], '4: 2'],
      // In place of the end.
      ['5: 1 1 1', 6, [2], '5: 1 2'],
      ['5: 1 1 1', 7, [2, 2], '5: 1 1 2 2'],
      // What is replaced has to be written again, what stays has not.
      ['5: 1 1 1 >6', 6, [2], '5: 1 2 >6'],
      ['5: 1 1 1 >7', 6, [2], '5: 1 2 >6'],
      ['5: 1 >6', 6, [], '5: 1 >6'],
    ])('to "%s", from %d on, terms %j: "%s"', (before, first, terms, after) => {
      const log = unstable(before);
      log.truncateAndAppend(terms.map((term, at) => entry(term, first + at)));
      expect(show(log)).toBe(after);
    });

    it('leaves no gap', () => {
      expect(() => unstable('5: 1').truncateAndAppend([entry(1, 7)])).toThrow(RaftInvariantError);
    });

    it('changes nothing of what was handed out or taken in', () => {
      const given = [entry(1, 5), entry(1, 6)];
      const log = new Unstable(5);
      log.truncateAndAppend(given);
      const next = log.nextEntries();
      log.truncateAndAppend([entry(2, 6)]);
      expect(next).toEqual([entry(1, 5), entry(1, 6)]);
      expect(given).toEqual([entry(1, 5), entry(1, 6)]);
    });
  });

  it('gives entries of a range within it, and of no other', () => {
    const log = unstable('5: 1 1');
    expect(log.slice(5, 6)).toEqual([entry(1, 5)]);
    expect(log.slice(7, 7)).toEqual([]);
    for (const [low, high] of [
      [4, 6],
      [5, 8],
      [6, 5],
    ] as const) {
      expect(() => log.slice(low, high)).toThrow(RaftInvariantError);
    }
  });
});

/** How a log hands out committed entries: in pages, and as far as they may be applied. Each entry here has 6 bytes. */
import { describe, expect, it } from 'vitest';
import { RaftInvariantError } from '../../../../src/server/raft/errors.ts';
import { RaftLog } from '../../../../src/server/raft/log/raft-log.ts';
import { MemoryStorage } from '../../../../src/server/raft/log/storage.ts';
import { NO_LIMIT } from '../../../../src/server/raft/size.ts';
import { entry, snapshot } from '../support.ts';

/** Applied up to a snapshot of 3; entries 4 to 6, of which 4 is stable and 5 committed. */
function newLog(maxApplyingBytes = NO_LIMIT): RaftLog {
  const storage = new MemoryStorage();
  storage.applySnapshot(snapshot(3, 1, []));
  storage.append([entry(1, 4)]);
  const log = new RaftLog(storage, maxApplyingBytes);
  log.append([entry(1, 5), entry(1, 6)]);
  log.commitTo(5);
  return log;
}

/** All of it becomes stable and committed. */
function finish(log: RaftLog): void {
  (log.storage as MemoryStorage).append(log.unstable.entries);
  log.unstable.stableTo({ term: 1, index: 6 });
  log.commitTo(6);
}

function next(log: RaftLog, allowUnstable: boolean): number[] {
  const indexes = log.nextCommitted(allowUnstable).map(({ index }) => index);
  expect(log.hasNextCommitted(allowUnstable)).toBe(indexes.length > 0);
  return indexes;
}

describe('RaftLog, committed entries', () => {
  it('are handed out once they are on the own disk, or before if the caller writes in order', () => {
    expect(next(newLog(), true)).toEqual([4, 5]);
    expect(next(newLog(), false)).toEqual([4]);
  });

  it('that are on their way to the disk are not on it yet', () => {
    const log = newLog();
    log.unstable.acceptInProgress();
    expect(next(log, false)).toEqual([4]);
    finish(log);
    expect(next(log, false)).toEqual([4, 5, 6]);
  });

  it('are handed out once', () => {
    const log = newLog();
    log.acceptApplying(5, 12, true);
    expect(next(log, true)).toEqual([]);
    finish(log);
    expect(next(log, true)).toEqual([6]);
    expect(log).toMatchObject({ applied: 3, applying: 5 });
  });

  it('wait for a snapshot that is not applied', () => {
    const log = newLog();
    log.restore(snapshot(9, 1, []));
    log.append([entry(1, 10)]);
    log.commitTo(10);
    for (const inProgress of [false, true]) {
      if (inProgress) log.unstable.acceptInProgress();
      expect(next(log, true)).toEqual([]);
    }
    log.unstable.stableSnapshotTo(9);
    log.appliedTo(9, 0);
    expect(next(log, true)).toEqual([10]);
  });

  it('are handed out in pages: one at least, no more while a page is out that is not applied', () => {
    const log = newLog(11);
    finish(log);
    expect(next(log, true)).toEqual([4]);
    log.acceptApplying(4, 6, true);
    // 6 of 11 bytes are out and the next entry would not fit: it must not be tried again and again.
    expect(next(log, true)).toEqual([]);
    log.appliedTo(4, 6);
    expect(next(log, true)).toEqual([5]);
  });

  it('fill the page with what is left of it', () => {
    const log = newLog(20);
    log.acceptApplying(5, 12, true);
    finish(log);
    log.append([entry(1, 7)]);
    log.commitTo(7);
    expect(next(log, true)).toEqual([6]);
  });

  describe('with 100 bytes to hand out', () => {
    it.each<[index: number, allowUnstable: boolean, bytes: number, more: boolean]>([
      // Something that could have been handed out was left: it did not fit.
      [3, true, 99, false],
      [4, true, 99, false],
      [3, false, 99, false],
      // All was handed out: more may follow until the bytes are used up.
      [5, true, 99, true],
      [5, true, 100, false],
      [5, true, 101, false],
      [4, false, 99, true],
      [4, false, 100, false],
      [4, false, 101, false],
    ])(
      'up to %d (unstable ones too: %s) of %d bytes are out: more follow at once %s',
      (index, unstable, bytes, more) => {
        const log = newLog(100);
        log.acceptApplying(index, bytes, unstable);
        finish(log);
        expect(log.hasNextCommitted(unstable)).toBe(more);
      },
    );

    it.each<[index: number, bytes: number, more: boolean]>([
      [4, 4, false],
      [4, 5, false],
      [4, 6, true],
      [5, 4, false],
      [5, 6, true],
      // More than was counted, as after a restart: not less than nothing is out.
      [5, 1_000, true],
    ])('and 105 out, up to %d of %d bytes are applied: more follow %s', (index, bytes, more) => {
      const log = newLog(100);
      log.acceptApplying(5, 105, true);
      log.appliedTo(index, bytes);
      finish(log);
      expect(log).toMatchObject({ applied: index, applying: 5 });
      expect(log.hasNextCommitted(true)).toBe(more);
      log.acceptApplying(6, 99, true);
      log.append([entry(1, 7)]);
      log.commitTo(7);
      expect(log.hasNextCommitted(true)).toBe(bytes > 105);
    });
  });

  it('are applied in order, and no sooner than committed', () => {
    const log = newLog();
    expect(() => log.acceptApplying(6, 6, true)).toThrow(RaftInvariantError);
    expect(() => log.appliedTo(6, 6)).toThrow(RaftInvariantError);
    log.appliedTo(5, 0);
    expect(() => log.appliedTo(4, 0)).toThrow(RaftInvariantError);
    // What is applied need not be handed out again: a member that comes back says how far it is.
    expect(log).toMatchObject({ applied: 5, applying: 5 });
  });
});

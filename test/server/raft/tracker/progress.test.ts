import { describe, expect, it } from 'vitest';
import { Inflights } from '../../../../src/server/raft/tracker/inflights.ts';
import { Progress, type ProgressState } from '../../../../src/server/raft/tracker/progress.ts';

interface Fields {
  readonly match?: number;
  readonly next?: number;
  readonly state?: ProgressState;
  readonly flowPaused?: boolean;
  readonly pendingSnapshot?: number;
  readonly sentCommit?: number;
  readonly size?: number;
  readonly maxBytes?: number;
}

function progress(fields: Fields = {}): Progress {
  const { match = 0, next = match + 1, size = 256, maxBytes, ...rest } = fields;
  const inflights = new Inflights(size, maxBytes);
  return Object.assign(new Progress({ match, next, inflights, isLearner: false, recentActive: true }), rest);
}

describe('Progress', () => {
  it.each<[ProgressState, flowPaused: boolean, paused: boolean]>([
    ['StateProbe', false, false],
    ['StateProbe', true, true],
    ['StateReplicate', false, false],
    ['StateReplicate', true, true],
    ['StateSnapshot', false, true],
    ['StateSnapshot', true, true],
  ])('in %s with the flow paused: %s, has appends wait: %s', (state, flowPaused, paused) => {
    expect(progress({ state, flowPaused }).paused).toBe(paused);
  });

  describe('becomeProbe', () => {
    it('looks again from what is known to match, with nothing in flight and the flow open', () => {
      const p = progress({ state: 'StateReplicate', match: 1, next: 5, flowPaused: true, sentCommit: 4 });
      p.inflights.add(4, 10);
      p.becomeProbe();
      expect(p).toMatchObject({ state: 'StateProbe', match: 1, next: 2, flowPaused: false, sentCommit: 1 });
      expect([p.inflights.count, p.inflights.bytes]).toEqual([0, 0]);
    });

    it('goes on behind a snapshot that was on its way', () => {
      const p = progress({ state: 'StateSnapshot', match: 1, next: 5, pendingSnapshot: 10 });
      p.becomeProbe();
      expect(p).toMatchObject({ state: 'StateProbe', match: 1, next: 11, pendingSnapshot: 0 });
    });

    it('starts from what matches if the snapshot failed', () => {
      const p = progress({ state: 'StateSnapshot', match: 1, next: 11, pendingSnapshot: 0 });
      p.becomeProbe();
      expect(p).toMatchObject({ state: 'StateProbe', match: 1, next: 2 });
    });

    it('goes by what matches if that is further than the snapshot', () => {
      const p = progress({ state: 'StateSnapshot', match: 20, next: 21, pendingSnapshot: 10 });
      p.becomeProbe();
      expect(p.next).toBe(21);
    });
  });

  it('becomeReplicate sends ahead from what matches', () => {
    const p = progress({ match: 1, next: 5, flowPaused: true });
    p.becomeReplicate();
    expect(p).toMatchObject({ state: 'StateReplicate', match: 1, next: 2, flowPaused: false });
  });

  it('becomeSnapshot goes on behind the snapshot, which brings its commit', () => {
    const p = progress({ state: 'StateReplicate', match: 1, next: 5 });
    p.inflights.add(4, 10);
    p.becomeSnapshot(10);
    expect(p).toMatchObject({ state: 'StateSnapshot', match: 1, next: 11, pendingSnapshot: 10, sentCommit: 10 });
    expect([p.inflights.count, p.inflights.bytes]).toEqual([0, 0]);
  });

  describe('maybeUpdate', () => {
    it.each<[index: number, news: boolean, match: number, next: number]>([
      [2, false, 3, 6],
      [3, false, 3, 6],
      // What was sent ahead stays sent.
      [4, true, 4, 6],
      [5, true, 5, 6],
      [6, true, 6, 7],
      [8, true, 8, 9],
    ])('to %d from a match of 3 and a next of 6: news %s, match %d, next %d', (index, news, match, next) => {
      const p = progress({ match: 3, next: 6 });
      expect(p.maybeUpdate(index)).toBe(news);
      expect(p).toMatchObject({ match, next });
    });

    it('opens the flow if it is news, and only then', () => {
      const p = progress({ match: 3, next: 5, flowPaused: true });
      p.maybeUpdate(3);
      expect(p.flowPaused).toBe(true);
      p.maybeUpdate(4);
      expect(p.flowPaused).toBe(false);
    });
  });

  describe('maybeDecreaseTo', () => {
    it.each<[ProgressState, match: number, next: number, rejected: number, hint: number, news: boolean, after: number]>(
      [
        // What matches can't be rejected any more.
        ['StateReplicate', 5, 10, 5, 5, false, 10],
        ['StateReplicate', 5, 10, 4, 4, false, 10],
        // Where the logs part does not matter to who sends ahead: from the match on, all again.
        ['StateReplicate', 5, 10, 9, 9, true, 6],
        ['StateReplicate', 5, 10, 9, 7, true, 6],
        // Not the answer to the last probe.
        ['StateProbe', 0, 10, 5, 5, false, 10],
        ['StateProbe', 0, 10, 10, 5, false, 10],
        ['StateProbe', 0, 10, 9, 9, true, 9],
        ['StateProbe', 0, 2, 1, 1, true, 1],
        ['StateProbe', 0, 1, 0, 0, true, 1],
        ['StateProbe', 0, 10, 9, 2, true, 3],
        ['StateProbe', 0, 10, 9, 0, true, 1],
        // Never down to what matches.
        ['StateProbe', 4, 10, 9, 2, true, 5],
        // A hint that is too high does not keep the probe where it was rejected.
        ['StateProbe', 0, 10, 9, 50, true, 9],
      ],
    )('%s, match %d, next %d: rejected %d, hint %d: news %s, next %d', (...row) => {
      const [state, match, next, rejected, hint, news, after] = row;
      const p = progress({ state, match, next });
      expect(p.maybeDecreaseTo(rejected, hint)).toBe(news);
      expect(p).toMatchObject({ match, next: after, state });
    });

    it('opens the flow of a probe for the next one; a stale rejection does not', () => {
      const p = progress({ next: 10, flowPaused: true });
      p.maybeDecreaseTo(5, 5);
      expect(p.flowPaused).toBe(true);
      p.maybeDecreaseTo(9, 5);
      expect(p.flowPaused).toBe(false);
    });

    it.each<[ProgressState, number]>([
      ['StateReplicate', 3],
      ['StateProbe', 5],
    ])('in %s: a commit that was sent with what was rejected counts as not sent', (state, sentCommit) => {
      const p = progress({ state, match: 3, next: 10, sentCommit: 9 });
      p.maybeDecreaseTo(9, 5);
      expect(p.sentCommit).toBe(sentCommit);
    });
  });

  describe('sentEntries', () => {
    it('pauses a probe after its one append, but not after an empty one', () => {
      const p = progress({ next: 5 });
      p.sentEntries(0, 0);
      expect(p.flowPaused).toBe(false);
      p.sentEntries(2, 20);
      expect(p).toMatchObject({ next: 5, flowPaused: true });
      expect(p.inflights.count).toBe(0);
    });

    it('moves on and fills the window when sending ahead', () => {
      const p = progress({ state: 'StateReplicate', next: 5, size: 2 });
      p.sentEntries(2, 20);
      expect(p).toMatchObject({ next: 7, flowPaused: false });
      p.sentEntries(1, 10);
      expect(p).toMatchObject({ next: 8, flowPaused: true });
      expect([p.inflights.count, p.inflights.bytes]).toEqual([2, 30]);
      // Freed as the last index of each append says.
      p.inflights.freeUpTo(6);
      expect([p.inflights.count, p.inflights.bytes]).toEqual([1, 10]);
    });

    it('pauses after an empty append while the window is full, by count or by bytes', () => {
      for (const limits of [{ size: 1 }, { maxBytes: 20 }]) {
        const p = progress({ state: 'StateReplicate', next: 5, ...limits });
        p.sentEntries(2, 20);
        // A heartbeat's answer opens the flow for one append, which is empty as the window is full.
        p.flowPaused = false;
        p.sentEntries(0, 0);
        expect(p.flowPaused).toBe(true);
        expect(p.next).toBe(7);
      }
    });

    it('takes no place in the window for an append without entries', () => {
      const p = progress({ state: 'StateReplicate', size: 1 });
      p.sentEntries(0, 0);
      expect(p.flowPaused).toBe(false);
      expect(p.inflights.count).toBe(0);
    });
  });

  it.each<[commit: number, sentCommit: number, next: number, news: boolean]>([
    [5, 4, 10, true],
    [5, 5, 10, false],
    [4, 5, 10, false],
    // All that was sent is committed already, as far as the follower knows: nothing to bump.
    [20, 9, 10, false],
    [20, 8, 10, true],
  ])('canBumpCommit to %d, %d sent, next %d: %s', (commit, sentCommit, next, news) => {
    expect(progress({ sentCommit, next }).canBumpCommit(commit)).toBe(news);
  });

  it('is copied whole, and the copy lives on its own', () => {
    const p = progress({
      state: 'StateReplicate',
      match: 3,
      next: 5,
      sentCommit: 2,
      pendingSnapshot: 1,
      flowPaused: true,
    });
    p.isLearner = true;
    p.recentActive = false;
    p.inflights.add(4, 10);
    const copy = p.clone();
    expect(copy).toEqual(p);
    copy.maybeUpdate(9);
    copy.inflights.reset();
    expect(p).toMatchObject({ match: 3, next: 5, flowPaused: true });
    expect(p.inflights.count).toBe(1);
  });
});

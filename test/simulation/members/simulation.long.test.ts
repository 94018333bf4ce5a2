/** Whole members, simulated: the seeds hold, they are what they seem, and what is broken on purpose is found. */
import { describe, expect, it } from 'vitest';
import type { DiskFile } from '../../../src/server/storage/disk.ts';
import { describeMembersFailure, describeMembersShrunk, runMembersBatch, shrinkMembers } from './batch.ts';
import { type MemberSimOptions, memberOptionsOf } from './options.ts';
import { tornTails } from './scenarios.ts';
import { type MembersRunOptions, simulateMembers } from './simulation.ts';

/** Runs whose members have other files than the disk gives them. */
const withFiles = (change: (file: DiskFile) => Partial<DiskFile>): MembersRunOptions => ({
  prepare: (_, options) => {
    const { storage } = options;
    if (storage === undefined) return options;
    const { disk } = storage;
    const open: typeof disk.open = async (...args) => {
      const file = await disk.open(...args);
      return { ...file, ...change(file) };
    };
    return { ...options, storage: { ...storage, disk: { ...disk, open } } };
  },
});

/** The disk says that it has synced, and has not. */
const skipsSyncs = withFiles(() => ({ sync: async () => {} }));

/** What is to be cut off a file stays. */
const cutsNothing = withFiles((file) => ({
  resize: async (bytes) => {
    if (bytes > (await file.size())) await file.resize(bytes);
  },
}));

const crashy = (options: MemberSimOptions): MemberSimOptions => ({
  ...options,
  faults: ['crash', 'blackout', 'images'],
});

describe('a batch', () => {
  it('breaks no rule, and is no idle one', async () => {
    const failures: string[] = [];
    const { events, counts } = await runMembersBatch({
      seeds: 25,
      firstSeed: 1,
      after: (result) => {
        if (result.broken) failures.push(describeMembersFailure(result));
        return true;
      },
    });
    expect(failures).toEqual([]);
    expect(events).toBeGreaterThan(200_000);
    for (const what of ['answered', 'watch answers', 'restarts', 'images loaded', 'images taken in', 'leases']) {
      expect(counts[what], what).toBeGreaterThan(4);
    }
  });

  it('is the same each time', async () => {
    const digests: number[] = [];
    for (const seed of [3, 3, 4]) digests.push((await simulateMembers(memberOptionsOf(seed))).digest);
    expect(digests[0]).toBe(digests[1]);
    expect(digests[0]).not.toBe(digests[2]);
  });
});

describe('a disk that does not sync', () => {
  it('is found, described and shrunk', async () => {
    let failing = await simulateMembers(crashy(memberOptionsOf(1)), skipsSyncs);
    for (let seed = 2; failing.broken === undefined && seed < 20; seed += 1) {
      failing = await simulateMembers(crashy(memberOptionsOf(seed)), skipsSyncs);
    }
    const text = describeMembersFailure(failing);
    expect(text).toContain('breaks a rule at');
    expect(text).toContain('  electionMs: ');
    const shrunk = await shrinkMembers(failing, skipsSyncs);
    expect(shrunk.broken?.rule).toBe(failing.broken?.rule);
    expect(shrunk.options.faults.length).toBeLessThan(3);
    expect(describeMembersShrunk(shrunk)).toContain(
      `npm run simulate -- --members --seeds 1 --seed ${shrunk.options.seed}`,
    );
  });
});

describe('power that fails again and again', () => {
  it('breaks no rule', async () => {
    const failures: string[] = [];
    const { counts } = await runMembersBatch({
      seeds: 2,
      firstSeed: 1,
      change: tornTails,
      after: (result) => {
        if (result.broken) failures.push(describeMembersFailure(result));
        return true;
      },
    });
    expect(failures).toEqual([]);
    expect(counts.restarts).toBeGreaterThan(50);
  });

  it('finds what a torn tail does that stays in the log, with most seeds', async () => {
    const { seeds, violations } = await runMembersBatch({
      seeds: 5,
      firstSeed: 1,
      change: tornTails,
      run: cutsNothing,
    });
    expect(violations).toBeGreaterThan(seeds / 2);
  });
});

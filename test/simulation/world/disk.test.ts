import { describe, expect, it } from 'vitest';
import { type DiskOptions, type Medium, SimDisk } from './disk.ts';
import { Sfc32 } from './random.ts';
import { Scheduler } from './scheduler.ts';

/** Writes are words; those that begin with the same letter depend on each other, and a torn one loses its end. */
const words: Medium<string[], string> = {
  commit: (image, write) => image.push(write),
  stream: (write) => write.charCodeAt(0),
  torn: (write, random) => (random.chance(0.5) ? `${write}…` : undefined),
};

const STEADY: DiskOptions = { minSyncUs: 100, jitterUs: 0, slowChance: 0, slowUs: 0, harsh: false };

function world(seed = 1, options: Partial<DiskOptions> = {}) {
  const scheduler = new Scheduler();
  const image: string[] = [];
  const random = new Sfc32(seed);
  const disk = new SimDisk({ image, medium: words, scheduler, random, options: { ...STEADY, ...options } });
  const run = (untilUs = 1_000_000): void => {
    while (scheduler.step(untilUs));
  };
  return { disk, image, run, scheduler };
}

describe('SimDisk', () => {
  it('makes durable what was written before a sync, when that ends', () => {
    const { disk, image, run, scheduler } = world();
    const ended: number[] = [];
    disk.write('a');
    disk.sync(() => ended.push(scheduler.nowUs));
    disk.write('b');
    disk.sync(() => ended.push(scheduler.nowUs));
    disk.write('c');
    run(99);
    expect(image).toEqual([]);
    run(100);
    expect(image).toEqual(['a']);
    run();
    expect(image).toEqual(['a', 'b']);
    expect(ended).toEqual([100, 200]);
  });

  it('keeps a beginning of what was not synced, perhaps with a torn end, and ends no sync of before', () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 200; seed += 1) {
      const { disk, image, run } = world(seed);
      disk.write('a1');
      disk.write('b1');
      disk.sync(() => expect.unreachable('the sync of before the crash has ended'));
      disk.crash();
      run();
      seen.add(image.join(' '));
    }
    expect([...seen].sort()).toEqual(['', 'a1', 'a1 b1', 'a1 b1…', 'a1…']);
  });

  it('keeps or loses each write on its own in the harsher mode, but nothing behind a lost one of its stream', () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 300; seed += 1) {
      const { disk, image } = world(seed, { harsh: true });
      for (const write of ['a1', 'b1', 'a2']) disk.write(write);
      disk.crash();
      seen.add(image.filter((write) => !write.endsWith('…')).join(' '));
    }
    expect([...seen].sort()).toEqual(['', 'a1', 'a1 a2', 'a1 b1', 'a1 b1 a2', 'b1']);
  });

  it('works on after a crash, and what was underway before ends nothing now', () => {
    const { disk, image, run } = world();
    disk.sync(() => {});
    run(50);
    disk.crash();
    disk.write('z');
    let ended = false;
    disk.sync(() => {
      ended = true;
    });
    run(149);
    expect(image).toEqual([]);
    run(150);
    expect(ended).toBe(true);
    expect(image).toEqual(['z']);
  });

  it('stands still when it is told to', () => {
    const { disk, image, run } = world();
    disk.stallUntil(5000);
    disk.write('a');
    disk.sync(() => {});
    run(4999);
    expect(image).toEqual([]);
    run(5000);
    expect(image).toEqual(['a']);
  });
});

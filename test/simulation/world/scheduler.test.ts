import { describe, expect, it } from 'vitest';
import { Sfc32 } from './random.ts';
import { Scheduler } from './scheduler.ts';

describe('Scheduler', () => {
  it('does what is due in the order of time, and of planning at the same moment', () => {
    const scheduler = new Scheduler();
    const random = new Sfc32(1);
    const planned: [number, number][] = [];
    const done: [number, number][] = [];
    for (let order = 0; order < 2000; order += 1) {
      const at = random.below(300);
      planned.push([at, order]);
      scheduler.at(at, () => done.push([scheduler.nowUs, order]));
    }
    while (scheduler.step(1000));
    expect(done).toEqual(planned.toSorted(([a, m], [b, n]) => a - b || m - n));
    expect(scheduler.nowUs).toBe(1000);
  });

  it('does nothing after the end, and what is planned for the past at once', () => {
    const scheduler = new Scheduler();
    const done: string[] = [];
    scheduler.after(10, () => {
      done.push('ten');
      scheduler.at(3, () => done.push(`three, at ${scheduler.nowUs}`));
    });
    scheduler.after(20, () => done.push('twenty'));
    while (scheduler.step(19));
    expect(done).toEqual(['ten', 'three, at 10']);
    expect(scheduler.nowUs).toBe(19);
    while (scheduler.step(20));
    expect(done).toHaveLength(3);
  });
});

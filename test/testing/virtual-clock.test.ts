import { describe, expect, it } from 'vitest';
import { sleep } from '../../src/support/signals.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

describe('virtual time', () => {
  it('fires in the order of times, then of calls, and what a timer sets within the span', async () => {
    const clock = new VirtualClock(0);
    const fired: string[] = [];
    clock.after(20, () => fired.push(`c ${clock.now()}`));
    clock.after(10, () => {
      fired.push(`a ${clock.now()}`);
      clock.after(5, () => fired.push(`b ${clock.now()}`));
    });
    clock.after(20, () => fired.push(`d ${clock.now()}`));
    clock.after(31, () => fired.push('late'));
    await clock.advance(30);
    expect(fired).toEqual(['a 10', 'b 15', 'c 20', 'd 20']);
    expect(clock.now()).toBe(30);
  });

  it('passes until something has ended, and no further', async () => {
    const clock = new VirtualClock(0);
    const work = async (): Promise<string> => {
      await sleep(clock, 100);
      await sleep(clock, 100);
      return 'done';
    };
    clock.after(201, () => {});
    expect(await clock.until(work())).toBe('done');
    expect(clock.now()).toBe(200);
  });

  it('gives up on what does not end, and passes on what it fails with', async () => {
    const clock = new VirtualClock(0);
    const never = new Promise<void>(() => {});
    await expect(clock.until(never, { limitMs: 500 })).rejects.toThrow('within 500 ms of virtual time');
    const failing = sleep(clock, 10).then(() => Promise.reject(new Error('no')));
    await expect(clock.until(failing)).rejects.toThrow('no');
  });

  it('waits for what is underway without a timer', async () => {
    const clock = new VirtualClock();
    const activity = { count: 0, busy: true };
    clock.watch(activity);
    const order: string[] = [];
    clock.after(1, () => order.push('timer'));
    const passed = clock.advance(1).then(() => order.push('passed'));
    for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual([]);
    activity.busy = false;
    await passed;
    expect(order).toEqual(['timer', 'passed']);
  });
});

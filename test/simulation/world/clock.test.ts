import { describe, expect, it } from 'vitest';
import { SimClock } from './clock.ts';
import { SimProcess } from './process.ts';
import { Scheduler } from './scheduler.ts';

function world(rate = 1) {
  const scheduler = new Scheduler();
  const process = new SimProcess();
  const clock = new SimClock(scheduler, process, rate);
  const fired: number[] = [];
  const run = (untilMs: number): void => {
    while (scheduler.step(untilMs * 1000));
  };
  return { process, clock, fired, run, fire: () => fired.push(clock.now()) };
}

describe('SimClock', () => {
  it('fires after so many of its own milliseconds', () => {
    const { clock, fired, fire, run } = world(2);
    clock.after(10, fire);
    run(4.999);
    expect(fired).toEqual([]);
    run(5);
    expect(fired).toEqual([10]);
    clock.setRate(0.5);
    run(9);
    expect(clock.now()).toBe(12);
  });

  it('does not fire what was called off', () => {
    const { clock, fired, fire, run } = world();
    clock.after(1, fire).cancel();
    run(2);
    expect(fired).toEqual([]);
  });

  it('stands still with its program, which then gets all at once, in order', () => {
    const { clock, process, fired, fire, run } = world();
    const order: string[] = [];
    clock.after(2, () => order.push('second'));
    clock.after(1, () => order.push('first'));
    clock.after(9, fire);
    process.pause();
    run(5);
    expect(order).toEqual([]);
    process.resume();
    expect(order).toEqual(['first', 'second']);
    process.kill();
    run(20);
    expect(fired).toEqual([]);
  });
});

describe('SimProcess', () => {
  it('does nothing more once it was killed, not even what waited', () => {
    const process = new SimProcess();
    const done: string[] = [];
    process.pause();
    process.run(() => {
      done.push('kills it');
      process.kill();
    });
    process.run(() => done.push('never'));
    process.resume();
    process.run(() => done.push('never'));
    expect(done).toEqual(['kills it']);
    expect(process.alive).toBe(false);
  });
});

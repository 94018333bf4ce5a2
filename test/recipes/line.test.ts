/** The parts of the line that need no etcd: the alarm of those who wait for a time, and the turns of one object's calls. */
import { describe, expect, it } from 'vitest';
import { alarmAt, Turns } from '../../recipes/line.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

describe('an alarm', () => {
  it('rings when the wall clock says so, however that was set meanwhile, and not before', async () => {
    const clock = new VirtualClock();
    let wall = 0;
    let rang = false;
    const alarm = alarmAt(clock, () => 3_600_000 - wall);
    void alarm.rings.then(() => {
      rang = true;
    });
    await clock.advance(3_700_000);
    // An hour has passed on the machine's own clock, and none of it on the wall's.
    expect(rang).toBe(false);
    wall = 3_600_000;
    await clock.advance(30_000);
    expect(rang).toBe(true);
    const other = alarmAt(clock, () => 10);
    other.cancel();
    expect(clock.pending.all).toBe(0);
  });
});

describe('turns', () => {
  it('come in the order they were asked for, and pass over those who have left', async () => {
    const turns = new Turns();
    const order: string[] = [];
    const stop = new AbortController();
    const never = new AbortController().signal;
    const first = await turns.take(never);
    const second = turns.take(stop.signal).then(() => order.push('second'));
    const third = turns.take(never).then((turn) => {
      order.push('third');
      turn[Symbol.dispose]();
    });
    stop.abort();
    await expect(second).rejects.toMatchObject({ name: 'AbortError' });
    await new Promise((resolve) => setImmediate(resolve));
    // The third still has to wait for the first.
    expect(order).toEqual([]);
    first[Symbol.dispose]();
    await third;
    expect(order).toEqual(['third']);
  });
});

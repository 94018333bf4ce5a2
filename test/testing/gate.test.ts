import { describe, expect, it } from 'vitest';
import { Gate } from '../../src/testing/gate.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

describe('a gate', () => {
  it('lets in what has waited, in its order, and what that sets in motion after it', () => {
    const gate = new Gate();
    const seen: string[] = [];
    gate.hold();
    gate.run(() => {
      seen.push('first');
      gate.run(() => seen.push('third'));
    });
    gate.run(() => seen.push('second'));
    expect(seen).toEqual([]);
    gate.open();
    expect(seen).toEqual(['first', 'second', 'third']);
    gate.run(() => seen.push('at once'));
    expect(seen.at(-1)).toBe('at once');
  });

  it('keeps back the rest when it is held again meanwhile', () => {
    const gate = new Gate();
    const seen: number[] = [];
    gate.hold();
    gate.run(() => gate.hold());
    gate.run(() => seen.push(1));
    gate.open();
    expect(seen).toEqual([]);
    gate.open();
    expect(seen).toEqual([1]);
  });

  it('lets time go on while it is held, and fires late', async () => {
    const clock = new VirtualClock(0);
    const gate = new Gate();
    const timed = gate.clock(clock);
    const fired: number[] = [];
    timed.after(10, () => fired.push(timed.now()));
    const calledOff = timed.after(10, () => fired.push(-1));
    gate.hold();
    await clock.advance(50);
    calledOff.cancel();
    expect(fired).toEqual([]);
    gate.open();
    expect(fired).toEqual([50]);
  });

  it('leaves no timer behind once it is closed, and lets nothing in', async () => {
    const clock = new VirtualClock();
    const gate = new Gate();
    const seen: string[] = [];
    gate.clock(clock).after(10, () => seen.push('timer'));
    void gate.pass(Promise.resolve()).then(() => seen.push('promise'));
    gate.close();
    gate.clock(clock).after(10, () => seen.push('late timer'));
    expect(clock.pending.all).toBe(0);
    gate.run(() => seen.push('action'));
    gate.open();
    await clock.advance(20);
    expect(seen).toEqual([]);
  });
});

import { describe, expect, it } from 'vitest';
import { Ticker } from '../../../src/server/member/ticker.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

function ticking(advance: boolean, hurriesFrom: number) {
  const clock = new VirtualClock();
  const begun = clock.now();
  let ticks = 0;
  const tick = (): void => {
    ticks += 1;
  };
  const hurries = (): boolean => clock.now() - begun >= hurriesFrom;
  const ticker = new Ticker({ clock, heartbeatMs: 100, electionTicks: 10, tick, hurries }, advance);
  return { clock, ticker, count: () => ticks };
}

describe('ticks', () => {
  it.each([
    ['one after each interval', false, 0, 1_000, 10],
    ['most of the first timeout is skipped, once', true, 300, 1_000, 18],
    ['not long after the start', true, 5_100, 6_000, 60],
  ])('%s', async (_name, advance, hurriesFrom, afterMs, expected) => {
    const { clock, ticker, count } = ticking(advance, hurriesFrom);
    await clock.advance(afterMs);
    expect(count()).toBe(expected);
    ticker.stop();
    await clock.advance(1_000);
    expect([count(), clock.pending.all]).toEqual([expected, 0]);
  });
});

/** The clock that jumps. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { SteppableClock } from '../support/steppable-clock.ts';

const HOUR = 3_600_000;

it('fires what came due in a jump, in order, after the code that runs on', async () => {
  const clock = new SteppableClock();
  const fired: string[] = [];
  const start = clock.now();
  clock.after(2 * HOUR, () => fired.push('second'));
  clock.after(HOUR, () => fired.push('first'));
  clock.after(HOUR, () => fired.push('called off')).cancel();
  const beyond = clock.after(4 * HOUR, () => fired.push('not yet'));
  clock.step(3 * HOUR);
  expect(clock.now() - start).toBeGreaterThanOrEqual(3 * HOUR);
  expect(fired).toEqual([]);
  while (fired.length < 2) await turn();
  expect(fired).toEqual(['first', 'second']);
  clock.step(2 * HOUR);
  beyond.cancel();
  for (let turns = 0; turns < 20; turns++) await turn();
  expect(fired).toEqual(['first', 'second']);
});

it('keeps no process alive by timers in the background, jump or no jump', () => {
  const active = (): number => process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length;
  const clock = new SteppableClock();
  const before = active();
  clock.after(HOUR, () => {}, { background: true });
  clock.step(1);
  expect(active()).toBe(before);
  const timer = clock.after(HOUR, () => {});
  expect(active()).toBe(before + 1);
  timer.cancel();
  expect(active()).toBe(before);
});

/** When a check fails and passes, on virtual time. */
import { describe, expect, it } from 'vitest';
import { CheckFailedError, type CheckOptions, Checks } from '../../../../recipes/services/registration/checks.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

/** Runs one check that gives the answers in turn, and notes after which of them it changed its mind. */
async function play(answers: readonly boolean[], options: Omit<CheckOptions, 'check'> = {}) {
  const clock = new VirtualClock();
  const stop = new AbortController();
  let asked = 0;
  const check = (): boolean => answers[asked++] ?? false;
  const checks = new Checks(clock, [{ check, intervalMs: 1_000, ...options }]);
  const changes: string[] = [];
  const running = checks.run(stop.signal, () => changes.push(`${asked}:${checks.passing ? 'up' : 'down'}`));
  await clock.advance(answers.length * 1_000 - 1);
  stop.abort();
  await running;
  expect(clock.pending.all).toBe(0);
  expect(asked).toBe(answers.length);
  return { changes, checks };
}

const [yes, no] = [true, false];

describe('a check', () => {
  it('passes with the first yes and fails with the third no in a row, unless told otherwise', async () => {
    const { changes, checks } = await play([no, yes, no, no, yes, no, no, no, no, yes]);
    expect(changes).toEqual(['2:up', '8:down', '10:up']);
    expect(checks.states).toEqual([{ name: 'check 1', passing: true, lastError: undefined }]);
  });

  it('has thresholds: rise and fall', async () => {
    const { changes } = await play([yes, yes, no, yes, yes, yes, no, no, yes, yes, yes], { rise: 3, fall: 2 });
    expect(changes).toEqual(['6:up', '8:down', '11:up']);
  });

  it('fails by throwing, at once or later, and by an answer that does not come; its signal tells it', async () => {
    const clock = new VirtualClock();
    const stop = new AbortController();
    const cause = new Error('the database is away');
    const signals: AbortSignal[] = [];
    const answers = [
      (): unknown => undefined,
      (): unknown => {
        throw cause;
      },
      (): unknown => Promise.reject(cause),
      (): unknown => new Promise(() => {}),
    ];
    const checks = new Checks(clock, [
      {
        name: 'database',
        check: { run: (signal) => answers[signals.push(signal) - 1]!() },
        intervalMs: 1_000,
        timeoutMs: 300,
        fall: 3,
      },
    ]);
    const changes: boolean[] = [];
    const running = checks.run(stop.signal, () => changes.push(checks.passing));
    await clock.advance(2_500);
    expect(changes).toEqual([true]);
    expect(checks.states[0]).toMatchObject({ name: 'database', passing: true, lastError: cause });
    await clock.advance(600);
    expect(signals).toHaveLength(4);
    expect(signals[3]!.aborted).toBe(false);
    await clock.advance(200);
    expect(signals[3]!.aborted).toBe(true);
    expect(changes).toEqual([true, false]);
    expect(checks.states[0]!.lastError).toBeInstanceOf(CheckFailedError);
    stop.abort();
    await running;
    expect(clock.pending.all).toBe(0);
  });

  it('ends while a run is under way', async () => {
    const clock = new VirtualClock();
    const stop = new AbortController();
    let told: AbortSignal | undefined;
    const check = (signal: AbortSignal): Promise<void> => {
      told = signal;
      return new Promise(() => {});
    };
    const running = new Checks(clock, [{ check }]).run(stop.signal, () => {});
    await clock.settle();
    stop.abort();
    await running;
    expect(told!.aborted).toBe(true);
    expect(clock.pending.all).toBe(0);
  });

  it.each([{ intervalMs: 0 }, { timeoutMs: Number.NaN }, { rise: 0 }, { fall: -1 }, { check: 'no' as never }])(
    'refuses %o',
    (options) => {
      expect(() => new Checks(new VirtualClock(), [{ check: () => true, ...options }])).toThrow(/check 1/);
    },
  );
});

it('are all needed', async () => {
  const clock = new VirtualClock();
  const stop = new AbortController();
  let well = true;
  const checks = new Checks(clock, [{ check: () => true }, { check: () => well, fall: 1 }]);
  const running = checks.run(stop.signal, () => {});
  await clock.advance(5_000);
  expect(checks.passing).toBe(true);
  well = false;
  await clock.advance(5_000);
  expect(checks.passing).toBe(false);
  expect(checks.states.map(({ passing }) => passing)).toEqual([true, false]);
  stop.abort();
  await running;
  expect(new Checks(clock, []).passing).toBe(true);
});

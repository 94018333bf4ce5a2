import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ejection, type EjectionOptions } from '../../../../recipes/services/balance/ejection.ts';
import { OutcomeWindow } from '../../../../recipes/services/balance/outcome-window.ts';
import { balancer } from '../../../../recipes/services/balance/strategies.ts';
import { type Bed, bed, FAILURE, failure, instance, instances, SUCCESS, success } from './bed.ts';

const [A, B, C, D] = [instance('a'), instance('b'), instance('c'), instance('d')] as const;
const ALL = [A, B, C, D];

function started(tools: Bed, options: EjectionOptions = {}): Ejection<typeof A> {
  const ejection = new Ejection<typeof A>(options, tools);
  ejection.update(ALL);
  return ejection;
}

function fail(ejection: Ejection<typeof A>, one = A, times = 5): void {
  for (let n = 0; n < times; n++) ejection.done(one, FAILURE);
}

/** Has an instance taken out, and waits until its trial. */
function untilTrial(tools: Bed, ejection: Ejection<typeof A>): void {
  fail(ejection);
  tools.nowMs = ejection.ejected[0]!.untilMs;
}

const admitted = (ejection: Ejection<typeof A>, of = ALL): string =>
  ejection
    .admit(of)
    .map(({ id }) => id)
    .join('');

describe('taking out', () => {
  it('takes so many failures in a row', () => {
    const ejection = started(bed());
    fail(ejection, A, 4);
    ejection.done(A, SUCCESS);
    fail(ejection, A, 4);
    expect(ejection.ejected).toEqual([]);
    ejection.done(A, { outcome: 'cancelled', latencyMs: 1 });
    fail(ejection, A, 1);
    expect(ejection.ejected).toEqual([
      { id: 'a', state: 'out', reason: 'consecutive-failures', untilMs: 11_000, times: 1 },
    ]);
    expect(admitted(ejection)).toBe('bcd');
  });

  it('or too great a share of failures, of enough requests', () => {
    const tools = bed();
    const ejection = started(tools);
    const halves = (count: number): void => {
      for (let n = 0; n < count; n++) for (const report of [SUCCESS, FAILURE]) ejection.done(A, report);
    };
    // Half is not more than half.
    halves(30);
    expect(ejection.ejected).toEqual([]);
    ejection.done(A, FAILURE);
    expect(ejection.ejected).toMatchObject([{ id: 'a', reason: 'failure-share' }]);
    // Too few.
    for (let n = 0; n < 6; n++) for (const report of [SUCCESS, FAILURE, FAILURE]) ejection.done(B, report);
    expect(admitted(ejection)).toBe('bcd');
    ejection.done(B, SUCCESS);
    // What was before the window does not count.
    tools.nowMs += 10_000;
    for (let n = 0; n < 4; n++) ejection.done(B, FAILURE);
    expect(ejection.ejected).toHaveLength(1);
  });

  it('can be switched off, each for itself', () => {
    const never = started(bed(), { consecutiveFailures: Number.POSITIVE_INFINITY, failureShare: 1 });
    fail(never, A, 1_000);
    expect(never.ejected).toEqual([]);
    const none = started(bed(), { maxShare: 0 });
    fail(none, A, 1_000);
    expect(none.ejected).toEqual([]);
    expect(() => started(bed(), { failureShare: 1.1 })).toThrow(RangeError);
    expect(() => started(bed(), { ejectionMs: 0 })).toThrow(RangeError);
  });

  it('stops at the share that may be out, and goes on when there is room', () => {
    const tools = bed();
    const ejection = started(tools);
    for (const one of ALL) fail(ejection, one);
    expect(admitted(ejection)).toBe('cd');
    tools.nowMs += 10_000;
    for (const one of [A, B]) {
      ejection.picked(one);
      ejection.done(one, SUCCESS);
    }
    // Its failures in a row have not been broken.
    fail(ejection, C, 1);
    expect(admitted(ejection)).toBe('abd');
  });

  it('takes back those whose time is over first when fewer may be out', () => {
    const tools = bed();
    const ejection = started(tools);
    fail(ejection, B);
    tools.nowMs += 1_000;
    fail(ejection, A);
    ejection.update([A, B, C]);
    expect(ejection.ejected.map(({ id }) => id)).toEqual(['a']);
    ejection.update([A]);
    expect(ejection.ejected).toEqual([]);
  });

  it('gives a caller everything if all it may choose from are out', () => {
    const ejection = started(bed());
    fail(ejection, A);
    fail(ejection, B);
    expect(admitted(ejection, [A, B])).toBe('ab');
    expect(admitted(ejection, [A, C])).toBe('c');
    expect(admitted(ejection, [])).toBe('');
  });

  it('forgets an instance that has gone', () => {
    const ejection = started(bed());
    fail(ejection, A);
    ejection.update([B, C, D]);
    ejection.update(ALL);
    expect(admitted(ejection)).toBe('abcd');
    ejection.done(instance('stranger'), FAILURE);
  });
});

describe('coming back', () => {
  it('is tried with one request at a time, and a success brings it back', () => {
    const tools = bed();
    const ejection = started(tools);
    untilTrial(tools, ejection);
    tools.nowMs -= 1;
    expect(admitted(ejection)).toBe('bcd');
    tools.nowMs += 1;
    expect(admitted(ejection)).toBe('abcd');
    expect(ejection.ejected).toMatchObject([{ id: 'a', state: 'trial' }]);
    ejection.picked(A);
    expect(admitted(ejection)).toBe('bcd');
    tools.nowMs += 50;
    ejection.done(A, success(50));
    expect(admitted(ejection)).toBe('abcd');
    expect(ejection.ejected).toEqual([]);
    fail(ejection, A, 4);
    expect(ejection.ejected).toEqual([]);
  });

  it('takes as many successes as are asked for', () => {
    const tools = bed();
    const ejection = started(tools, { trialSuccesses: 2 });
    untilTrial(tools, ejection);
    ejection.picked(A);
    ejection.done(A, success(0));
    expect(ejection.ejected).toMatchObject([{ state: 'trial' }]);
    expect(admitted(ejection)).toBe('abcd');
    ejection.picked(A);
    expect(admitted(ejection)).toBe('bcd');
    ejection.done(A, success(0));
    expect(ejection.ejected).toEqual([]);
  });

  it('takes twice as long after each failure on trial, up to the limit', () => {
    const tools = bed();
    const ejection = started(tools, { maxEjectionMs: 60_000 });
    untilTrial(tools, ejection);
    for (const [ms, times] of [
      [20_000, 2],
      [40_000, 3],
      [60_000, 4],
      [60_000, 5],
    ]) {
      ejection.picked(A);
      ejection.done(A, failure(0));
      expect(ejection.ejected).toEqual([{ id: 'a', state: 'out', reason: 'trial', untilMs: tools.nowMs + ms!, times }]);
      tools.nowMs += ms!;
    }
  });

  it('is forgiven step by step while it is in', () => {
    const tools = bed();
    const ejection = started(tools);
    untilTrial(tools, ejection);
    for (const ms of [20_000, 40_000]) {
      ejection.picked(A);
      ejection.done(A, failure(0));
      tools.nowMs += ms;
    }
    ejection.picked(A);
    ejection.done(A, success(0));
    // Three ejections in a row; two are forgotten.
    tools.nowMs += 29_999;
    fail(ejection);
    expect(ejection.ejected).toMatchObject([{ times: 2, untilMs: tools.nowMs + 20_000 }]);
  });

  it('begins anew, whatever is still in the window', () => {
    const tools = bed();
    const ejection = started(tools, { ejectionMs: 1_000, consecutiveFailures: Number.POSITIVE_INFINITY });
    for (let n = 0; n < 20; n++) ejection.done(A, FAILURE);
    tools.nowMs = ejection.ejected[0]!.untilMs;
    ejection.picked(A);
    ejection.done(A, success(0));
    tools.nowMs += 10;
    ejection.done(A, FAILURE);
    expect(ejection.ejected).toEqual([]);
  });

  it('leaves the trial open when its request was cancelled, or never ends', () => {
    const tools = bed();
    const ejection = started(tools);
    untilTrial(tools, ejection);
    ejection.picked(A);
    ejection.done(A, { outcome: 'cancelled', latencyMs: 0 });
    expect(admitted(ejection)).toBe('abcd');
    ejection.picked(A);
    tools.nowMs += 9_999;
    expect(admitted(ejection)).toBe('bcd');
    tools.nowMs += 1;
    expect(admitted(ejection)).toBe('abcd');
  });

  it('does not count what was begun before', () => {
    const tools = bed();
    const ejection = started(tools);
    untilTrial(tools, ejection);
    const first = ejection.ejected[0]!.untilMs;
    ejection.picked(A);
    tools.nowMs += 100;
    // It was begun before the trial.
    ejection.done(A, failure(5_000));
    expect(ejection.ejected).toMatchObject([{ state: 'trial', times: 1, untilMs: first }]);
    ejection.done(A, success(100));
    for (let n = 0; n < 10; n++) ejection.done(A, failure(5_000));
    expect(ejection.ejected).toEqual([]);
  });

  it('is no longer away for failures that come in while it is out', () => {
    const tools = bed();
    const ejection = started(tools);
    fail(ejection, A, 50);
    expect(ejection.ejected).toMatchObject([{ times: 1, untilMs: 11_000 }]);
  });
});

describe('with a strategy', () => {
  it('costs the requests of one row, and one for each trial', () => {
    const tools = bed();
    const ejection = started(tools);
    const balance = balancer<typeof A>('round-robin', {}, tools);
    balance.update(ALL);
    const failedAt: number[] = [];
    for (let n = 0; n < 10_000; n++) {
      tools.nowMs += 100;
      const picked = balance.pick(ejection.admit(ALL), {})!;
      ejection.picked(picked);
      const report = picked === A ? failure(0) : success(0);
      if (picked === A) failedAt.push(tools.nowMs);
      balance.done(picked, report);
      ejection.done(picked, report);
    }
    // Ejections of 10, 20, 40, 80, 160, 300, 300 and 300 seconds; the last trial is beyond the thousand.
    expect(failedAt).toHaveLength(5 + 7);
    const pauses = failedAt.slice(5).map((at, nth) => Math.floor((at - failedAt[nth + 4]!) / 10_000));
    expect(pauses).toEqual([1, 2, 4, 8, 16, 30, 30]);
  });
});

describe('whatever happens', () => {
  const steps = fc.array(
    fc.oneof(
      fc.record({ do: fc.constant('update' as const), count: fc.integer({ min: 0, max: 8 }) }),
      fc.record({ do: fc.constant('fail' as const), nth: fc.nat(7), times: fc.integer({ min: 1, max: 8 }) }),
      fc.record({
        do: fc.constant('pick' as const),
        nth: fc.nat(7),
        outcome: fc.constantFrom('success', 'failure', 'cancelled'),
      }),
      fc.record({ do: fc.constant('wait' as const), ms: fc.nat(30_000) }),
    ),
    { maxLength: 60 },
  );

  it('there is always one to choose, at most the share is out, and the same question has the same answer', () => {
    fc.assert(
      fc.property(steps, fc.constantFrom(0.1, 0.5, 1), (script, maxShare) => {
        const tools = bed();
        const ejection = new Ejection<typeof A>({ maxShare }, tools);
        let all = instances(8);
        ejection.update(all);
        for (const step of script) {
          if (step.do === 'update') {
            all = instances(step.count);
            ejection.update(all);
          } else if (step.do === 'fail') {
            const one = all[step.nth];
            if (one !== undefined) fail(ejection, one, step.times);
          } else if (step.do === 'pick') {
            const admitted = ejection.admit(all);
            const one = admitted[step.nth % admitted.length];
            if (one === undefined) continue;
            ejection.picked(one);
            ejection.done(one, { outcome: step.outcome, latencyMs: 0 });
          } else {
            tools.nowMs += step.ms;
          }
          const out = ejection.ejected.length;
          expect(out).toBeLessThanOrEqual(Math.max(0, Math.min(Math.floor(all.length * maxShare), all.length - 1)));
          const admitted = ejection.admit(all);
          expect(admitted.length).toBeGreaterThanOrEqual(all.length - out);
          expect(ejection.admit(all)).toBe(admitted);
          // Nobody is out for ever.
          const later = ejection.admit(all).length;
          tools.nowMs += 400_000;
          expect(ejection.admit(all)).toHaveLength(all.length);
          tools.nowMs -= 400_000;
          ejection.update(all);
          expect(ejection.admit(all)).toHaveLength(later);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('a window of outcomes', () => {
  it('holds what lies within it, to a tenth', () => {
    const script = fc.array(fc.tuple(fc.nat(400), fc.boolean()), { maxLength: 80 });
    fc.assert(
      fc.property(script, (steps) => {
        const window = new OutcomeWindow(1_000);
        const all: { at: number; isFailure: boolean }[] = [];
        let now = 0;
        for (const [ms, isFailure] of steps) {
          now += ms;
          window.add(now, isFailure);
          all.push({ at: now, isFailure });
          const sliceEnd = (Math.floor(now / 100) + 1) * 100;
          const within = all.filter(({ at }) => at >= sliceEnd - 1_000);
          expect(window.counts(now)).toEqual({
            total: within.length,
            failures: within.filter((one) => one.isFailure).length,
          });
        }
        expect(window.counts(now + 1_000)).toEqual({ total: 0, failures: 0 });
      }),
    );
  });
});

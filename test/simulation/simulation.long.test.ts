import { afterEach, describe, expect, it, vi } from 'vitest';
import { runBatch } from './batch.ts';
import { skipsSyncs, votesTwice } from './broken.ts';
import { FAULTS, optionsOf } from './options.ts';
import { Coverage } from './oracle/coverage.ts';
import { describeFailure, describeShrunk, describeTotals } from './report.ts';
import { shrink } from './shrink.ts';
import { type RunResult, simulate } from './simulation.ts';

afterEach(() => vi.restoreAllMocks());

describe('a batch of seeds', () => {
  it('breaks no rule, and gets to what is rare', () => {
    const coverage = new Coverage();
    const failures: string[] = [];
    const totals = runBatch({
      seeds: 50,
      firstSeed: 1,
      after: (result) => {
        coverage.add(result.coverage);
        if (result.violation) failures.push(`seed ${result.options.seed}: ${result.violation.detail}`);
      },
    });
    expect(failures).toEqual([]);
    expect(totals.events).toBeGreaterThan(500_000);
    const { add: _, ...counts } = coverage;
    for (const [name, count] of Object.entries(counts)) expect(count, name).toBeGreaterThan(10);
  });
});

describe('a seed', () => {
  it('gives the same run each time, and another one than the next', () => {
    const digests = [3, 3, 4].map((seed) => simulate(optionsOf(seed)).digest);
    expect(digests[0]).toBe(digests[1]);
    expect(digests[0]).not.toBe(digests[2]);
  });

  it('takes neither time nor chance from anywhere else', () => {
    const forbidden = (): never => {
      throw new Error('not from here');
    };
    vi.spyOn(Date, 'now').mockImplementation(forbidden);
    vi.spyOn(Math, 'random').mockImplementation(forbidden);
    vi.spyOn(performance, 'now').mockImplementation(forbidden);
    vi.spyOn(globalThis, 'setTimeout').mockImplementation(forbidden);
    vi.spyOn(globalThis, 'queueMicrotask').mockImplementation(forbidden);
    const { violation } = simulate({ ...optionsOf(5), durationUs: 2_000_000 });
    vi.restoreAllMocks();
    expect(violation).toBeUndefined();
  });

  it('draws options that differ, each class of faults in some', () => {
    const drawn = Array.from({ length: 100 }, (_, seed) => optionsOf(seed));
    expect(new Set(drawn.flatMap(({ faults }) => faults))).toEqual(new Set(FAULTS));
    expect(new Set(drawn.map(({ founders }) => founders)).size).toBe(7);
    expect(new Set(drawn.map(({ storage }) => storage)).size).toBe(3);
  });
});

describe('a failing seed', () => {
  const failing = (): RunResult => simulate({ ...optionsOf(4), durationUs: 4_000_000 }, { started: votesTwice });

  it('says what was drawn, what happened last and what is broken, each time the same', () => {
    const text = describeFailure(failing());
    expect(text).toContain('seed 4 breaks a rule at');
    expect(text).toContain('  electionTicks: ');
    expect(text).toMatch(/\d+ -> \d+ {2}MsgVote term \d+/);
    expect(text).toMatch(/broken: S7 monotone state: member \d+ (votes twice|changes its vote) in term \d+$/);
    expect(describeFailure(failing())).toBe(text);
  });

  it('is shrunk to the faults that it needs', () => {
    const result = failing();
    const shrunk = shrink(result, { started: votesTwice });
    expect(shrunk.violation?.invariant).toBe('S7 monotone state');
    expect(shrunk.options.faults.length).toBeLessThan(result.options.faults.length);
    expect(describeShrunk(shrunk)).toContain('npm run simulate -- --seeds 1 --seed 4 --faults ');
    // None of those that are left can go.
    expect(shrink(shrunk, { started: votesTwice }).options.faults).toEqual(shrunk.options.faults);
  });

  it('that needs no faults says so', () => {
    const shrunk = shrink(simulate(optionsOf(1), { started: skipsSyncs }), { started: skipsSyncs });
    expect(describeShrunk(shrunk)).toContain('no faults at all');
  });

  it('is a violation too if the core throws', () => {
    const thrown = simulate(optionsOf(1), {
      started: ({ node }) => {
        node.tick = () => {
          throw new Error('the core is broken');
        };
      },
    });
    expect(thrown.violation).toMatchObject({
      invariant: 'no crash',
      detail: expect.stringContaining('core is broken'),
    });
  });
});

describe('a batch as a line', () => {
  it('has its figures', () => {
    const totals = { seeds: 2, virtualUs: 5_400_000_000, events: 12_345, violations: 0 };
    expect(describeTotals(totals)).toBe('seeds 2, virtual hours 1.50, events 12345, violations 0');
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Sfc32 } from '../simulation/world/random.ts';
import { differenceOf } from './describe.ts';
import type { LogEntry, Operation } from './history.ts';
import { checkHistory, clientRevisions } from './linearizability.ts';
import { answering, failed, kv, logOf, ok, op, unknown } from './support/build.ts';
import { someOrderExplains, storeOnLog } from './support/oracle.ts';
import { FAULTS, makeStory, type StoreFault } from './support/simulated-store.ts';

interface Case {
  readonly name: string;
  readonly log: readonly LogEntry[];
  readonly operations: (log: readonly LogEntry[]) => Operation[];
  /** The rules that are broken. */
  readonly rules: readonly string[];
}

const serializable = { ...op('a?'), kind: 'range', key: 'a', serializable: true } as const;
const createIfMissing = {
  kind: 'txn',
  compares: [{ target: 'version', result: '=', operand: 0, key: 'a' }],
  success: [op('a=1')],
  failure: [op('a?')],
} as const;

const CASES: readonly Case[] = [
  { name: 'nothing happened', log: [], operations: () => [], rules: [] },
  {
    name: 'writes and reads one after the other',
    log: logOf('a=1', '-a'),
    operations: (log) => [ok(1, [1, 2], 'a=1', 2, log), ok(2, [3, 4], 'a?', 2, log), ok(3, [5, 6], '-a', 3, log)],
    rules: [],
  },
  {
    name: 'a read beside a write sees it or not',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [1, 9], 'a=1', 2, log), ok(2, [2, 3], 'a?', 1, log), ok(3, [4, 5], 'a?', 2, log)],
    rules: [],
  },
  {
    name: 'two reads beside a write, the later of which does not see it',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [1, 9], 'a=1', 2, log), ok(2, [2, 3], 'a?', 2, log), ok(3, [4, 5], 'a?', 1, log)],
    rules: ['stale-read'],
  },
  {
    name: 'a read that misses a write which was acknowledged before',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [1, 2], 'a=1', 2, log), ok(2, [3, 4], 'a?', 1, log)],
    rules: ['stale-read'],
  },
  {
    name: 'the same, of a serializable read',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [1, 2], 'a=1', 2, log), ok(2, [3, 4], serializable, 1, log)],
    rules: [],
  },
  {
    name: 'a serializable read that sees what is written later',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [3, 4], 'a=1', 2, log), ok(2, [1, 2], serializable, 2, log)],
    rules: ['write-order'],
  },
  {
    name: 'a member that goes back in one session',
    log: logOf('a=1'),
    operations: (log) => [
      ok(1, [1, 2], 'a=1', 2, log),
      { ...ok(2, [3, 4], serializable, 2, log), session: 'm1 run 1' },
      { ...ok(3, [5, 6], serializable, 1, log), session: 'm1 run 1' },
      { ...ok(4, [7, 8], serializable, 1, log), session: 'm1 run 2' },
    ],
    rules: ['session-goes-back'],
  },
  {
    name: 'two writes in the wrong order',
    log: logOf('a=2', 'a=1'),
    operations: (log) => [ok(1, [1, 2], 'a=1', 3, log), ok(2, [3, 4], 'a=2', 2, log)],
    rules: ['write-order'],
  },
  {
    name: 'a write that is acknowledged and not there',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [1, 2], 'a=1', 2, log), ok(2, [3, 4], 'a=2', 3, log)],
    rules: ['lost-write'],
  },
  {
    name: 'a write that was told a revision from before the log',
    log: [],
    operations: (log) => [ok(1, [1, 2], 'a=1', 1, log)],
    rules: ['lost-write'],
  },
  {
    name: 'a read that begins as a write ends',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [1, 2], 'a=1', 2, log), ok(2, [2, 3], 'a?', 1, log)],
    rules: [],
  },
  {
    name: 'two writes that were told the same revision',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [1, 4], 'a=1', 2, log), ok(2, [2, 5], 'a=1', 2, log)],
    rules: ['one-revision'],
  },
  {
    name: 'a write that went in twice',
    log: logOf('a=1', 'a=1'),
    operations: (log) => [ok(1, [1, 2], 'a=1', 2, log)],
    rules: ['applied-twice'],
  },
  {
    name: 'a write of unknown outcome that went in late',
    log: logOf('b=1', 'a=1'),
    operations: (log) => [unknown(1, 1, 'a=1'), ok(2, [5, 6], 'b=1', 2, log)],
    rules: [],
  },
  {
    name: 'a write of unknown outcome that never went in',
    log: logOf('b=1'),
    operations: (log) => [unknown(1, 1, 'a=1'), ok(2, [5, 6], 'b=1', 2, log)],
    rules: [],
  },
  {
    name: 'a write of unknown outcome that went in twice',
    log: logOf('a=1', 'a=2', 'a=1'),
    operations: (log) => [unknown(1, 1, 'a=1'), ok(2, [5, 6], 'a=2', 3, log)],
    rules: ['applied-twice'],
  },
  {
    name: 'a write of unknown outcome whose effect was seen before its call',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [1, 2], 'a?', 2, log), unknown(2, 3, 'a=1')],
    rules: ['write-order'],
  },
  {
    name: 'two of unknown outcome that explain two revisions in one way only',
    log: logOf('a=1', 'b=1', '-a', '-b'),
    operations: (log) => [
      ok(1, [1, 2], 'a=1', 2, log),
      ok(2, [3, 4], 'b=1', 3, log),
      unknown(3, 5, '-[a,c)'),
      unknown(4, 6, '-a'),
    ],
    rules: [],
  },
  {
    name: 'two of unknown outcome, the first of which has to leave the first revision to the other',
    log: logOf('a=1', '-a', 'a=1', 'b=1', '-[a,c)'),
    operations: (log) => [
      ok(1, [1, 2], 'a=1', 2, log),
      unknown(2, 3, '-[a,c)'),
      unknown(3, 4, '-a'),
      ok(4, [5, 6], 'a=1', 4, log),
      ok(5, [7, 8], 'b=1', 5, log),
    ],
    rules: [],
  },
  {
    name: 'a write that failed and is there',
    log: logOf('a=1'),
    operations: () => [failed(1, 1, 'a=1')],
    rules: ['failed-write'],
  },
  { name: 'a key that nobody wrote', log: logOf('a=1'), operations: () => [], rules: ['phantom-write'] },
  {
    name: 'a put with a wrong previous value',
    log: logOf('a=1', 'a=2'),
    operations: (log) => [
      ok(1, [1, 2], 'a=1', 2, log),
      answering(ok(2, [3, 4], 'a=2', 3, log), () => ({ kind: 'put', prevKv: kv('a', '0', 2) })),
    ],
    rules: ['wrong-answer'],
  },
  {
    name: 'a read of a value that never was',
    log: logOf('a=1'),
    operations: (log) => [
      ok(1, [1, 2], 'a=1', 2, log),
      answering(ok(2, [3, 4], 'a?', 2, log), () => ({
        kind: 'range',
        kvs: [kv('a', '2', 2)],
        count: 1,
        more: false,
      })),
    ],
    rules: ['wrong-answer'],
  },
  {
    name: 'a txn whose compare was judged wrongly',
    log: logOf('a=1'),
    operations: (log) => [
      ok(1, [1, 2], 'a=1', 2, log),
      answering(ok(2, [3, 4], createIfMissing, 2, log), () => ({
        kind: 'txn',
        succeeded: true,
        results: [],
      })),
    ],
    rules: ['wrong-answer'],
  },
  {
    name: 'a txn that did nothing of what it says',
    log: logOf('b=1'),
    operations: (log) => [{ ...ok(1, [1, 2], createIfMissing, 2, log), response: okTxn(2) }],
    rules: ['wrong-effect'],
  },
  {
    name: 'half of a txn',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [1, 2], 'a=1; b=1', 2, log)],
    rules: ['wrong-effect'],
  },
  {
    name: 'a delete that found nothing',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [1, 2], 'a=1', 2, log), ok(2, [3, 4], '-b', 2, log)],
    rules: [],
  },
  {
    name: 'a read in the future',
    log: logOf('a=1'),
    operations: (log) => [ok(1, [1, 2], 'a=1', 2, log), ok(2, [3, 4], 'a?', 7, log)],
    rules: ['unknown-revision'],
  },
  {
    name: 'a lease that runs out, and one that is revoked',
    log: logOf('a=1@7', 'b=1@7', 'c=1@8', '!7', '!8'),
    operations: (log) => [
      ok(1, [1, 2], 'a=1@7', 2, log),
      ok(2, [3, 4], 'b=1@7', 3, log),
      ok(3, [5, 6], 'c=1@8', 4, log),
      ok(4, [7, 8], '!8', 6, log),
      ok(5, [9, 10], '!9', 6, log),
    ],
    rules: [],
  },
  {
    name: 'a lease that runs out before it is revoked',
    log: logOf('a=1@7', '!7'),
    operations: (log) => [
      ok(1, [1, 2], 'a=1@7', 2, log),
      ok(2, [3, 4], 'a?', 3, log),
      ok(3, [5, 6], '!7', 3, log),
      ok(4, [5, 7], '!7', 3, log),
    ],
    rules: [],
  },
  {
    name: 'a lease that leaves a key behind',
    log: logOf('a=1@7', 'b=1@7', '-a'),
    operations: (log) => [ok(1, [1, 2], 'a=1@7', 2, log), ok(2, [3, 4], 'b=1@7', 3, log)],
    rules: ['phantom-write'],
  },
  {
    name: 'a revoke that left its keys',
    log: logOf('a=1@7'),
    operations: (log) => [
      ok(1, [1, 2], 'a=1@7', 2, log),
      { ...ok(2, [3, 4], '!7', 2, log), response: { revision: 2, result: { kind: 'revoke' } } },
    ],
    rules: ['wrong-effect'],
  },
  {
    name: 'a log with a hole',
    log: logOf('a=1', 'a=2', 'a=3').filter(({ revision }) => revision !== 3),
    operations: () => [unknown(1, 1, 'a=1'), unknown(2, 1, 'a=3')],
    rules: ['log-dense'],
  },
];

function okTxn(revision: number) {
  return { revision, result: { kind: 'txn', succeeded: true, results: [{ kind: 'put', prevKv: undefined }] } } as const;
}

describe('a history with its log', () => {
  it.each(CASES)('$name', ({ log, operations, rules }) => {
    const { findings } = checkHistory({ operations: operations(log), log });
    expect(findings.map(({ rule }) => rule)).toEqual(rules);
  });

  it('is told with the operations at fault', () => {
    const log = logOf('a=1', 'b=1');
    const operations = [ok(1, [1, 2], 'a=1', 2, log), ok(2, [1, 3], 'b=1', 3, log), ok(3, [5, 6], 'a?', 2, log)];
    const [finding] = checkHistory({ operations, log }).findings;
    expect(finding?.operations.map(({ id }) => id)).toEqual([2, 3]);
    expect(finding?.message).toContain('#3 get a by c3 [5, 6] at revision 2');
  });

  it('says who made each revision', () => {
    const log = logOf('a=1@7', 'b=1', '!7', 'c=1@8', '!8');
    const operations = [
      ok(1, [1, 2], 'a=1@7', 2, log),
      unknown(2, 3, 'b=1'),
      ok(3, [5, 6], 'c=1@8', 5, log),
      unknown(4, 7, '!8'),
    ];
    const report = checkHistory({ operations, log });
    expect(report.findings).toEqual([]);
    expect(report.writers.get(4)).toEqual({ kind: 'expiry', lease: 7n });
    expect(report.writers.get(6)).toMatchObject({ kind: 'operation', operation: { id: 4 } });
    expect([...clientRevisions(report)].sort()).toEqual([2, 3, 5]);
  });

  it('takes the end of a lease that can not run out for nobody’s doing', () => {
    const log = logOf('a=1@7', '!7');
    const operations = [ok(1, [1, 2], 'a=1@7', 2, log)];
    const { findings } = checkHistory({ operations, log, canExpire: (lease) => lease !== 7n });
    expect(findings.map(({ rule }) => rule)).toEqual(['phantom-write']);
  });

  it('takes a revoke for what its answer names alone', () => {
    const log = logOf('a=1@7', '!7', 'b=1');
    const operations = [ok(1, [1, 2], 'a=1@7', 2, log), ok(2, [3, 9], '!7', 4, log), ok(3, [4, 5], 'b=1', 4, log)];
    const { findings } = checkHistory({ operations, log, canExpire: () => false });
    expect(findings.map(({ rule }) => rule)).toEqual(['applied-twice']);
  });

  it('starts from a store that held something', () => {
    const start = { revision: 10, kvs: [kv('a', '1', 9)] };
    const log = [
      { revision: 11, events: [{ type: 'put', kv: { ...kv('a', '2', 11), createRevision: 9, version: 2 } }] },
    ] as const;
    expect(checkHistory({ operations: [unknown(1, 1, 'a=2')], log, start }).findings).toEqual([]);
  });
});

describe('histories of a simulated store', () => {
  const check = (fault: StoreFault | undefined, seed: number): { found: number; explained: boolean } => {
    const options = { clients: 3, operations: 8, keys: 2, unknownChance: 0.15, maxUnknown: 3, fault };
    const { operations, log } = makeStory(new Sfc32(seed), options);
    const { findings } = checkHistory({ operations, log });
    const explained = someOrderExplains(operations, ...storeOnLog(log));
    if (explained !== (findings.length === 0))
      throw new Error(
        `${fault}, seed ${seed}: ${explained ? 'sound' : 'not sound'}, but found ${differenceOf([], findings)}`,
      );
    return { found: findings.length, explained };
  };

  it('are sound as long as the store is', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        expect(check(undefined, seed).explained).toBe(true);
      }),
      { numRuns: 400 },
    );
  });

  it.each(FAULTS)('are judged as by trying all orders: %s', (fault) => {
    let bad = 0;
    const judged = fc.property(fc.integer(), (seed) => {
      if (!check(fault, seed).explained) bad += 1;
    });
    fc.assert(judged, { numRuns: 300 });
    // It shows often enough to be worth the test.
    expect(bad).toBeGreaterThan(10);
  });

  it('are checked at once, whatever their length', () => {
    const options = { clients: 20, operations: 10_000, keys: 12, unknownChance: 0.006, maxUnknown: 50 };
    const { operations, log } = makeStory(new Sfc32(1), options);
    expect(operations.filter(({ status }) => status === 'unknown')).toHaveLength(50);
    expect(checkHistory({ operations, log }).findings).toEqual([]);
  });
});

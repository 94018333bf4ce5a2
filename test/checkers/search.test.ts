import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Sfc32 } from '../simulation/world/random.ts';
import { isSerializable, type Operation, type Request, type Response } from './history.ts';
import { independentParts } from './parts.ts';
import { type SearchModel, searchOrder } from './search.ts';
import { plainModel, storeModel } from './search-models.ts';
import { ok, unknown } from './support/build.ts';
import { someOrderExplains } from './support/oracle.ts';
import { FAULTS, makeStory } from './support/simulated-store.ts';
import { checkWithoutRevisions } from './without-revisions.ts';

/** A register: puts of its value and reads, nothing else is looked at. */
const register: SearchModel<string> = {
  initial: '',
  step(state, request, response) {
    if (request.kind === 'put') return [request.value];
    const result = response?.result;
    const read = result?.kind === 'range' ? (result.kvs[0]?.value ?? '') : state;
    return read === state ? [state] : [];
  },
  onlyReads: ({ kind }) => kind !== 'put',
  keyOf: (state) => state,
};

const get: Request = { kind: 'range', key: 'a' };

function put(id: number, at: readonly [number, number], value: string): Operation {
  return ok(id, at, { kind: 'put', key: 'a', value }, 1, []);
}

function read(id: number, [calledAt, returnedAt]: readonly [number, number], value: string): Operation {
  const kvs = value === '' ? [] : [{ key: 'a', value, lease: 0n, createRevision: 0, modRevision: 0, version: 1 }];
  const response: Response = { revision: 0, result: { kind: 'range', kvs, count: kvs.length, more: false } };
  return { id, client: `c${id}`, calledAt, request: get, status: 'ok', returnedAt, response };
}

function maybe(id: number, calledAt: number, value: string): Operation {
  return unknown(id, calledAt, { kind: 'put', key: 'a', value });
}

const CASES: readonly { readonly name: string; readonly operations: readonly Operation[]; readonly good: boolean }[] = [
  { name: 'nothing', operations: [], good: true },
  { name: 'a write and its read', operations: [put(1, [1, 2], 'x'), read(2, [3, 4], 'x')], good: true },
  { name: 'a read of nothing after a write', operations: [put(1, [1, 2], 'x'), read(2, [3, 4], '')], good: false },
  {
    name: 'reads beside a write',
    operations: [put(1, [1, 9], 'x'), read(2, [2, 3], ''), read(3, [4, 5], 'x')],
    good: true,
  },
  {
    name: 'reads beside a write, there and back',
    operations: [put(1, [1, 9], 'x'), read(2, [2, 3], 'x'), read(3, [4, 5], '')],
    good: false,
  },
  {
    name: 'two writes that two readers see in another order each',
    operations: [
      put(1, [1, 20], 'x'),
      put(2, [2, 21], 'y'),
      read(3, [3, 4], 'x'),
      read(4, [5, 6], 'y'),
      read(5, [7, 8], 'x'),
    ],
    good: false,
  },
  {
    name: 'two writes, the one that ends first being the last',
    operations: [put(1, [1, 20], 'x'), put(2, [2, 5], 'y'), read(3, [3, 4], 'x'), read(4, [6, 7], 'y')],
    good: true,
  },
  {
    name: 'a write of unknown outcome, seen late',
    operations: [maybe(1, 1, 'x'), put(2, [2, 3], 'y'), read(3, [4, 5], 'y'), read(4, [6, 7], 'x')],
    good: true,
  },
  {
    name: 'a write of unknown outcome, seen twice',
    operations: [maybe(1, 1, 'x'), read(2, [2, 3], 'x'), put(3, [4, 5], 'y'), read(4, [6, 7], 'x')],
    good: false,
  },
  {
    name: 'a write of unknown outcome, seen before its call',
    operations: [read(1, [1, 2], 'x'), maybe(2, 3, 'x')],
    good: false,
  },
  {
    name: 'a write of what is there already, needed later',
    operations: [
      put(1, [1, 2], 'x'),
      put(2, [3, 20], 'x'),
      put(3, [4, 5], 'y'),
      read(4, [6, 7], 'y'),
      read(5, [8, 9], 'x'),
    ],
    good: true,
  },
  {
    name: 'an answer at the very time of a call',
    operations: [put(1, [1, 3], 'x'), read(2, [3, 4], '')],
    good: true,
  },
];

describe('the search for an order', () => {
  it.each(CASES)('$name', ({ operations, good }) => {
    expect(searchOrder(operations, register).verdict).toBe(good ? 'linearizable' : 'violation');
    expect(someOrderExplains(operations, register)).toBe(good);
  });

  it('says which answer is the first that can not be explained, and what was open', () => {
    const operations = [put(1, [1, 2], 'x'), maybe(2, 3, 'z'), read(3, [4, 5], 'y'), read(4, [6, 7], 'x')];
    const { stuck } = searchOrder(operations, register);
    expect(stuck?.at.id).toBe(3);
    expect(stuck?.open.map(({ id }) => id)).toEqual([2]);
  });

  it('gives up at its limit', () => {
    const open = Array.from({ length: 12 }, (_, id) => maybe(id, 1, `v${id}`));
    const operations = [...open, read(20, [2, 3], 'never')];
    expect(searchOrder(operations, register, { maxStates: 5 })).toMatchObject({ verdict: 'undecided', states: 5 });
    expect(searchOrder(operations, register, { maxStates: 100_000 }).verdict).toBe('violation');
  });

  it('looks at little more than there is, if all is well', () => {
    const options = { clients: 20, operations: 10_000, keys: 12, unknownChance: 0.006, maxUnknown: 50 };
    const { operations } = makeStory(new Sfc32(1), { ...options, singleKeys: true });
    expect(operations.filter(({ status }) => status === 'unknown')).toHaveLength(50);
    const states = independentParts(operations).map((part) => {
      const { verdict, states } = searchOrder(part, plainModel());
      expect(verdict).toBe('linearizable');
      return states;
    });
    expect(states).toHaveLength(12);
    expect(states.reduce((sum, one) => sum + one)).toBeLessThan(20_000);
  });
});

describe('histories of a simulated store', () => {
  const small = { clients: 3, operations: 7, keys: 2, unknownChance: 0.15, maxUnknown: 2 };

  it.each(['none', ...FAULTS.filter((fault) => fault !== 'session-back')] as const)(
    'are judged as by trying all orders: %s',
    (fault) => {
      const verdicts = { store: 0 };
      const judged = fc.property(fc.integer(), (seed) => {
        const story = makeStory(new Sfc32(seed), { ...small, fault: fault === 'none' ? undefined : fault });
        const operations = story.operations.filter(({ request }) => !isSerializable(request));
        const store = someOrderExplains(operations, storeModel());
        expect(searchOrder(operations, storeModel()).verdict).toBe(store ? 'linearizable' : 'violation');
        const plain = someOrderExplains(operations, plainModel());
        expect(searchOrder(operations, plainModel()).verdict).toBe(plain ? 'linearizable' : 'violation');
        // Apart or together is the same, and with fewer facts there is less to find.
        expect(checkWithoutRevisions(operations).length === 0).toBe(plain);
        if (store) expect(plain).toBe(true);
        verdicts.store += store ? 0 : 1;
      });
      fc.assert(judged, { numRuns: 200 });
      // It shows often enough to be worth the test.
      if (fault !== 'none') expect(verdicts.store).toBeGreaterThan(10);
    },
  );
});

describe('a history without revisions', () => {
  it('is told by the answers that contradict each other, and no others', () => {
    const operations = [
      put(1, [1, 2], 'x'),
      ok(2, [3, 4], { kind: 'put', key: 'b', value: '1' }, 1, []),
      read(3, [5, 6], 'x'),
      put(4, [7, 8], 'y'),
      read(5, [9, 10], 'x'),
      read(6, [11, 12], 'y'),
      // What comes later has no part in it, wrong as it is.
      read(7, [13, 14], 'never'),
    ];
    const findings = checkWithoutRevisions(operations);
    expect(findings).toHaveLength(1);
    expect(findings[0]?.operations.map(({ id }) => id)).toEqual([4, 5]);
  });

  it('is a finding too if no order is found in time', () => {
    const open = Array.from({ length: 12 }, (_, id) => maybe(id, 1, `v${id}`));
    const findings = checkWithoutRevisions([...open, read(20, [2, 3], 'never')], { maxStates: 5 });
    expect(findings.map(({ rule }) => rule)).toEqual(['undecided']);
  });

  it('starts from what the store held', () => {
    const before = { key: 'a', value: 'x', lease: 0n, createRevision: 3, modRevision: 3, version: 1 };
    expect(checkWithoutRevisions([read(1, [1, 2], 'x')], { start: [before] })).toEqual([]);
    expect(checkWithoutRevisions([read(1, [1, 2], 'x')])).toHaveLength(1);
  });
});

describe('parts of a history', () => {
  const parts = (...requests: readonly Request[]): number[][] =>
    independentParts(
      requests.map((request, id) => unknown(id, id, request)),
      ['s'],
    )
      .map((part) => part.map(({ id }) => id))
      .sort();
  const one = (key: string, lease = 0n): Request => ({ kind: 'put', key, value: '1', lease });

  it('have no key in common', () => {
    expect(parts(one('a'), one('b'), one('a'))).toEqual([[0, 2], [1]]);
  });

  it('are joined by transactions, ranges and leases', () => {
    const txn: Request = {
      kind: 'txn',
      compares: [{ key: 'a', target: 'version', result: '=', operand: 0 }],
      success: [],
      failure: [{ kind: 'put', key: 'b', value: '1' }],
    };
    expect(parts(one('a'), one('b'), one('c'), txn)).toEqual([[0, 1, 3], [2]]);
    expect(parts(one('a'), one('b'), one('d'), { kind: 'delete', key: 'a', end: 'c' })).toEqual([[0, 1, 3], [2]]);
    expect(parts(one('a', 7n), one('b', 7n), one('c', 8n), { kind: 'revoke', lease: 7n })).toEqual([[0, 1, 3], [2]]);
  });

  it('are joined by keys that were there before', () => {
    const from = (key: string): Request => ({ kind: 'delete', key, end: '\0' });
    expect(parts(from('p'), from('q'), one('a'))).toEqual([[0, 1], [2]]);
  });
});

/** The arithmetic of the semaphore, against a model that knows who really holds. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { available, fits, readQueue, waiterAhead } from '../../recipes/semaphore-queue.ts';
import type { KeyValue, RangeResult, Revision } from '../../src/index.ts';

const KEYS = { prefix: 's/', limit: 's/limit', permits: 's/permits/' };

interface Row {
  key: string;
  value: string;
  createRevision: bigint;
  modRevision: bigint;
  lease: bigint | undefined;
}

function range(rows: readonly Row[], revision = 1_000n): RangeResult<string> {
  const kvs = [...rows].sort((a, b) => (a.key < b.key ? -1 : 1)) as unknown as KeyValue<string>[];
  return { kvs, count: kvs.length, more: false, revision: revision as Revision };
}

function place(name: string, token: bigint, permits: number, granted?: boolean): Row {
  const value = JSON.stringify({ owner: name, permits, ...(granted && { granted }) });
  return { key: `s/permits/${name}-0a`, value, createRevision: token, modRevision: token, lease: 1n };
}

function limitRow(limit: number, at: bigint): Row {
  return { key: 's/limit', value: String(limit), createRevision: 1n, modRevision: at, lease: undefined };
}

it('counts in the order of arrival, and ignores what is nobody’s place', () => {
  const queue = readQueue(
    range([
      limitRow(5, 3n),
      place('ff', 10n, 2),
      place('aa', 20n, 3),
      place('bb', 30n, 1),
      { ...place('cc', 5n, 4), lease: undefined },
      { ...place('dd', 6n, 4), value: 'not json' },
      { ...place('ee', 7n, 0), key: 's/permits/sub/ee-0a' },
      place('0', 8n, 0),
      place('1', 9n, 1.5),
      place('2', 9n, -3),
    ]),
    KEYS,
    99,
  );
  expect(queue).toMatchObject({ limit: 5, limitRevision: 3n });
  expect(queue.places.map(({ key, upTo }) => [key, upTo])).toEqual([
    ['s/permits/ff-0a', 2],
    ['s/permits/aa-0a', 5],
    ['s/permits/bb-0a', 6],
  ]);
  expect(queue.places.map((each) => fits(each, queue))).toEqual([true, true, false]);
  expect(available(queue)).toBe(-1);
});

it('has each who waits watch the one ahead, and only the first of them the holders', () => {
  const rows = [limitRow(2, 3n), place('a', 10n, 2), place('b', 20n, 1), place('c', 30n, 1, true), place('d', 40n, 2)];
  const ahead = (queue: ReturnType<typeof readQueue>): (bigint | undefined)[] =>
    queue.places.map((each) => waiterAhead(each, queue)?.token);
  // The third was served after a wait, by a limit that was higher then.
  expect(ahead(readQueue(range([...rows, place('e', 50n, 1)]), KEYS, 9))).toEqual([
    undefined,
    undefined,
    20n,
    20n,
    40n,
  ]);
  // Whether the second holds cannot be told: it came before the limit was set. The fourth came after.
  const later = [limitRow(2, 25n), ...rows.slice(1), place('e', 50n, 1)];
  expect(ahead(readQueue(range(later), KEYS, 9))).toEqual([undefined, undefined, undefined, undefined, 40n]);
});

it('has the initial limit until one was set, and refuses one that is no number', () => {
  expect(readQueue(range([]), KEYS, 7)).toMatchObject({ limit: 7, limitRevision: 0n, places: [] });
  expect(available(readQueue(range([]), KEYS, 7))).toBe(7);
  for (const text of ['0', '', '-1', '1.5', 'plenty', '1e3', '9999999999999999']) {
    expect(() => readQueue(range([{ ...limitRow(1, 3n), value: text }]), KEYS, 7)).toThrow(/positive whole number/);
  }
  expect(readQueue(range([{ ...limitRow(1, 3n), value: ' 12\n' }]), KEYS, 7).limit).toBe(12);
});

/**
 * Everybody follows the rules of the recipe, one step at a time: come, be served by the rule, mark after a wait, leave,
 * change the limit. The model knows who holds.
 */
it('never serves too many, serves in order, and has somebody watch whenever somebody waits', () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('come' as const), permits: fc.integer({ min: 1, max: 4 }) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('leave' as const), which: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('limit' as const), limit: fc.integer({ min: 1, max: 8 }) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      let revision = 1n;
      let limit = limitRow(4, revision);
      const rows = new Map<string, Row>();
      const holders = new Set<string>();
      const limits = [{ limit: 4, from: revision }];
      const look = () => readQueue(range([limit, ...rows.values()], revision), KEYS, 1);
      const serve = (): void => {
        for (;;) {
          const queue = look();
          const next = queue.places.find((each) => !holders.has(each.key) && fits(each, queue));
          if (next === undefined) return;
          // Nobody who came earlier is still waiting.
          const earlier = queue.places.filter(({ token }) => token < next.token);
          expect(earlier.every(({ key }) => holders.has(key))).toBe(true);
          const row = rows.get(next.key) as Row;
          rows.set(next.key, {
            ...row,
            value: JSON.stringify({ permits: next.permits, granted: true }),
            modRevision: ++revision,
          });
          holders.add(next.key);
        }
      };
      for (const each of steps) {
        revision++;
        if (each.do === 'come') {
          const row = place(revision.toString(16), revision, each.permits);
          rows.set(row.key, row);
          const queue = look();
          const own = queue.places.at(-1);
          // Served on entering: no mark.
          if (own !== undefined && fits(own, queue)) holders.add(row.key);
        } else if (each.do === 'leave') {
          const key = [...rows.keys()][each.which % Math.max(1, rows.size)];
          if (key !== undefined) rows.delete(key);
          if (key !== undefined) holders.delete(key);
        } else {
          const before = limit;
          limit = limitRow(each.limit, revision);
          limits.push({ limit: each.limit, from: revision });
          if (Number(before.value) < each.limit) serve();
        }
        serve();
        const queue = look();
        const held = queue.places.filter(({ key }) => holders.has(key));
        const total = held.reduce((sum, { permits }) => sum + permits, 0);
        // No more than the highest limit that was in force since the oldest holder came.
        const since = limits.findLastIndex(({ from }) => from <= (held[0]?.token ?? revision));
        expect(total).toBeLessThanOrEqual(Math.max(...limits.slice(since).map(({ limit: then }) => then)));
        const waiting = queue.places.filter(({ key }) => !holders.has(key));
        for (const waiter of waiting) {
          // It waits for one that really waits: a holder would never tell it of its turn.
          const ahead = waiterAhead(waiter, queue);
          if (ahead !== undefined) expect(holders.has(ahead.key)).toBe(false);
          // Whoever waits by the rule does not fit.
          expect(fits(waiter, queue)).toBe(false);
        }
        // The first of them waits for nobody but the holders.
        if (waiting[0] !== undefined) expect(waiterAhead(waiting[0], queue)).toBeUndefined();
      }
    }),
    { numRuns: 500 },
  );
});

/**
 * Random writers, readers that stop and go on, compactions, watchers that come and go: what every watcher was told is
 * compared with what was written.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Event } from '../../../src/protocol/generated/mvccpb.ts';
import { toBytes, toLatin1 } from '../../../src/protocol/keys.ts';
import { contains } from '../../../src/server/mvcc/matcher.ts';
import { type WatchCall, watchSetUp } from './watch-calls.ts';

type Step =
  | { readonly do: 'put' | 'delete'; readonly key: string }
  | { readonly do: 'txn'; readonly keys: readonly string[] }
  | {
      readonly do: 'watch';
      readonly call: number;
      readonly key: string;
      readonly back: number;
      readonly fragment: boolean;
    }
  | { readonly do: 'cancel'; readonly call: number; readonly id: number }
  | { readonly do: 'read' | 'progress'; readonly call: number }
  | { readonly do: 'compact'; readonly back: number }
  | { readonly do: 'catch up'; readonly revisions: number };

const KEYS = ['a', 'aa', 'b', 'c'];
const CALLS = 3;
/** Every so often a value of which two fill a fragment. */
const LARGE = 'x'.repeat(300 * 1024);
const LARGE_EVERY = 3;

const key = fc.constantFrom(...KEYS);
const call = fc.nat(CALLS - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: fc.record({ do: fc.constantFrom('put', 'delete'), key }), weight: 6 },
  { arbitrary: fc.record({ do: fc.constant('txn'), keys: fc.uniqueArray(key, { minLength: 2 }) }), weight: 3 },
  {
    arbitrary: fc.record({
      do: fc.constant('watch'),
      call,
      key,
      back: fc.integer({ min: -2, max: 12 }),
      fragment: fc.boolean(),
    }),
    weight: 3,
  },
  fc.record({ do: fc.constant('cancel'), call, id: fc.nat(4) }),
  { arbitrary: fc.record({ do: fc.constantFrom('read', 'progress'), call }), weight: 3 },
  fc.record({ do: fc.constant('compact'), back: fc.nat(6) }),
  { arbitrary: fc.record({ do: fc.constant('catch up'), revisions: fc.integer({ min: 1, max: 4 }) }), weight: 3 },
);

/** A watcher, as its client knows it. */
interface Told {
  readonly key: string;
  /** First revision that it is to hear of. */
  start: number;
  readonly events: Event[];
  compacted: number | undefined;
  canceled: boolean;
  upTo: number;
  isFragment: boolean;
}

async function play(steps: readonly Step[]): Promise<{ events: number; compactions: number; fragments: number }> {
  const { member, open, put, del, compact } = watchSetUp({ maxRequestBytes: 1 });
  member.wakes = false;
  const calls = Array.from({ length: CALLS }, (_, i) => open(i === 0 ? {} : { room: i }));
  const wanted: { key: string; start: number }[][] = calls.map(() => []);
  let value = 0;
  const run = async (what: Step): Promise<void> => {
    const { revision } = member.store;
    if (what.do === 'put') await put(what.key, `${value++}${value % LARGE_EVERY === 0 ? LARGE : ''}`);
    else if (what.do === 'delete') await del(what.key, `${what.key}\x7f`);
    else if (what.do === 'txn') {
      const success = what.keys.map((k) => ({ requestPut: { key: toBytes(k), value: toBytes(`${value++}`) } }));
      await member.propose({ txn: { success } });
    } else if (what.do === 'watch') {
      const start = Math.max(0, revision + 1 - what.back);
      const { fragment } = what;
      wanted[what.call]?.push({ key: what.key, start });
      const range = { key: toBytes(what.key), rangeEnd: toBytes(`${what.key}\x7f`) };
      await calls[what.call]?.create({ ...range, startRevision: BigInt(start), prevKv: true, fragment });
    } else if (what.do === 'cancel') await calls[what.call]?.cancelWatch(BigInt(what.id));
    else if (what.do === 'progress') await calls[what.call]?.request({ progressRequest: {} });
    else if (what.do === 'read') {
      calls[what.call]?.out.read();
      await member.clock.settle();
    } else if (what.do === 'compact') await compact(revision - what.back).catch(() => {});
    else if (what.do === 'catch up') member.watches.catchUp({ watchers: 2, revisions: what.revisions });
  };
  for (const what of steps) await run(what);
  for (const [i, one] of calls.entries()) if (i > 0) expect(one.out.mostUnread).toBeLessThanOrEqual(i + 8);
  for (const one of calls) one.out.read(Number.POSITIVE_INFINITY);
  await member.clock.settle();
  member.catchUp({ watchers: 512, revisions: 1000 });
  const told = calls.map((one, i) => toldOf(one, wanted[i] ?? []));
  const all = told.flat();
  // Compactions take nothing out of the history until they are swept, and here they are not.
  const log = [...member.store.history(1, member.store.revision)];
  for (const one of all) check(one, log);
  for (const one of calls) await one.cancel();
  expect(member.watches.counts).toEqual({ upToDate: 0, behind: 0 });
  return {
    events: all.reduce((sum, { events }) => sum + events.length, 0),
    compactions: all.filter(({ compacted }) => compacted !== undefined).length,
    fragments: calls.flatMap(({ out }) => out.sent).filter(({ fragment }) => fragment).length,
  };
}

/** What each watcher of a call was told. Throws at what must never come. */
function toldOf(one: WatchCall, wanted: readonly { key: string; start: number }[]): Told[] {
  const told = new Map<bigint, Told>();
  const order = [...wanted];
  for (const { created, canceled, watchId, header, events, compactRevision, fragment } of one.out.sent) {
    const revision = Number(header?.revision);
    if (watchId === -1n) {
      // Progress: nothing of before comes after it.
      for (const watcher of told.values()) watcher.upTo = Math.max(watcher.upTo, revision);
      continue;
    }
    if (created) {
      const { key: watched, start } = order.shift() as { key: string; start: number };
      expect(told.has(watchId)).toBe(false);
      const from = start === 0 ? revision + 1 : start;
      const fresh = { key: watched, start: from, events: [], compacted: undefined, canceled: false, upTo: from - 1 };
      told.set(watchId, { ...fresh, isFragment: false });
      continue;
    }
    const watcher = told.get(watchId) as Told;
    if (canceled) {
      if (compactRevision > 0n) watcher.compacted = Number(compactRevision);
      else watcher.canceled = true;
      continue;
    }
    expect(watcher.canceled || watcher.compacted !== undefined).toBe(false);
    expect(events.length).toBeGreaterThan(0);
    const first = Number(events[0]?.kv?.modRevision);
    // Ordered, unique, whole: a new response starts after all that was told, unless it goes on with a fragment.
    if (!watcher.isFragment) expect(first).toBeGreaterThan(watcher.upTo);
    watcher.isFragment = fragment;
    const last = Number(events.at(-1)?.kv?.modRevision);
    expect(revision).toBeGreaterThanOrEqual(last);
    if (!fragment) watcher.upTo = Math.max(watcher.upTo, last);
    watcher.events.push(...events);
  }
  return [...told.values()];
}

/** Nothing is missing, nothing is too much, and what was before each change is what the watcher was told before. */
function check(told: Told, log: readonly { key: string; main: number }[]): void {
  const range = { key: told.key, end: `${told.key}\x7f` };
  const expected = log
    .filter(({ key: k, main }) => contains(range, k) && main >= told.start)
    .map(({ key: k, main }) => `${k}@${main}`);
  const got = told.events.map(({ kv }) => `${toLatin1(kv?.key as Uint8Array)}@${kv?.modRevision}`);
  // One that is over has heard of a part.
  if (told.canceled || told.compacted !== undefined) expect(got).toEqual(expected.slice(0, got.length));
  else expect(got).toEqual(expected);
  const last = new Map<string, Event>();
  for (const event of told.events) {
    const k = toLatin1(event.kv?.key as Uint8Array);
    const before = last.get(k);
    if (event.prevKv && before) expect(event.prevKv.modRevision).toBe(before.kv?.modRevision);
    last.set(k, event);
  }
}

describe('Watch, whatever happens', () => {
  it('tells each watcher everything once, in order and in whole revisions, or that it is compacted', async () => {
    let events = 0;
    let compactions = 0;
    let fragments = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 60, maxLength: 120, size: 'max' }), async (steps) => {
        const seen = await play(steps);
        events += seen.events;
        compactions += seen.compactions;
        fragments += seen.fragments;
      }),
      { numRuns: 80 },
    );
    expect(events).toBeGreaterThan(500);
    expect(compactions).toBeGreaterThan(5);
    expect(fragments).toBeGreaterThan(2);
  }, 60_000);
});

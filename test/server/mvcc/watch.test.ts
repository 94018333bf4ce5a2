import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contains } from '../../../src/server/mvcc/matcher.ts';
import type { KvRecord } from '../../../src/server/mvcc/record.ts';
import { type KeyRange, KvStore } from '../../../src/server/mvcc/store.ts';
import { WatchHub, type WatchSink } from '../../../src/server/mvcc/watch.ts';
import { ALL, commit, lines, one, put } from './support.ts';

/** A reader that writes down what it is told, and has no room when told to. */
class Reader implements WatchSink {
  readonly batches: { readonly events: readonly KvRecord[]; readonly revision: number }[] = [];
  room = true;
  lost: number | undefined;

  get events(): readonly KvRecord[] {
    return this.batches.flatMap(({ events }) => events);
  }

  offer(events: readonly KvRecord[], revision: number): boolean {
    if (this.room) this.batches.push({ events, revision });
    return this.room;
  }

  compacted(revision: number): void {
    this.lost = revision;
  }
}

function setUp(): { store: KvStore; hub: WatchHub; write: (changes: Parameters<typeof commit>[1]) => void } {
  const store = new KvStore();
  const hub = new WatchHub(store);
  return { store, hub, write: (changes) => hub.publish(commit(store, changes)) };
}

describe('a hub of watchers', () => {
  it('tells of each transaction as it ends, in one batch', () => {
    const { hub, write } = setUp();
    const reader = new Reader();
    const watcher = hub.watch({ range: ALL, startRevision: 0, sink: reader });
    write((txn) => {
      put(txn, 'b', '1');
      put(txn, 'a', '2');
    });
    write((txn) => txn.deleteRange(ALL));
    expect(reader.batches.map(({ events, revision }) => [revision, lines(events)])).toEqual([
      [2, ['b=1@2', 'a=2@2']],
      [3, ['a!@3', 'b!@3']],
    ]);
    expect(watcher.nextRevision).toBe(4);
  });

  it('reads no more of the past in one step than a limit of bytes, but a whole revision at least', () => {
    const { hub, write } = setUp();
    for (let i = 0; i < 6; i += 1) {
      write((txn) => {
        put(txn, 'a', 'x'.repeat(100));
        put(txn, 'b', 'x'.repeat(100));
      });
    }
    const reader = new Reader();
    hub.watch({ range: ALL, startRevision: 1, sink: reader });
    while (hub.catchUp({ watchers: 9, revisions: 100, bytes: 1 }));
    expect(reader.batches.map(({ events, revision }) => [revision, events.length])).toEqual(
      [2, 3, 4, 5, 6, 7].map((revision) => [revision, 2]),
    );
    const other = new Reader();
    hub.watch({ range: ALL, startRevision: 1, sink: other });
    while (hub.catchUp({ watchers: 9, revisions: 100, bytes: 400 }));
    expect(other.batches.map(({ revision }) => revision)).toEqual([3, 5, 7]);
  });

  it('passes over who has no room, so that others get on', () => {
    const { hub, write } = setUp();
    for (let i = 0; i < 50; i += 1) write((txn) => put(txn, 'a', String(i)));
    const stuck = Object.assign(new Reader(), { hasRoom: () => false });
    const reader = new Reader();
    hub.watch({ range: ALL, startRevision: 2, sink: stuck });
    hub.watch({ range: ALL, startRevision: 40, sink: reader });
    for (let i = 0; i < 10; i += 1) hub.catchUp({ watchers: 9, revisions: 3 });
    expect(reader.events).toHaveLength(12);
    expect(hub.delivered).toBe(12);
    expect(hub.catchUp()).toBe(false);
    expect(hub.counts).toEqual({ upToDate: 1, behind: 1 });
  });

  it('tells of the past first, in steps, and a batch ends with a whole revision', () => {
    const { hub, write } = setUp();
    for (let i = 0; i < 10; i += 1) {
      write((txn) => {
        put(txn, 'a', String(i));
        put(txn, 'b', String(i));
      });
    }
    const reader = new Reader();
    const watcher = hub.watch({ range: one('a'), startRevision: 4, sink: reader });
    expect(watcher.upToDate).toBe(false);
    expect(hub.catchUp({ watchers: 9, revisions: 3 })).toBe(true);
    expect(reader.batches.map(({ events, revision }) => [revision, lines(events)])).toEqual([
      [6, ['a=2@4', 'a=3@5', 'a=4@6']],
    ]);
    while (hub.catchUp({ watchers: 9, revisions: 3 }));
    expect([watcher.upToDate, reader.events.length, reader.batches.at(-1)?.revision]).toEqual([true, 8, 11]);
    write((txn) => put(txn, 'a', 'live'));
    expect(lines(reader.events).at(-1)).toBe('a=live@12');
  });

  it('waits for a revision in the future', () => {
    const { hub, write } = setUp();
    const reader = new Reader();
    const watcher = hub.watch({ range: ALL, startRevision: 4, sink: reader });
    expect(watcher.upToDate).toBe(true);
    for (let i = 0; i < 4; i += 1) write((txn) => put(txn, 'a', String(i)));
    expect(lines(reader.events)).toEqual(['a=2@4', 'a=3@5']);
  });

  it('keeps nothing for a reader without room, and nobody waits for it', () => {
    const { hub, write } = setUp();
    const slow = new Reader();
    const quick = new Reader();
    hub.watch({ range: ALL, startRevision: 0, sink: slow });
    hub.watch({ range: ALL, startRevision: 0, sink: quick });
    slow.room = false;
    for (let i = 0; i < 5; i += 1) write((txn) => put(txn, 'a', String(i)));
    expect(hub.delivered).toBe(5);
    expect([slow.batches.length, quick.events.length, hub.counts]).toEqual([0, 5, { upToDate: 1, behind: 1 }]);
    expect(hub.catchUp()).toBe(true);
    slow.room = true;
    expect(hub.catchUp()).toBe(false);
    expect(lines(slow.events)).toEqual(lines(quick.events));
  });

  it('tells who needs what is compacted that it is, and forgets it', () => {
    const { store, hub, write } = setUp();
    for (let i = 0; i < 5; i += 1) write((txn) => put(txn, 'a', String(i)));
    store.compact(4);
    const late = new Reader();
    const just = new Reader();
    hub.watch({ range: ALL, startRevision: 3, sink: late });
    hub.watch({ range: ALL, startRevision: 4, sink: just });
    expect(hub.catchUp()).toBe(false);
    expect([late.lost, late.batches, lines(just.events)]).toEqual([4, [], ['a=2@4', 'a=3@5', 'a=4@6']]);
    write((txn) => put(txn, 'a', 'more'));
    expect(late.batches).toEqual([]);
  });

  it('gives everybody a turn: those who were read for come after those who wait', () => {
    const { hub, write } = setUp();
    for (let i = 0; i < 4; i += 1) write((txn) => put(txn, 'a', String(i)));
    const readers = [new Reader(), new Reader(), new Reader()];
    for (const sink of readers) hub.watch({ range: ALL, startRevision: 2, sink });
    hub.catchUp({ watchers: 1, revisions: 1 });
    hub.catchUp({ watchers: 1, revisions: 1 });
    hub.catchUp({ watchers: 1, revisions: 1 });
    expect(readers.map(({ events }) => events.length)).toEqual([1, 1, 1]);
  });

  it('says nothing of what a watcher does not want, and nothing after it has ended', () => {
    const { hub, write } = setUp();
    const reader = new Reader();
    const watcher = hub.watch({
      range: ALL,
      startRevision: 0,
      sink: reader,
      wanted: ({ isTombstone }) => isTombstone,
    });
    write((txn) => put(txn, 'a'));
    expect(reader.batches).toEqual([]);
    write((txn) => txn.deleteRange(ALL));
    expect(lines(reader.events)).toEqual(['a!@3']);
    hub.cancel(watcher);
    write((txn) => put(txn, 'a'));
    write((txn) => txn.deleteRange(ALL));
    expect(reader.events.length).toBe(1);
  });

  it('goes on in another store from where a watcher was, even if the old one had compacted less', () => {
    const { hub, write } = setUp();
    const reader = new Reader();
    hub.watch({ range: one('a'), startRevision: 0, sink: reader });
    for (let i = 0; i < 3; i += 1) write((txn) => put(txn, 'b'));
    const next = new KvStore();
    for (let i = 0; i < 3; i += 1) commit(next, (txn) => put(txn, 'b'));
    commit(next, (txn) => put(txn, 'a', 'new'));
    next.compact(4);
    hub.reset(next);
    expect(hub.catchUp()).toBe(false);
    expect([reader.lost, lines(reader.events)]).toEqual([undefined, ['a=new@5']]);
  });
});

const range: fc.Arbitrary<KeyRange> = fc.oneof(
  fc.constant(ALL),
  fc.nat(5).map((n) => ({ key: `k${n}`, end: '' })),
  fc.tuple(fc.nat(5), fc.nat(5)).map(([from, to]) => ({ key: `k${from}`, end: `k${to}` })),
);
const action = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('put' as const),
      keys: fc.array(fc.nat(5), { minLength: 1, maxLength: 3 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), range }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('watch' as const), range, back: fc.integer({ min: -3, max: 20 }) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('room' as const), who: fc.nat(9), room: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('catch up' as const),
      watchers: fc.integer({ min: 1, max: 3 }),
      revisions: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('compact' as const), back: fc.nat(10) }) },
);

describe('whatever happens', () => {
  it('each watcher gets all its events once, in order, in whole revisions, or hears that they are compacted', () => {
    const seen = { events: 0, lost: 0 };
    fc.assert(
      fc.property(fc.array(action, { minLength: 10, maxLength: 80, size: 'max' }), (actions) => {
        const { store, hub, write } = setUp();
        const all: KvRecord[] = [];
        const watchers: { readonly range: KeyRange; readonly from: number; readonly reader: Reader }[] = [];
        const record = (changes: Parameters<typeof commit>[1]): void =>
          write((txn) => {
            changes(txn);
            all.push(...txn.records);
          });
        for (const what of actions) {
          if (what.do === 'put') {
            record((txn) => {
              for (const key of new Set(what.keys)) put(txn, `k${key}`);
            });
          } else if (what.do === 'delete') record((txn) => txn.deleteRange(what.range));
          else if (what.do === 'watch') {
            const reader = new Reader();
            const startRevision = Math.max(0, store.revision - what.back);
            const from = startRevision === 0 ? store.revision + 1 : startRevision;
            watchers.push({ range: what.range, from, reader });
            hub.watch({ range: what.range, startRevision, sink: reader });
          } else if (what.do === 'room') {
            const watcher = watchers[what.who % Math.max(1, watchers.length)];
            if (watcher) watcher.reader.room = what.room;
          } else if (what.do === 'catch up') hub.catchUp(what);
          else {
            store.compact(store.revision - what.back);
            store.sweep(3);
          }
        }
        for (const { reader } of watchers) reader.room = true;
        while (hub.catchUp({ watchers: 2, revisions: 3 }));
        for (const { range: wanted, from, reader } of watchers) {
          const due = all.filter(({ key, main }) => main >= from && contains(wanted, key));
          const got = reader.events;
          seen.events += got.length;
          if (reader.lost === undefined) expect(lines(got)).toEqual(lines(due));
          else {
            seen.lost += 1;
            expect(lines(got)).toEqual(lines(due.slice(0, got.length)));
            const next = due[got.length];
            if (next) expect(got.at(-1)?.main).not.toBe(next.main);
          }
          for (const { events, revision } of reader.batches) expect(events.at(-1)!.main).toBeLessThanOrEqual(revision);
        }
      }),
      { numRuns: 400, seed: 3 },
    );
    expect(seen.events).toBeGreaterThan(1000);
    expect(seen.lost).toBeGreaterThan(10);
  });
});

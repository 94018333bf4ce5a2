/** What an informer makes of servers that cannot be trusted to say how far a watch is; on virtual time. */
import { describe, expect, it } from 'vitest';
import type { RangeRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import type { KeyValue } from '../../../src/protocol/generated/mvccpb.ts';
import type { Revision } from '../../../src/protocol/int64.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { FakeMembers, wireKv } from '../kv/fake-member.ts';

/** A store of a few keys on a server, and a copy of it. The default version has no ordered progress. */
async function onServer(kvs: KeyValue[], version = '3.4.20') {
  const clock = new VirtualClock();
  const store = { kvs, revision: 10n };
  const members = new FakeMembers(({ request }) => {
    const { minModRevision, limit, countOnly } = request as RangeRequest;
    const found = store.kvs.filter(({ modRevision }) => modRevision >= minModRevision);
    const shown = limit > 0n ? found.slice(0, Number(limit)) : found;
    return { header: { revision: store.revision }, kvs: countOnly ? [] : shown, count: BigInt(store.kvs.length) };
  });
  members.version = version;
  const etcd = members.client({ clock });
  const cache = etcd.cache({ all: true });
  await clock.settle();
  await cache.ready;
  await clock.settle();
  const [watch] = members.watches;
  if (watch === undefined) throw new Error('it does not watch');
  /** Waits for a revision; says whether it has got there. */
  const waitFor = (revision: bigint) => {
    const state = { reached: false };
    const done = cache.waitFor(revision as Revision, { timeoutMs: 60_000 }).then(() => {
      state.reached = true;
    });
    return { state, done };
  };
  const close = async (): Promise<void> => {
    const closed = cache.close();
    await clock.settle();
    await closed;
    await etcd.close();
  };
  return { clock, store, members, cache, watch, waitFor, close };
}

describe('an informer on a server without ordered progress', () => {
  it('knows that it is complete when nothing was written and nothing is missing', async () => {
    const { clock, store, members, cache, waitFor, close } = await onServer([wireKv('a'), wireKv('b')]);
    expect(cache.revision).toBe(10n);
    const before = members.calls.length;
    store.revision = 12n;
    const { state, done } = waitFor(12n);
    await clock.advance(1_000);
    expect(state.reached).toBe(true);
    await done;
    expect(cache.revision).toBe(12n);
    // One question by the watcher, which finds out that it is no use, and one of its own; no list.
    expect(members.calls.length - before).toBe(2);
    expect(members.calls.at(-1)?.request).toMatchObject({ minModRevision: 11n, limit: 1n, keysOnly: true });
    expect(clock.pending.foreground).toBe(0);
    await close();
  });

  it('waits for the event when a key was written', async () => {
    const { clock, store, cache, watch, waitFor, close } = await onServer([wireKv('a'), wireKv('b')]);
    const written = wireKv('a', 'new', 11n);
    store.kvs = [written, wireKv('b')];
    store.revision = 12n;
    const { state, done } = waitFor(12n);
    await clock.advance(5_000);
    expect(state.reached).toBe(false);
    expect(cache.revision).toBe(10n);
    watch.send({ header: { revision: 12n }, events: [{ kv: written }] });
    await clock.advance(1_000);
    await done;
    expect(cache.get('a')?.value).toBe('new');
    await close();
  });

  it('waits for the event when a key was deleted', async () => {
    const { clock, store, cache, watch, waitFor, close } = await onServer([wireKv('a'), wireKv('b')]);
    store.kvs = [wireKv('b')];
    store.revision = 12n;
    const { state, done } = waitFor(12n);
    await clock.advance(5_000);
    expect(state.reached).toBe(false);
    watch.send({ header: { revision: 12n }, events: [{ type: 1, kv: { key: Buffer.from('a'), modRevision: 11n } }] });
    await clock.advance(1_000);
    await done;
    expect(cache.size).toBe(1);
    await close();
  });

  it('goes on from the list when the store has gone back, as by a restored backup', async () => {
    const { clock, store, members, cache, watch, close } = await onServer([wireKv('a', 'before', 9n)]);
    const changes = cache.changes();
    store.kvs = [wireKv('a', 'restored', 9n)];
    store.revision = 9n;
    members.watchRevision = 9n;
    watch.send({ header: { revision: 9n }, canceled: true, compactRevision: 100n });
    await clock.advance(1_000);
    expect(cache.revision).toBe(9n);
    expect(cache.get('a')?.value).toBe('restored');
    expect((await changes.next()).value).toMatchObject({
      current: { value: 'restored' },
      previous: { value: 'before' },
    });
    expect([...members.watches].flatMap(({ from }) => from).at(-1)).toBe(10n);
    await close();
  });

  it('says that something happened to a key that came and went in one piece, and after a list that found nothing new', async () => {
    const { clock, store, cache, watch, close } = await onServer([wireKv('a')]);
    const changes: string[] = [];
    const following = (async () => {
      for await (const { key } of cache.changes()) changes.push(key);
    })();
    const revisions: bigint[] = [];
    const looking = (async () => {
      for await (const revision of cache.revisions()) revisions.push(revision);
    })();
    // Of no use to somebody who wants to know what is there now.
    watch.send({ header: { revision: 11n } });
    await clock.settle();
    expect(revisions).toEqual([]);
    watch.send({
      header: { revision: 13n },
      events: [{ kv: wireKv('b', 'brief', 12n) }, { type: 1, kv: { key: Buffer.from('b'), modRevision: 13n } }],
    });
    await clock.settle();
    expect({ changes, revisions }).toEqual({ changes: [], revisions: [13n] });
    // What was in the history that is lost nobody knows.
    store.revision = 20n;
    watch.send({ header: { revision: 20n }, canceled: true, compactRevision: 20n });
    await clock.advance(1_000);
    expect({ changes, revisions }).toEqual({ changes: [], revisions: [13n, 20n] });
    await close();
    await Promise.all([following, looking]);
    expect(await cache.revisions().next()).toEqual({ done: true, value: undefined });
  });

  it('stops asking when nobody waits any more', async () => {
    const { clock, store, members, cache, close } = await onServer([wireKv('a')]);
    store.kvs = [wireKv('a', 'new', 11n)];
    store.revision = 12n;
    const abort = new AbortController();
    const aborted = cache.waitFor(12n as Revision, { signal: abort.signal }).then(
      () => 'reached',
      () => 'aborted',
    );
    await clock.advance(1_000);
    abort.abort();
    expect(await aborted).toBe('aborted');
    await clock.settle();
    const { length } = members.calls;
    await clock.advance(10_000);
    expect(members.calls).toHaveLength(length);
    expect(clock.pending.foreground).toBe(0);
    await close();
  });
});

describe('an informer on a server that says how far it is', () => {
  it('leaves no question open when the last one who waits leaves, and asks anew for whoever comes in that moment', async () => {
    const { clock, store, cache, watch, waitFor, close } = await onServer([wireKv('a')], '3.5.30');
    store.revision = 12n;
    const abort = new AbortController();
    const leaving = cache.waitFor(12n as Revision, { signal: abort.signal }).then(
      () => Promise.reject(new Error('it has got there')),
      () => waitFor(12n),
    );
    await clock.advance(1_000);
    expect(clock.pending.foreground).toBeGreaterThan(0);
    abort.abort();
    const { state, done } = await leaving;
    const { asked } = watch;
    await clock.advance(1_000);
    expect(watch.asked).toBeGreaterThan(asked);
    expect(state.reached).toBe(false);
    watch.send({ header: { revision: 12n }, watchId: -1n });
    await clock.advance(1_000);
    expect(state.reached).toBe(true);
    await done;
    const last = new AbortController();
    const other = cache.waitFor(20n as Revision, { signal: last.signal }).catch(() => 'left');
    store.revision = 20n;
    await clock.advance(100);
    last.abort();
    expect(await other).toBe('left');
    await clock.settle();
    expect(clock.pending.foreground).toBe(0);
    await close();
  });
});

describe('its listener', () => {
  it('is told of lists in one piece, of empty ones too, and of all that happened to a key', async () => {
    const clock = new VirtualClock();
    const store = { kvs: [] as KeyValue[], revision: 10n };
    const members = new FakeMembers(() => ({
      header: { revision: store.revision },
      kvs: store.kvs,
      count: BigInt(store.kvs.length),
    }));
    const etcd = members.client({ clock });
    const told: string[] = [];
    const cache = etcd.cache(
      { all: true },
      {
        onChanges(changes, source) {
          const texts = changes.map(({ key, current, previous }) => `${key} ${previous?.value}>${current?.value}`);
          // The copy has them already.
          told.push(`${source} ${cache.revision}: ${texts.join(', ')}`);
        },
      },
    );
    await clock.settle();
    [...members.watches].at(-1)?.send({
      header: { revision: 13n },
      events: [
        { kv: wireKv('a', '1', 11n) },
        { kv: wireKv('a', '2', 12n) },
        { type: 1, kv: { key: Buffer.from('a'), modRevision: 13n } },
      ],
    });
    await clock.settle();
    store.kvs = [wireKv('b', '1', 20n)];
    store.revision = 20n;
    [...members.watches].at(-1)?.send({ header: { revision: 20n }, canceled: true, compactRevision: 15n });
    await clock.advance(1_000);
    expect(told).toEqual(['list 10: ', 'watch 13: a undefined>1, a 1>2, a 2>undefined', 'list 20: b undefined>1']);
    const closed = cache.close();
    await clock.settle();
    await closed;
    await etcd.close();
  });
});

import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { AbortError, ClosedError, InvalidArgumentError } from '../../../src/client/errors.ts';
import { type Revision, revision } from '../../../src/protocol/int64.ts';
import { FakeEtcd, put, record } from './fake-etcd.ts';

describe('a watcher', () => {
  it('yields puts and deletes with what they say of the key', async () => {
    const etcd = new FakeEtcd();
    const watcher = etcd.watch({ prefix: '' });
    const read = watcher[Symbol.asyncIterator]();
    await etcd.settle();
    etcd.commit(['a', '1'], ['b', '2']);
    etcd.commit(['a', '3']);
    etcd.commit(['b']);
    const events = [];
    for (let index = 0; index < 4; index++) events.push((await read.next()).value);
    expect(events).toMatchObject([
      { type: 'put', revision: 2n, isCreate: true, synthetic: false, kv: { key: 'a', value: '1' } },
      { type: 'put', revision: 2n, isCreate: true, kv: { key: 'b', value: '2' } },
      { type: 'put', revision: 3n, isCreate: false, kv: { key: 'a', value: '3' } },
      { type: 'delete', revision: 4n, isCreate: false, kv: { key: 'b', modRevision: 4n } },
    ]);
  });

  it('gives batches: all of a revision together', async () => {
    const etcd = new FakeEtcd();
    for (let index = 0; index < 5; index++) etcd.commit([`k${index}`, 'v'], [`m${index}`, 'v']);
    etcd.batchRevisions = 3;
    const seen: [Revision, number][] = [];
    for await (const { revision: at, events } of etcd.watch({ prefix: '' }, { from: revision(1) }).batches()) {
      seen.push([at, events.length]);
      if (at === 6n) break;
    }
    expect(seen).toEqual([
      [3n, 4],
      [6n, 6],
    ]);
    expect(etcd.open).toEqual([]);
  });

  it('tells where its reader is', async () => {
    const etcd = new FakeEtcd();
    const watcher = etcd.watch({ prefix: '' });
    expect(watcher.nextRevision).toBeUndefined();
    expect(await watcher.ready).toBe(1n);
    expect(watcher.nextRevision).toBe(2n);
    etcd.commit(['a', '1'], ['b', '1']);
    etcd.commit(['c', '1']);
    await etcd.settle();
    const read = watcher[Symbol.asyncIterator]();
    const places = [watcher.nextRevision];
    for (let index = 0; index < 3; index++) {
      await read.next();
      places.push(watcher.nextRevision);
    }
    expect(places).toEqual([2n, 2n, 3n, 4n]);
  });

  it('has one reader', async () => {
    const etcd = new FakeEtcd();
    const watcher = etcd.watch('a');
    watcher[Symbol.asyncIterator]();
    expect(() => watcher[Symbol.asyncIterator]()).toThrow(InvalidArgumentError);
    expect(() => watcher.batches()).toThrow(/one reader/);
    watcher.close();
  });

  it('serves calls of next that do not wait for each other in order', async () => {
    const etcd = new FakeEtcd();
    const watcher = etcd.watch('a');
    const read = watcher[Symbol.asyncIterator]();
    const [first, second, third] = [read.next(), read.next(), read.next()];
    await etcd.settle();
    etcd.commit(['a', '1']);
    etcd.commit(['a', '2']);
    expect((await first).value).toMatchObject({ revision: 2n });
    expect((await second).value).toMatchObject({ revision: 3n });
    watcher.close();
    expect(await third).toEqual({ done: true, value: undefined });
  });

  it.each(['break', 'throw', 'close', 'dispose', 'return'])('cancels at the server on %s', async (how) => {
    const etcd = new FakeEtcd();
    const other = etcd.watch('b');
    const watcher = etcd.watch('a');
    await watcher.ready;
    etcd.commit(['a', '1']);
    const loop = async (): Promise<void> => {
      for await (const _ of watcher) {
        if (how === 'break') break;
        if (how === 'throw') throw new Error('the loop gives up');
        if (how === 'close') watcher.close();
        if (how === 'dispose') await watcher[Symbol.asyncDispose]();
        if (how === 'return') return;
      }
    };
    await loop().catch((error: Error) => expect(error.message).toBe('the loop gives up'));
    await etcd.settle();
    expect(etcd.stream.cancels).toEqual([1]);
    expect(etcd.stream.watching).toBe(1);
    other.close();
  });

  it('throws an AbortError at once when its signal fires, and takes its listener off when it ends otherwise', async () => {
    const etcd = new FakeEtcd();
    const abort = new AbortController();
    const seen = record(etcd.watch('a', { signal: abort.signal }));
    await etcd.settle();
    abort.abort('enough');
    await seen.finished;
    expect(seen.error).toBeInstanceOf(AbortError);
    expect(seen.error).toMatchObject({ cause: 'enough' });
    expect(etcd.open).toEqual([]);

    const before = record(etcd.watch('a', { signal: abort.signal }));
    await before.finished;
    expect(before.error).toBeInstanceOf(AbortError);
    expect(etcd.streams).toHaveLength(1);
  });

  it('leaves no listener on a signal', async () => {
    const etcd = new FakeEtcd();
    const listeners = new Set<unknown>();
    const { signal } = new AbortController();
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (type: string, listener: never, options?: never) => {
      listeners.add(listener);
      add(type, listener, options);
    };
    signal.removeEventListener = (type: string, listener: never, options?: never) => {
      listeners.delete(listener);
      remove(type, listener, options);
    };
    const watchers = Array.from({ length: 5 }, () => etcd.watch('a', { signal }));
    expect(listeners.size).toBe(1); // one for all of them
    for (const watcher of watchers) watcher.close();
    expect(listeners.size).toBe(0);
  });

  it('throws a ClosedError when the client is closed, and so does one that is started then', async () => {
    const etcd = new FakeEtcd();
    const seen = record(etcd.watch('a'));
    await etcd.settle();
    etcd.hub.close();
    await seen.finished;
    expect(seen.error).toBeInstanceOf(ClosedError);
    const late = etcd.watch('a');
    await expect(late.ready).rejects.toBeInstanceOf(ClosedError);
    await expect(late[Symbol.asyncIterator]().next()).rejects.toBeInstanceOf(ClosedError);
    expect(etcd.clock.pending.all).toBe(0);
  });

  it('has no rejection that nobody asked for', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', note);
    try {
      const etcd = new FakeEtcd();
      const watcher = etcd.watch('a');
      void watcher.ready;
      void watcher[Symbol.asyncIterator]().next();
      etcd.hub.close();
      etcd.watch('b').close();
      await sleep(10);
      expect(unhandled).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
    }
  });

  it('yields progress only when asked to, and keeps no more than one such mark for a reader who is away', async () => {
    const etcd = new FakeEtcd();
    etcd.auto = false;
    const watcher = etcd.watch('a', { progress: true });
    await etcd.settle();
    etcd.stream.respond({ header: { revision: 5n }, watchId: 0n, created: true });
    for (let at = 6n; at < 1000n; at++) etcd.stream.respond({ header: { revision: at }, watchId: 0n });
    for (let round = 0; round < 1000 && etcd.stream.undelivered > 0; round++) await etcd.settle();
    etcd.stream.respond({ header: { revision: 1000n }, watchId: 0n, events: [put('a', 1000n)] });
    await etcd.settle();
    expect(watcher.nextRevision).toBe(1000n);
    const seen = record(watcher);
    await etcd.settle();
    expect(seen.entries).toEqual(['~999', '+a@1000']);
  });

  it('leaves kinds of change to the server to filter', async () => {
    const etcd = new FakeEtcd();
    const puts = record(etcd.watch('a', { only: 'put' }));
    const deletes = record(etcd.watch('a', { only: 'delete' }));
    await etcd.settle();
    etcd.commit(['a', '1']);
    etcd.commit(['a']);
    await etcd.settle();
    expect([puts.entries, deletes.entries]).toEqual([['+a@2'], ['-a@3']]);
    expect(etcd.stream.creates.map(({ filters }) => filters)).toEqual([[1], [0]]);
  });

  it.each([
    { from: 0n },
    { from: -1n },
    { from: 5 },
    { bufferSize: 0 },
    { bufferSize: 1.5 },
    { whenSlow: 'drop' },
    { only: 'puts' },
  ])('refuses %o', (options) => {
    expect(() => new FakeEtcd().watch('a', options as never)).toThrow(InvalidArgumentError);
  });
});

import { describe, expect, it } from 'vitest';
import { CompactedError, EtcdError, InvalidArgumentError, PermissionDeniedError } from '../../../src/client/errors.ts';
import { revision } from '../../../src/protocol/int64.ts';
import { FakeEtcd, put, record } from './fake-etcd.ts';

function manual(): FakeEtcd {
  const etcd = new FakeEtcd();
  etcd.auto = false;
  return etcd;
}

const header = { revision: 10n };

describe('one stream for many watchers', () => {
  it('opens with the first watch and closes with the last', async () => {
    const etcd = new FakeEtcd();
    expect(etcd.streams).toEqual([]);
    const [a, b] = [etcd.watch('a'), etcd.watch('b')];
    await etcd.settle();
    expect(etcd.stream.watching).toBe(2);
    a.close();
    await etcd.settle();
    expect(etcd.stream.cancels).toEqual([0]);
    b.close();
    await etcd.settle();
    expect(etcd.open).toEqual([]);
    expect(etcd.clock.pending.all).toBe(0);
  });

  it('gives up opening when the last watch is closed meanwhile', async () => {
    const etcd = new FakeEtcd();
    etcd.watch('a').close();
    await etcd.clock.advance(100);
    expect(etcd.open).toEqual([]);
    expect(etcd.clock.pending.foreground).toBe(0);
  });

  it('cancels a watch closed before its answer as soon as its id is known, and mixes up no other', async () => {
    const etcd = manual();
    const [a, b, c] = [etcd.watch('a'), etcd.watch('b'), etcd.watch('c')];
    await etcd.settle();
    b.close();
    const seen = [record(a), record(c)];
    await etcd.settle();
    expect(etcd.stream.cancels).toEqual([]);
    for (const watchId of [0n, 1n, 2n]) etcd.stream.respond({ header, watchId, created: true });
    etcd.stream.respond({ header: { revision: 11n }, watchId: 1n, events: [put('b', 11n)] });
    etcd.stream.respond({ header: { revision: 12n }, watchId: 2n, events: [put('c', 12n)] });
    await etcd.settle();
    expect(etcd.stream.cancels).toEqual([1]);
    expect(seen.map(({ entries }) => entries)).toEqual([[], ['+c@12']]);
  });

  it('takes a refusal as the answer to one create', async () => {
    const etcd = manual();
    const reason = 'rpc error: code = PermissionDenied desc = etcdserver: permission denied';
    const [a, b, c] = [record(etcd.watch('a')), record(etcd.watch('b')), record(etcd.watch('c'))];
    await etcd.settle();
    etcd.stream.respond({ header, watchId: 0n, created: true });
    etcd.stream.respond({ header, watchId: -1n, created: true, canceled: true, cancelReason: reason });
    etcd.stream.respond({ header, watchId: 1n, created: true });
    etcd.stream.respond({ header: { revision: 11n }, watchId: 1n, events: [put('c', 11n)] });
    await etcd.settle();
    expect(b.error).toBeInstanceOf(PermissionDeniedError);
    expect([a.done, c.done]).toEqual([false, false]);
    expect(c.entries).toEqual(['+c@11']);
  });

  it.each([
    ['mvcc: watcher range is empty', InvalidArgumentError, 'EmptyWatchRange'],
    ['mvcc: duplicate watch ID provided on the WatchStream', EtcdError, 'DuplicateWatchId'],
    ['', EtcdError, undefined],
  ])('ends a watch that is refused with "%s"', async (cancelReason, kind, etcdCode) => {
    const etcd = manual();
    const watcher = etcd.watch('a');
    const seen = record(watcher);
    await etcd.settle();
    etcd.stream.respond({ header, watchId: -1n, created: true, canceled: true, cancelReason });
    await etcd.settle();
    expect(seen.error).toBeInstanceOf(kind);
    expect(seen.error).toMatchObject({ etcdCode });
    await expect(watcher.ready).rejects.toBe(seen.error);
  });

  it('makes a watcher again that the server dropped, unless it is dropped at once again and again', async () => {
    const etcd = manual();
    const seen = record(etcd.watch('a'));
    await etcd.settle();
    const drop = async (id: bigint, afterMs: number): Promise<void> => {
      etcd.stream.respond({ header, watchId: id, created: true });
      await etcd.clock.advance(afterMs);
      etcd.stream.respond({ header, watchId: id, canceled: true, cancelReason: 'the gateway restarts' });
      await etcd.settle();
    };
    for (let id = 0n; id < 6n; id++) await drop(id, 10_000);
    expect(seen.done).toBe(false);
    expect(etcd.stream.creates.map(({ startRevision }) => startRevision)).toEqual([0n, 11n, 11n, 11n, 11n, 11n, 11n]);
    for (let id = 6n; id < 10n && !seen.done; id++) await drop(id, 0);
    expect(seen.error).toMatchObject({ code: 'server', message: expect.stringContaining('the gateway restarts') });
  });

  it('goes over to one create at a time when the answers come out of order', async () => {
    const etcd = manual();
    const [a, b] = [record(etcd.watch('a')), record(etcd.watch('b'))];
    await etcd.settle();
    // A proxy that knows the second range already answers that one first.
    etcd.stream.respond({ header, watchId: 1n, created: true });
    await etcd.settle();
    const second = etcd.stream;
    expect(second.creates).toHaveLength(1);
    second.respond({ header, watchId: 0n, created: true });
    await etcd.settle();
    expect(second.creates).toHaveLength(2);
    second.respond({ header, watchId: 7n, created: true });
    second.respond({ header: { revision: 11n }, watchId: 7n, events: [put('b', 11n)] });
    await etcd.settle();
    expect([a.entries, b.entries]).toEqual([[], ['+b@11']]);
  });

  it('asks for one message at a time', async () => {
    const etcd = manual();
    record(etcd.watch('a'));
    await etcd.settle();
    expect(etcd.stream.pulls).toBe(1);
    etcd.stream.respond({ header, watchId: 0n, created: true });
    etcd.stream.respond({ header: { revision: 11n }, watchId: 0n, events: [put('a', 11n)] });
    await etcd.settle();
    expect(etcd.stream.pulls).toBe(3);
  });

  it('uses a stream each for watches with and without a leader', async () => {
    const etcd = new FakeEtcd();
    etcd.watch('a');
    etcd.watch('b', { requireLeader: false });
    await etcd.settle();
    expect(etcd.open.map(({ metadata }) => metadata['hasleader'])).toEqual(['true', undefined]);
  });
});

describe('fragments', () => {
  it('are put together for each watcher by itself', async () => {
    const etcd = manual();
    const [a, b] = [record(etcd.watch('a')), record(etcd.watch('b'))];
    await etcd.settle();
    for (const watchId of [0n, 1n]) etcd.stream.respond({ header, watchId, created: true });
    etcd.stream.respond({ header, watchId: 0n, fragment: true, events: [put('a', 11n), put('a1', 12n)] });
    etcd.stream.respond({ header, watchId: 1n, fragment: true, events: [put('b', 12n)] });
    etcd.stream.respond({ header, watchId: 0n, events: [put('a2', 12n)] });
    etcd.stream.respond({ header, watchId: 1n, events: [put('b1', 12n), put('b', 13n)] });
    await etcd.settle();
    expect(a.entries).toEqual(['+a@11', '+a1@12', '+a2@12']);
    expect(b.entries).toEqual(['+b@12', '+b1@12', '+b@13']);
  });

  it('lose nothing when the stream is cut between them, and never tear a revision apart', async () => {
    const etcd = manual();
    const watcher = etcd.watch('a');
    const batches: string[][] = [];
    void (async () => {
      for await (const { events } of watcher.batches())
        batches.push(events.map(({ kv, revision: at }) => `${kv.key}@${at}`));
    })();
    await etcd.settle();
    etcd.stream.respond({ header, watchId: 0n, created: true });
    etcd.stream.respond({ header, watchId: 0n, fragment: true, events: [put('a', 11n), put('a1', 12n)] });
    await etcd.settle();
    expect(batches).toEqual([['a@11']]);
    expect(watcher.nextRevision).toBe(12n);
    etcd.stream.cut();
    await etcd.clock.advance(1_000);
    expect(etcd.stream.creates[0]?.startRevision).toBe(12n);
    etcd.stream.respond({ header, watchId: 0n, created: true });
    etcd.stream.respond({ header, watchId: 0n, events: [put('a1', 12n), put('a2', 12n)] });
    await etcd.settle();
    expect(batches).toEqual([['a@11'], ['a1@12', 'a2@12']]);
  });
});

describe('compaction', () => {
  it('ends the watch with a CompactedError behind what came before, and frees the id at the server', async () => {
    const etcd = manual();
    const watcher = etcd.watch('a', { from: revision(3) });
    await etcd.settle();
    etcd.stream.respond({ header, watchId: 0n, created: true });
    etcd.stream.respond({ header, watchId: 0n, events: [put('a', 3n)] });
    etcd.stream.respond({ watchId: 0n, canceled: true, compactRevision: 8n });
    const other = etcd.watch('b');
    await etcd.settle();
    const seen = record(watcher);
    await seen.finished;
    expect(seen.entries).toEqual(['+a@3']);
    expect(seen.error).toBeInstanceOf(CompactedError);
    expect(seen.error).toMatchObject({ compactRevision: 8n });
    expect(etcd.stream.cancels).toEqual([0]);
    other.close();
  });
});

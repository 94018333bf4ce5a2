import { describe, expect, it } from 'vitest';
import { AbortError, ClosedError, DeadlineError, UnsupportedError } from '../../../src/client/errors.ts';
import { revision } from '../../../src/protocol/int64.ts';
import { FakeEtcd, put, record } from './fake-etcd.ts';

describe('progress on demand', () => {
  it('resolves when everything up to the present revision has come', async () => {
    const etcd = new FakeEtcd();
    const watcher = etcd.watch('a');
    await watcher.ready;
    etcd.commit(['z', '1']);
    const progress = watcher.progress();
    await etcd.clock.advance(1_000);
    expect(await progress).toBe(2n);
    expect(watcher.nextRevision).toBe(3n);
    // What it asks the store for is no more than its revision.
    expect(etcd.ranges).toMatchObject([{ countOnly: true, limit: 0n }]);
    expect(etcd.ranges[0]?.rangeEnd).toHaveLength(0);
  });

  it('asks again, less and less often, while the server does not answer, and on one stream for all who wait', async () => {
    const etcd = new FakeEtcd();
    etcd.auto = false;
    const watchers = [etcd.watch('a'), etcd.watch('b')];
    await etcd.settle();
    for (const watchId of [0n, 1n]) etcd.stream.respond({ header: { revision: 1n }, watchId, created: true });
    await etcd.settle();
    etcd.commit(['z', '1']);
    const waiting = Promise.all(watchers.map((watcher) => watcher.progress()));
    const asked: number[] = [];
    for (const ms of [0, 100, 200, 400, 800]) {
      await etcd.clock.advance(ms);
      asked.push(etcd.stream.progressRequests);
    }
    expect(asked).toEqual([2, 3, 4, 5, 6]);
    etcd.stream.respond({ header: { revision: 2n }, watchId: -1n });
    expect(await waiting).toEqual([2n, 2n]);
    expect(etcd.clock.pending.foreground).toBe(0);
  });

  it('is satisfied by an event just as well', async () => {
    const etcd = new FakeEtcd();
    etcd.auto = false;
    const watcher = etcd.watch('a');
    await etcd.settle();
    etcd.stream.respond({ header: { revision: 1n }, watchId: 0n, created: true });
    etcd.commit(['z', '1']);
    const progress = watcher.progress();
    await etcd.settle();
    etcd.stream.respond({ header: { revision: 7n }, watchId: 0n, events: [put('a', 7n)] });
    expect(await progress).toBe(7n);
  });

  it('does not trust an answer that may speak of the time before the watcher was there', async () => {
    const etcd = new FakeEtcd();
    etcd.auto = false;
    for (let index = 0; index < 4; index++) etcd.commit(['a', '1']);
    const other = etcd.watch('b');
    await etcd.settle();
    etcd.stream.respond({ header: { revision: 5n }, watchId: 0n, created: true });
    await etcd.settle();
    etcd.commit(['z', '1']);
    const first = other.progress();
    await etcd.settle();
    const seen = record(etcd.watch('a', { from: revision(2) }));
    await etcd.settle();
    // The reply to the request was made before the create was looked at, and overtaken by its answer.
    etcd.stream.respond({ header: { revision: 6n }, watchId: 1n, created: true });
    etcd.stream.respond({ header: { revision: 6n }, watchId: -1n });
    etcd.stream.respond({ header: { revision: 6n }, watchId: 1n, events: [2n, 3n, 4n, 5n].map((at) => put('a', at)) });
    await etcd.settle();
    expect(await first).toBe(6n);
    expect(seen.entries).toEqual(['+a@2', '+a@3', '+a@4', '+a@5']);
  });

  it.each(['3.4.23', '3.5.12', 'no version at all'])(
    'is not to be had from etcd %s, which answers ahead of events',
    async (version) => {
      const etcd = new FakeEtcd({ version });
      const watcher = etcd.watch('a');
      await watcher.ready;
      etcd.commit(['z', '1']);
      const progress = watcher.progress();
      progress.catch(() => {});
      await etcd.clock.advance(200);
      await expect(progress).rejects.toBeInstanceOf(UnsupportedError);
      // Nor is such an answer believed when it comes.
      etcd.stream.respond({ header: { revision: 900n }, watchId: -1n });
      await etcd.settle();
      expect(watcher.nextRevision).toBe(2n);
      expect(etcd.stream.progressRequests).toBe(0);
    },
  );

  it('ends by its deadline, its signal, or the end of the watch', async () => {
    const etcd = new FakeEtcd();
    const watcher = etcd.watch('a');
    await watcher.ready;
    etcd.auto = false;
    etcd.commit(['z', '1']);
    const abort = new AbortController();
    const [late, aborted, closed] = [
      watcher.progress({ timeoutMs: 1_000 }),
      watcher.progress({ signal: abort.signal }),
      watcher.progress(),
    ];
    for (const wait of [late, aborted, closed]) wait.catch(() => {});
    await etcd.clock.advance(500);
    abort.abort();
    await expect(aborted).rejects.toBeInstanceOf(AbortError);
    await etcd.clock.advance(500);
    await expect(late).rejects.toBeInstanceOf(DeadlineError);
    watcher.close();
    await expect(closed).rejects.toBeInstanceOf(ClosedError);
    expect(etcd.clock.pending.foreground).toBe(0);
  });

  it('is not held up by a watcher that is far behind or waits for the future', async () => {
    const etcd = new FakeEtcd({ farBehind: 10n });
    for (let index = 0; index < 50; index++) etcd.commit(['a', '1']);
    const watcher = etcd.watch('b');
    await watcher.ready;
    const behind = etcd.watch('a', { from: revision(2) });
    const ahead = record(etcd.watch('a', { from: revision(100) }));
    await etcd.settle();
    etcd.commit(['z', '1']);
    const progress = watcher.progress();
    await etcd.clock.advance(2_000);
    expect(await progress).toBe(52n);
    expect(etcd.open).toHaveLength(2);
    // The one that was behind has caught up and is back; the other still waits.
    behind.close();
    for (let index = 53; index <= 100; index++) etcd.commit(['a', '1']);
    await etcd.clock.advance(100);
    expect(ahead.entries).toEqual(['+a@100']);
    await etcd.clock.advance(100);
    expect(etcd.open).toHaveLength(1);
  });

  it('moves one that is far behind out of the way of one that comes later', async () => {
    const etcd = new FakeEtcd({ farBehind: 10n });
    for (let index = 0; index < 50; index++) etcd.commit(['a', '1']);
    etcd.auto = false;
    const behind = record(etcd.watch('a', { from: revision(2) }));
    await etcd.settle();
    etcd.stream.respond({ header: { revision: 51n }, watchId: 0n, created: true });
    const watcher = etcd.watch('b');
    await etcd.settle();
    etcd.auto = true;
    etcd.stream.respond({ header: { revision: 51n }, watchId: 1n, created: true });
    await watcher.ready;
    await etcd.settle();
    expect(etcd.open.map(({ creates }) => creates.map(({ startRevision }) => startRevision))).toEqual([[2n, 0n, 52n]]);
    expect(etcd.streams[1]?.creates.map(({ startRevision }) => startRevision)).toEqual([2n]);
    expect(behind.entries).toHaveLength(50);
  });

  it('is asked for by itself now and then, so that quiet watchers do not fall behind', async () => {
    const etcd = new FakeEtcd({ progressIntervalMs: 60_000 });
    const quiet = etcd.watch('q');
    await quiet.ready;
    for (let index = 0; index < 9; index++) etcd.commit(['z', '1']);
    await etcd.clock.advance(59_000);
    expect(quiet.nextRevision).toBe(2n);
    expect(etcd.clock.pending).toEqual({ all: 1, foreground: 0 });
    await etcd.clock.advance(2_000);
    expect(quiet.nextRevision).toBe(11n);
    etcd.compact(10n);
    etcd.stream.cut();
    await etcd.clock.advance(5_000);
    const seen = record(quiet);
    etcd.commit(['q', '1']);
    await etcd.settle();
    expect(seen.entries).toEqual(['+q@11']);
  });
});

import { describe, expect, it } from 'vitest';
import { CompactedError, PermissionDeniedError } from '../../../src/client/errors.ts';
import { TransportError } from '../../../src/client/transport/transport.ts';
import { revision } from '../../../src/protocol/int64.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { FakeEtcd, failure, record } from './fake-etcd.ts';

/** Cuts the stream and compacts before it is back. */
async function compactBehind(etcd: FakeEtcd, write: () => void): Promise<void> {
  etcd.stream.cut();
  write();
  etcd.compact(etcd.revision);
  await etcd.clock.advance(5_000);
}

describe('a watch whose history was compacted', () => {
  it('ends with a CompactedError without `resync`', async () => {
    const etcd = new FakeEtcd();
    const seen = record(etcd.watch({ prefix: 'x/' }));
    await etcd.clock.advance(10);
    await compactBehind(etcd, () => {
      etcd.commit(['x/a', '1']);
      etcd.commit(['x/a', '2']);
    });
    expect(seen.error).toBeInstanceOf(CompactedError);
    expect(seen.error).toMatchObject({ compactRevision: 3n });
  });

  it('with `resync` yields the difference between marks, and goes on', async () => {
    const etcd = new FakeEtcd();
    etcd.commit(['x/a', '1'], ['x/b', '1'], ['x/c', '1'], ['y', '1']);
    const seen = record(etcd.watch({ prefix: 'x/' }, { resync: true }));
    await etcd.clock.advance(10);
    etcd.commit(['x/d', '1']);
    await etcd.clock.advance(10);
    expect(seen.entries).toEqual(['+x/d@3']);
    await compactBehind(etcd, () => {
      etcd.commit(['x/a', '2']);
      etcd.commit(['x/b']);
      etcd.commit(['x/e', '1'], ['x/d']);
    });
    etcd.commit(['x/f', '1']);
    await etcd.clock.advance(10);
    expect(seen.entries).toEqual(['+x/d@3', '<6', '+x/a@4', '+x/e@6', '-x/b@6', '-x/d@6', '>6', '+x/f@7']);
  });

  it('begins with a resync when the history before `from` is gone already', async () => {
    const etcd = new FakeEtcd();
    etcd.commit(['x/a', '1']);
    etcd.commit(['x/b', '1']);
    etcd.commit(['x/a']);
    etcd.compact(4n);
    const seen = record(etcd.watch({ prefix: 'x/' }, { resync: true, from: revision(3) }));
    await etcd.clock.advance(10);
    etcd.commit(['x/c', '1']);
    await etcd.clock.advance(10);
    expect(seen.entries).toEqual(['<4', '+x/b@3', '>4', '+x/c@5']);
  });

  it('knows the keys as they were before `from`', async () => {
    const etcd = new FakeEtcd();
    etcd.commit(['x/a', '1']);
    etcd.commit(['x/b', '1']);
    etcd.commit(['x/b', '2']);
    const seen = record(etcd.watch({ prefix: 'x/' }, { resync: true, from: revision(4) }));
    await etcd.clock.advance(10);
    await compactBehind(etcd, () => {
      etcd.commit(['x/c', '1']);
      etcd.commit(['y', '1']);
    });
    // x/a was listed, x/b was told: neither is news.
    expect(seen.entries).toEqual(['+x/b@4', '<6', '+x/c@5', '>6']);
  });

  it('starts over when the state it reads is compacted too, telling nothing twice', async () => {
    const etcd = new FakeEtcd();
    for (let index = 0; index < 250; index++) etcd.commit([`x/${String(index).padStart(3, '0')}`, '1']);
    const seen = record(etcd.watch({ prefix: 'x/' }, { resync: true }));
    await etcd.clock.advance(10);
    let pages = 0;
    etcd.onRange = (request) => {
      if (request.keysOnly || pages++ !== 1) return;
      etcd.commit(['x/000', '3']);
      etcd.compact(etcd.revision);
    };
    await compactBehind(etcd, () => {
      for (let index = 0; index < 250; index++) etcd.commit([`x/${String(index).padStart(3, '0')}`, '2']);
    });
    await etcd.clock.advance(5_000);
    expect(pages).toBeGreaterThan(3);
    const puts = seen.entries.filter((entry) => entry.startsWith('+'));
    expect(puts).toHaveLength(251);
    expect(new Set(puts).size).toBe(251);
    expect(seen.entries.filter((entry) => !entry.startsWith('+'))).toEqual(['<501', '<502', '>502']);
  });

  it('reads the state no faster than its reader', async () => {
    const etcd = new FakeEtcd();
    const watcher = etcd.watch({ prefix: 'x/' }, { resync: true, bufferSize: 10 });
    await watcher.ready;
    await compactBehind(etcd, () => {
      for (let index = 0; index < 600; index++)
        etcd.commit([`x/${String(index).padStart(3, '0')}`, 'v'.repeat(60_000)]);
    });
    const read = watcher[Symbol.asyncIterator]();
    await read.next();
    await etcd.clock.advance(1_000);
    const pages = etcd.ranges.filter(({ keysOnly }) => !keysOnly).length;
    expect(pages).toBe(1);
    expect(watcher.nextRevision).toBe(2n);
    for (let index = 0; index < 600; index++) {
      expect((await read.next()).value.type).toBe('put');
      if (index % 10 === 0) await etcd.settle();
    }
    expect(watcher.nextRevision).toBe(2n);
    await etcd.settle();
    expect((await read.next()).value).toMatchObject({ type: 'resync', phase: 'end' });
    expect(watcher.nextRevision).toBe(602n);
    watcher.close();
  });

  it('filters by itself, so that it knows of every key', async () => {
    const etcd = new FakeEtcd();
    const deletes = record(etcd.watch({ prefix: 'x/' }, { resync: true, only: 'delete' }));
    await etcd.clock.advance(10);
    etcd.commit(['x/a', '1'], ['x/b', '1']);
    etcd.commit(['x/b']);
    await etcd.clock.advance(10);
    await compactBehind(etcd, () => {
      etcd.commit(['x/a']);
      etcd.commit(['y', '1']);
    });
    expect(deletes.entries).toEqual(['-x/b@3', '<5', '-x/a@5', '>5']);
  });

  it('marks the batches of a resync', async () => {
    const etcd = new FakeEtcd();
    etcd.commit(['x/a', '1']);
    etcd.commit(['x/b', '1']);
    etcd.compact(3n);
    const batches = [];
    for await (const batch of etcd.watch({ prefix: 'x/' }, { resync: true, from: revision(3) }).batches()) {
      batches.push([batch.revision, batch.events.length, batch.resync?.phase]);
      if (batch.resync?.phase === 'end') break;
    }
    expect(batches).toEqual([
      [2n, 0, 'start'],
      [2n, 2, undefined],
      [3n, 0, 'end'],
    ]);
  });

  it('ends when the keys may not be read', async () => {
    const etcd = new FakeEtcd();
    etcd.onRange = () => {
      throw new TransportError(failure(GrpcCode.PERMISSION_DENIED, 'etcdserver: permission denied'));
    };
    const watcher = etcd.watch({ prefix: 'x/' }, { resync: true });
    const seen = record(watcher);
    await seen.finished;
    expect(seen.error).toBeInstanceOf(PermissionDeniedError);
    await expect(watcher.ready).rejects.toBe(seen.error);
  });

  it('can be closed at any time', async () => {
    const etcd = new FakeEtcd();
    const watcher = etcd.watch({ prefix: 'x/' }, { resync: true });
    etcd.onRange = () => watcher.close();
    await etcd.clock.advance(100);
    expect(etcd.streams).toEqual([]);
    expect(etcd.clock.pending.foreground).toBe(0);
  });
});

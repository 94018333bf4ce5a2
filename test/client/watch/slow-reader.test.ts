import { describe, expect, it } from 'vitest';
import { SlowReaderError } from '../../../src/client/errors.ts';
import { FakeEtcd, record } from './fake-etcd.ts';

async function burst(etcd: FakeEtcd, count: number, key = 'a'): Promise<void> {
  for (let index = 0; index < count; index++) {
    etcd.commit([key, 'v']);
    if (index % 50 === 49) await etcd.settle();
  }
  await etcd.settle();
  await etcd.settle();
}

async function drain(etcd: FakeEtcd): Promise<void> {
  for (let delivered = -1; delivered !== etcd.delivered; ) {
    delivered = etcd.delivered;
    for (let turn = 0; turn < 20; turn++) await etcd.settle();
  }
}

const revisions = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, index) => `+a@${from + index}`);

describe('a reader that is slow', () => {
  it('is moved to a stream of its own that stops when its buffer is full, and holds up nobody', async () => {
    const etcd = new FakeEtcd({ farBehind: 5n });
    const slow = etcd.watch('a', { bufferSize: 10 });
    const quick = record(etcd.watch('a'));
    await etcd.settle();
    await burst(etcd, 100);
    expect(quick.entries).toEqual(revisions(2, 101));
    expect(etcd.stream.cancels).toEqual([0]);

    const read = slow[Symbol.asyncIterator]();
    const first: string[] = [];
    for (let index = 0; index < 6; index++) first.push(`+a@${(await read.next()).value.revision}`);
    expect(first).toEqual(revisions(2, 7));
    etcd.batchRevisions = 1;
    await drain(etcd);
    const [, own] = etcd.open;
    expect(etcd.open).toHaveLength(2);
    expect(own?.creates[0]?.startRevision).toBe(12n);
    // Its buffer is full again: what the server has for it waits at the server.
    expect(own?.undelivered).toBeGreaterThan(80);
    const held = own?.pulls;
    await burst(etcd, 20);
    expect(own?.pulls).toBe(held);
    expect(quick.entries).toHaveLength(120);

    const rest: string[] = [...first];
    for (let index = 0; index < 114; index++) {
      rest.push(`+a@${(await read.next()).value.revision}`);
      if (index % 5 === 0) await drain(etcd);
    }
    expect(rest).toEqual(revisions(2, 121));
    await drain(etcd);
    // It has caught up, and is back with the others.
    const waiting = read.next();
    await drain(etcd);
    expect(etcd.open).toHaveLength(1);
    etcd.commit(['a', 'v']);
    expect((await waiting).value.revision).toBe(122n);
  });

  it('that catches up at once goes back to the shared stream directly', async () => {
    const etcd = new FakeEtcd();
    const watcher = etcd.watch('a', { bufferSize: 10 });
    record(etcd.watch('b'));
    await etcd.settle();
    await burst(etcd, 50);
    const seen = record(watcher);
    await drain(etcd);
    expect(seen.entries).toEqual(revisions(2, 51));
    expect(etcd.streams).toHaveLength(1);
  });

  it('holds no more than its buffer and one response', async () => {
    const etcd = new FakeEtcd({ farBehind: 5n });
    etcd.batchRevisions = 7;
    const watcher = etcd.watch('a', { bufferSize: 10 });
    await etcd.settle();
    const read = watcher[Symbol.asyncIterator]();
    let most = 0;
    let expected = 2n;
    for (let round = 0; round < 40; round++) {
      await burst(etcd, 10);
      await drain(etcd);
      // Everything between what was read and what was received is what the buffer holds.
      const before = etcd.delivered;
      for (let index = 0; index < 5; index++) {
        const { value } = await read.next();
        expect(value.revision).toBe(expected++);
      }
      await drain(etcd);
      most = Math.max(most, etcd.delivered - before);
    }
    expect(most).toBeLessThan(10);
    expect(watcher.nextRevision).toBe(expected);
  });

  it("ends with a SlowReaderError behind what was buffered, with 'fail'", async () => {
    const etcd = new FakeEtcd();
    const watcher = etcd.watch('a', { bufferSize: 10, whenSlow: 'fail' });
    await etcd.settle();
    await burst(etcd, 50);
    expect(etcd.open).toEqual([]);
    const seen = record(watcher);
    await seen.finished;
    expect(seen.entries).toEqual(revisions(2, 11));
    expect(seen.error).toBeInstanceOf(SlowReaderError);
    expect(seen.error).toMatchObject({ nextRevision: 12n });
  });

  it("is told the difference to the present state, with 'resync'", async () => {
    const etcd = new FakeEtcd();
    etcd.commit(['x/kept', '1'], ['x/deleted', '1'], ['x/changed', '1']);
    const watcher = etcd.watch({ prefix: 'x/' }, { bufferSize: 10, whenSlow: 'resync' });
    await watcher.ready;
    const read = watcher[Symbol.asyncIterator]();
    etcd.commit(['x/seen', '1']);
    expect((await read.next()).value).toMatchObject({ type: 'put', synthetic: false });
    for (let index = 0; index < 60; index++) {
      etcd.commit(['x/hot', `${index}`]);
      if (index === 30) etcd.commit(['x/deleted'], ['x/changed', '2']);
      await etcd.settle();
    }
    const seen = [];
    for (let index = 0; index < 5; index++) seen.push((await read.next()).value);
    expect(seen).toMatchObject([
      { type: 'resync', phase: 'start', reason: 'slow-reader' },
      { type: 'put', synthetic: true, isCreate: false, kv: { key: 'x/changed', value: '2' } },
      { type: 'put', synthetic: true, isCreate: true, kv: { key: 'x/hot' } },
      { type: 'delete', synthetic: true, kv: { key: 'x/deleted' } },
      { type: 'resync', phase: 'end' },
    ]);
    const [{ revision: at }] = seen.slice(-1) as [{ revision: bigint }];
    expect(watcher.nextRevision).toBe(at + 1n);
    watcher.close();
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CompactedError } from '../../src/client/errors.ts';
import { Etcd } from '../../src/client/etcd.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { GrpcFaultProxy } from '../support/grpc-fault-proxy.ts';
import { snapshotResources } from '../support/leaks.ts';
import { errorOf, keysOf } from './helpers.ts';

const RANGE = '/etcdserverpb.KV/Range';
const name = (i: number): string => String(i).padStart(5, '0');

describeOnEtcd('scans', (suite) => {
  let etcd: Etcd;
  beforeAll(() => {
    etcd = new Etcd({ endpoints: suite.cluster.endpoints });
  });
  afterAll(async () => {
    await etcd.close();
  });

  /** Writes keys 00000… below a prefix, 100 to a transaction. */
  async function fill(prefix: string, count: number, value = 'v'): Promise<void> {
    for (let start = 0; start < count; start += 100) {
      const then = Array.from({ length: Math.min(100, count - start) }, (_, i) =>
        etcd.op.put(prefix + name(start + i), value),
      );
      await etcd.txn({ then });
    }
  }

  it('give the snapshot of their first page, whatever is written meanwhile', async () => {
    const space = etcd.keyspace(suite.prefix());
    await fill(Buffer.from(space.prefix).toString(), 1_500);
    const seen: string[] = [];
    for await (const { key, value } of space.scan({ all: true }, { pageSize: 20 })) {
      if (seen.length % 100 === 0) {
        // Behind the reader, at its place, and ahead of it.
        await etcd.txn({
          then: [
            space.op.delete(name(seen.length + 700)),
            space.op.put(`${name(seen.length + 50)}-new`, 'new'),
            space.op.put(name(seen.length + 60), 'changed'),
          ],
        });
      }
      seen.push(`${key}=${value}`);
    }
    expect(seen).toEqual(Array.from({ length: 1_500 }, (_, i) => `${name(i)}=v`));
  });

  it('cost few round trips: pages of 20, 200, 1000 keys', async () => {
    const prefix = suite.prefix();
    await fill(prefix, 1_300);
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
    await using client = new Etcd({ endpoints: [proxy.address] });
    expect(await keysOf(client.scan({ prefix }, { pageSize: 20 }))).toHaveLength(1_300);
    expect(proxy.count(RANGE)).toBe(4);
    expect(await keysOf(client.scan({ prefix: `${prefix}0001` }, { pageSize: 20 }))).toHaveLength(10);
    expect(proxy.count(RANGE)).toBe(5);
    expect(await keysOf(client.scan(`${prefix}${name(7)}`))).toEqual([`${prefix}${name(7)}`]);
    expect(proxy.count(RANGE)).toBe(6);
  });

  it('read large values a few at a time', async () => {
    const prefix = suite.prefix();
    const value = 'x'.repeat(300 * 1024);
    for (let i = 0; i < 30; i++) await etcd.put(prefix + name(i), value);
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
    await using client = new Etcd({ endpoints: [proxy.address] });
    let bytes = 0;
    for await (const kv of client.scan({ prefix }, { pageSize: 4 })) bytes += kv.valueBytes.length;
    expect(bytes).toBe(30 * value.length);
    // 4, then 3 a page, since 1 MiB holds three.
    expect(proxy.count(RANGE)).toBe(1 + Math.ceil(26 / 3));
  });

  it('survive lost connections between and during pages', async () => {
    const prefix = suite.prefix();
    await fill(prefix, 500);
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
    await using client = new Etcd({ endpoints: [proxy.address] });
    proxy.rule({ path: RANGE, nth: 2, action: 'swallow-reply', via: 'cut' });
    proxy.rule({ path: RANGE, nth: 4, action: 'reset-before' });
    expect(await keysOf(client.scan({ prefix }, { pageSize: 50 }))).toEqual(
      Array.from({ length: 500 }, (_, i) => prefix + name(i)),
    );
  });

  it('end with a CompactedError when their revision is compacted on the way, and can be begun anew', async () => {
    const prefix = suite.prefix();
    await fill(prefix, 300);
    const scan = etcd.scan({ prefix }, { pageSize: 10 });
    for (let i = 0; i < 10; i++) await scan.next();
    const { revision } = await etcd.put(`${prefix}last`, '');
    await etcd.compact(revision);
    const error = await errorOf(keysOf(scan));
    expect(error).toBeInstanceOf(CompactedError);
    expect(error).toMatchObject({ code: 'compacted', applied: 'no' });
    expect(await keysOf(etcd.scan({ prefix }, { pageSize: 10 }))).toHaveLength(301);
    await expect(keysOf(etcd.scan({ prefix }, { revision: (revision - 1n) as never }))).rejects.toThrow(CompactedError);
  });

  it('may be left at any time', async () => {
    const prefix = suite.prefix();
    await fill(prefix, 300);
    await etcd.get('warm-up');
    const resources = snapshotResources();
    for (let round = 0; round < 20; round++) {
      for await (const { key } of etcd.scan({ prefix }, { pageSize: 10 })) if (key.endsWith(name(round * 5))) break;
    }
    await resources.expectNothingAdded();
  });

  describe('take', () => {
    it('every form of target, keysOnly, serializable', async () => {
      const space = etcd.keyspace(suite.prefix());
      for (const key of ['a', 'b', 'b1', 'c']) await space.put(key, 'v');
      expect(await keysOf(space.scan({ all: true }, { pageSize: 1 }))).toEqual(['a', 'b', 'b1', 'c']);
      expect(await keysOf(space.scan({ prefix: 'b' }, { pageSize: 1 }))).toEqual(['b', 'b1']);
      expect(await keysOf(space.scan({ from: 'b1' }, { pageSize: 1, serializable: true }))).toEqual(['b1', 'c']);
      expect(await keysOf(space.scan({ from: 'a', to: 'b1' }, { pageSize: 1 }))).toEqual(['a', 'b']);
      for await (const { value } of space.scan({ all: true }, { keysOnly: true })) expect(value).toBe('');
      expect(await keysOf(space.scan('missing'))).toEqual([]);
      expect(await keysOf(space.scan({ prefix: 'x' }))).toEqual([]);
    });

    it('keys with 0x00 and 0xff at the seams of pages', async () => {
      const space = etcd.keyspace(suite.prefix());
      const keys = [[0], [0, 0], [0, 0xff], [0xff], [0xff, 0], [0xff, 0xff]].map((key) => Uint8Array.from(key));
      for (const key of keys) await space.put(key, 'v');
      const seen: Uint8Array[] = [];
      for await (const { keyBytes } of space.scan({ all: true }, { pageSize: 1 })) seen.push(keyBytes);
      expect(seen).toEqual(keys);
    });
  });
});

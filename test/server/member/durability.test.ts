/** Durable before visible, and what becomes of a member whose disk fails. */
import { describe, expect, it } from 'vitest';
import type { KvRecord } from '../../../src/server/mvcc/record.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { WalError } from '../../../src/server/wal/index.ts';
import { deferred } from '../../../src/support/signals.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { WatchedDisk } from '../wal/support.ts';
import { put, refusalOf, startMember, valueAt } from './support.ts';

async function watched() {
  const clock = new VirtualClock();
  const disk = new WatchedDisk(new MemoryDisk());
  return { clock, disk, member: await startMember(clock, disk) };
}

describe('a put whose entry is not synced', () => {
  it('is answered to nobody, read by nobody and told to no watcher', async () => {
    const { clock, disk, member } = await watched();
    const gate = deferred<void>();
    disk.before = (call) => (call === 'sync' ? gate.promise : undefined);
    const told: string[] = [];
    const sink = {
      offer: (events: readonly KvRecord[]) => {
        told.push(...events.map(({ key }) => key));
        return true;
      },
      compacted() {},
    };
    member.state.watches.watch({ range: { key: '', end: '\uffff' }, startRevision: 0, sink });
    const seen: (string | undefined)[] = [];
    let answered = false;
    const done = put(member, 'a', '1').then(() => {
      answered = true;
    });
    await clock.settle();
    await member.linearize();
    seen.push(valueAt(member, 'a'));
    // A second one meanwhile waits as well: it must not overtake the sync of the first.
    const second = put(member, 'b', '2');
    await clock.advance(300);
    seen.push(valueAt(member, 'a'), valueAt(member, 'b'));
    expect([answered, seen, told]).toEqual([false, [undefined, undefined, undefined], []]);
    gate.resolve();
    await Promise.all([done, second]);
    expect([valueAt(member, 'a'), valueAt(member, 'b')]).toEqual(['1', '2']);
    await member.stop();
  });

  it('shares one write and one sync with all that come meanwhile', async () => {
    const { disk, member } = await watched();
    await put(member, 'first', '1');
    const before = disk.syncs;
    await Promise.all(Array.from({ length: 100 }, (_, i) => put(member, `k${i}`, '1')));
    expect(disk.syncs - before).toBe(1);
    await member.stop();
  });
});

describe('a sync that fails', () => {
  it('ends the member for good: all that wait are told so, and nothing is written any more', async () => {
    const { clock, disk, member } = await watched();
    disk.before = (call) => {
      if (call === 'sync') throw Object.assign(new Error('no'), { code: 'EIO' });
    };
    const refused = await Promise.all([refusalOf(put(member, 'a', '1')), refusalOf(put(member, 'b', '1'))]);
    expect(refused).toEqual(['etcdserver: server stopped', 'etcdserver: server stopped']);
    const cause = await member.failed;
    expect(cause).toBeInstanceOf(WalError);
    expect((cause as WalError).code).toBe('failed');
    const { writes, syncs } = disk;
    disk.before = () => {};
    expect(await refusalOf(put(member, 'c', '1'))).toBe('etcdserver: server stopped');
    expect(await refusalOf(member.linearize())).toBe('etcdserver: server stopped');
    await clock.advance(60_000);
    expect([disk.writes, disk.syncs]).toEqual([writes, syncs]);
    expect(valueAt(member, 'a')).toBeUndefined();
    expect(clock.pending.all).toBe(0);
    await member.stop();
  });
});

describe('stopping', () => {
  it('ends every wait, leaves no timer, and can be asked for twice', async () => {
    const { clock, disk, member } = await watched();
    const gate = deferred<void>();
    disk.before = (call) => (call === 'sync' ? gate.promise : undefined);
    const waits = [refusalOf(put(member, 'a', '1')), refusalOf(put(member, 'b', '1'))];
    await clock.settle();
    const stopped = member.stop();
    expect(await Promise.all(waits)).toEqual(['etcdserver: server stopped', 'etcdserver: server stopped']);
    gate.resolve();
    await stopped;
    await member.stop();
    expect(clock.pending.all).toBe(0);
    expect(await refusalOf(member.linearize())).toBe('etcdserver: server stopped');
    expect(await refusalOf(member.renewLease(1n))).toBe('etcdserver: server stopped');
  });

  it('never keeps a process alive by a timer', async () => {
    const { clock, member } = await watched();
    expect(clock.pending.all).toBeGreaterThan(0);
    expect(clock.pending.foreground).toBe(0);
    await member.stop();
  });
});

import { describe, expect, it } from 'vitest';
import type { Etcd } from '../../../src/client/etcd.ts';
import { FakeMembers } from './fake-member.ts';

describe('monotonic reads', () => {
  /** Members that answer reads with these revisions, in turn, and writes with 20. */
  function scripted(revisions: bigint[], options: { monotonicReads?: boolean } = {}) {
    const members = new FakeMembers(({ method }) => ({
      header: { revision: method === 'Range' ? (revisions.shift() ?? 99n) : 20n },
      succeeded: true,
    }));
    return { members, etcd: members.client(options) };
  }
  const serializable = { serializable: true } as const;

  it('throws away an answer that is older than one before, and asks in a linearizable way', async () => {
    const { members, etcd } = scripted([10n, 9n, 10n], { monotonicReads: true });
    expect((await etcd.range({ all: true }, serializable)).revision).toBe(10n);
    expect((await etcd.range({ all: true }, serializable)).revision).toBe(10n);
    expect(members.of('Range').map(({ request }) => request.serializable)).toEqual([true, true, false]);
    await etcd.close();
  });

  it('takes one that is as recent', async () => {
    const { members, etcd } = scripted([10n, 10n, 11n], { monotonicReads: true });
    for (let i = 0; i < 3; i++) await etcd.range({ all: true }, serializable);
    expect(members.of('Range')).toHaveLength(3);
    await etcd.close();
  });

  it.each<[string, (etcd: Etcd) => Promise<unknown>]>([
    ['put', (etcd) => etcd.put('k', 'v')],
    ['touch', (etcd) => etcd.touch('k')],
    ['delete', (etcd) => etcd.delete('k')],
    ['txn', (etcd) => etcd.txn({ then: [] })],
    ['increment', (etcd) => etcd.increment('k')],
  ])('reads what it wrote: after a %s no older answer will do', async (_, write) => {
    const { members, etcd } = scripted([19n, 20n], { monotonicReads: true });
    await write(etcd);
    expect((await etcd.range({ all: true }, serializable)).revision).toBe(20n);
    expect(members.of('Range')).toHaveLength(2);
    await etcd.close();
  });

  it('is off unless asked for', async () => {
    const { members, etcd } = scripted([10n, 9n]);
    await etcd.range({ all: true }, serializable);
    expect((await etcd.range({ all: true }, serializable)).revision).toBe(9n);
    expect(members.of('Range')).toHaveLength(2);
    await etcd.close();
  });
});

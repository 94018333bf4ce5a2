/** Members whose keys are no more the same: found out, told, and kept from starting. */
import { describe, expect, it } from 'vitest';
import { CorruptDataError } from '../../../src/server/member/corruption.ts';
import type { Member } from '../../../src/server/member/member.ts';
import { TestMembers } from './cluster.ts';
import { put, refusalOf, valueAt } from './support.ts';

const THREE = ['a', 'b', 'c'];
const CORRUPT = 2;

/** A key that the others do not have, at a revision that they have. */
function corrupt({ state }: Member): void {
  const txn = state.store.write();
  txn.put(Buffer.from('k'), 'k', Buffer.from('other'), 0n);
  txn.end();
}

/** Cuts a member off, makes its keys other ones, and lets it be a member again; revisions come together. */
async function spoiled(checks: { corruptCheckMs?: number; compactHashCheckMs?: number }) {
  const members = await TestMembers.found(THREE, checks);
  await members.put(members.leader as Member, 'a', '1');
  const bad = members.follower;
  await members.until(() => valueAt(bad, 'a') === '1');
  members.network.isolate(bad.id);
  corrupt(bad);
  await members.put(members.leader as Member, 'k', 'right');
  return { members, bad };
}

describe('the leader', () => {
  it('finds who has other keys, and raises the alarm for it', async () => {
    const { members, bad } = await spoiled({ corruptCheckMs: 60_000 });
    // The entry that made the others' revision makes the next one there: it is ahead.
    members.network.mend();
    await members.until(() => (members.leader as Member).state.alarms.has(CORRUPT), 70_000);
    expect((members.leader as Member).state.alarms.list()).toEqual([{ memberID: bad.id, alarm: CORRUPT }]);
    expect(await members.settled(refusalOf(put(members.leader as Member, 'k', '2')))).toBe(
      'etcdserver: corrupt cluster',
    );
    await members.stop();
    expect(members.clock.pending.all).toBe(0);
  });

  it('finds it by the hashes of compactions, by the majority', async () => {
    const { members, bad } = await spoiled({ compactHashCheckMs: 60_000 });
    members.network.mend();
    const leader = members.leader as Member;
    await members.until(() => valueAt(bad, 'k') === 'right');
    const compact = { revision: BigInt(leader.state.store.revision), physical: false };
    await members.settled(leader.propose({ compaction: compact }));
    await members.until(() => leader.state.alarms.has(CORRUPT), 70_000);
    expect(leader.state.alarms.list()).toEqual([{ memberID: bad.id, alarm: CORRUPT }]);
    await members.stop();
  });

  it('finds nothing where all is well, and stops looking when it is deposed', async () => {
    const members = await TestMembers.found(THREE, { corruptCheckMs: 2_000, compactHashCheckMs: 2_000 });
    for (let i = 0; i < 20; i += 1) {
      const leader = members.leader as Member;
      await members.put(leader, 'k', `${i}`);
      const compact = { revision: BigInt(leader.state.store.revision - 1), physical: false };
      await members.settled(leader.propose({ compaction: compact }));
      await members.clock.advance(1_000);
      if (i === 10) {
        members.network.isolate(leader.id);
        await members.until(() => members.leader !== undefined && members.leader !== leader);
        members.network.mend();
        await members.until(() => leader.position.leader !== 0n);
      }
    }
    expect(members.all.flatMap(({ state }) => state.alarms.list())).toEqual([]);
    await members.stop();
    expect(members.clock.pending.all).toBe(0);
  });
});

describe('a member that starts', () => {
  it('does not take part with other keys than the rest', async () => {
    const members = await TestMembers.found(THREE, { snapshotCount: 5, onDisk: true });
    const leader = members.leader as Member;
    const bad = members.follower;
    const name = members.nameOf(bad);
    for (let i = 0; i < 4; i += 1) await members.put(leader, `k${i}`, '1');
    await members.until(() => valueAt(bad, 'k3') === '1');
    members.network.isolate(leader.id === bad.id ? leader.id : bad.id);
    corrupt(bad);
    // Its image is made by entries that it hears of alone.
    members.network.mend();
    for (let i = 0; i < 6; i += 1) await members.put(leader, 'm', `${i}`);
    await members.until(() => valueAt(bad, 'm') === '5');
    await members.kill(name);
    // The revision that it has, the others have too, and not the same.
    await members.put(leader, 'n', '1');
    const started = members.settled(members.restart(name, { initialCorruptCheck: true }));
    await expect(started).rejects.toBeInstanceOf(CorruptDataError);
    await members.stop();
  });

  it('takes part with the same ones, also if nobody answers', async () => {
    const members = await TestMembers.found(THREE, { snapshotCount: 5 });
    const name = members.nameOf(members.follower);
    for (let i = 0; i < 12; i += 1) await members.put(members.leader as Member, `k${i}`, '1');
    await members.kill(name);
    await members.settled(members.restart(name, { initialCorruptCheck: true }));
    await members.ready(name);
    for (const other of THREE) await members.kill(other);
    await members.settled(members.restart(name, { initialCorruptCheck: true }));
    expect(members.get(name).position.leader).toBe(0n);
    await members.stop();
  });
});

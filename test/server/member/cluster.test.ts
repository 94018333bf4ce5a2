/** Members together: elected, followed, stopped, restarted, added and removed. */
import { describe, expect, it } from 'vitest';
import { MemberRemovedError } from '../../../src/server/member/errors.ts';
import type { Member } from '../../../src/server/member/member.ts';
import { hashKv } from '../../../src/server/mvcc/hash.ts';
import { peerUrl, TestMembers } from './cluster.ts';
import { put, refusalOf, valueAt } from './support.ts';

const THREE = ['a', 'b', 'c'];

function hashOf({ state }: Member): number {
  return hashKv(state.store, state.store.revision);
}

/** A learner or voter, added by whoever leads. */
async function add(members: TestMembers, name: string, isLearner: boolean): Promise<bigint> {
  const id = 0xabcn + BigInt(name.charCodeAt(0));
  const member = { id, name: '', peerUrls: [peerUrl(name)], clientUrls: [], isLearner };
  await members.clock.advance(6_000);
  await members.settled((members.leader as Member).changeMembers({ type: 'add', member }));
  return id;
}

describe('three members', () => {
  it('elect a leader, agree on what they are, and have what is put on any of them', async () => {
    const members = await TestMembers.found(THREE);
    const [a, b, c] = THREE.map((name) => members.get(name)) as [Member, Member, Member];
    expect(new Set(members.all.map((member) => member.position.leader)).size).toBe(1);
    for (const [i, member] of [a, b, c].entries()) await members.put(member, `k${i}`, `v${i}`);
    for (let i = 0; i < 3; i += 1) await members.agree(`k${i}`, `v${i}`, a, b, c);
    expect(
      a.state.members
        .list()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(THREE);
    expect([hashOf(b), hashOf(c)]).toEqual([hashOf(a), hashOf(a)]);
    // Once all have said what they are.
    await members.until(() => members.all.every(({ state }) => state.members.clusterVersion === '3.5.0'), 6_000);
    await members.stop();
    expect(members.clock.pending.all).toBe(0);
  });

  it('read on a follower what was put on another one just before', async () => {
    const members = await TestMembers.found(THREE);
    const leader = members.leader as Member;
    const [one, two] = members.all.filter((member) => member !== leader) as [Member, Member];
    // What the second one has to be told comes late.
    members.network.setLink(leader.id, two.id, { minDelayMs: 40 });
    await members.put(one, 'k', '1');
    expect(valueAt(two, 'k')).toBeUndefined();
    await members.settled(two.linearize());
    expect(valueAt(two, 'k')).toBe('1');
    await members.stop();
  });

  it('read nothing old by an answer to what was asked before a restart', async () => {
    const members = await TestMembers.found(THREE);
    const leader = members.leader as Member;
    const name = members.nameOf(members.follower);
    const { id } = members.get(name);
    await members.put(leader, 'k', 'old');
    await members.agree('k', 'old', ...members.all);
    // Makes it durable on all that the first one is committed.
    await members.put(leader, 'other', '1');
    await members.agree('other', '1', ...members.all);
    const asked: string[] = [];
    const answered: string[] = [];
    members.heard = (m) => {
      const [name] = m.entries.map(({ data }) => Buffer.from(data).toString('hex'));
      if (m.type === 'MsgReadIndex' && m.from === id) asked.push(name ?? '');
      if (m.type === 'MsgReadIndexResp' && m.to === id) answered.push(name ?? '');
    };
    // What the leader says to it from now on takes longer than a restart.
    members.network.setLink(leader.id, id, { minDelayMs: 450 });
    members
      .get(name)
      .linearize()
      .catch(() => {});
    await members.clock.advance(100);
    await members.put(leader, 'k', 'new');
    await members.kill(name);
    const back = await members.restart(name);
    expect([valueAt(back, 'k'), asked.length, answered]).toEqual(['old', 1, []]);
    const read = back.linearize().then(() => valueAt(back, 'k'));
    expect(await members.settled(read)).toBe('new');
    // The answer to the earlier life was among them.
    expect(answered[0]).toBe(asked[0]);
    expect(answered.length).toBeGreaterThan(1);
    await members.stop();
  });

  it('go on when the leader is gone, and it catches up when it comes back', async () => {
    const members = await TestMembers.found(THREE);
    const old = members.leader as Member;
    const name = members.nameOf(old);
    await members.put(old, 'k', '1');
    await members.kill(name);
    const rest = members.all.filter((member) => member !== old);
    await members.until(() => rest.some((member) => member.position.leader === member.id));
    await members.put(rest[0] as Member, 'k', '2');
    const back = await members.restart(name);
    await members.ready(name);
    await members.agree('k', '2', back, ...rest);
    expect(hashOf(back)).toBe(hashOf(rest[0] as Member));
    await members.stop();
  });

  it('are handed over to another one by a leader that stops', async () => {
    const members = await TestMembers.found(THREE);
    const old = members.leader as Member;
    const { term } = old.position;
    const stopping = old.stop();
    await members.settled(stopping, 300);
    const rest = members.all.filter((member) => member !== old);
    expect(rest.some((member) => member.position.leader === member.id)).toBe(true);
    expect(rest[0]?.position.term).toBe(term + 1);
    await members.stop();
  });

  it('come back from their disks all at once, with what was acknowledged', async () => {
    const members = await TestMembers.found(THREE, { snapshotCount: 5, snapshotCatchUpEntries: 2 });
    for (let i = 0; i < 12; i += 1) await members.put(members.get('a'), `k${i}`, `${i}`);
    for (const name of THREE) await members.kill(name);
    for (const name of THREE) await members.restart(name);
    await members.ready(...THREE);
    for (const member of members.all) await members.settled(member.linearize());
    for (let i = 0; i < 12; i += 1)
      expect(members.all.map((one) => valueAt(one, `k${i}`))).toEqual([`${i}`, `${i}`, `${i}`]);
    await members.stop();
  });

  it('renew leases wherever they are asked to, and none ends that was renewed', async () => {
    const members = await TestMembers.found(THREE);
    const follower = members.follower;
    const leaseGrant = { TTL: 5n, ID: 77n };
    await members.settled(follower.propose({ leaseGrant }));
    await members.put(follower, 'k', '1', 77n);
    for (let i = 0; i < 4; i += 1) {
      await members.clock.advance(2_000);
      expect(await members.settled(follower.renewLease(77n))).toBe(5);
    }
    const times = await members.settled(follower.timeToLive(77n));
    expect([times.grantedSeconds, times.keys.length]).toEqual([5, 1]);
    expect(await members.settled(follower.renewLease(78n))).toBe(0);
    await members.until(() => members.all.every((one) => valueAt(one, 'k') === undefined), 8_000);
    expect((await members.settled(follower.timeToLive(77n))).remainingSeconds).toBe(-1);
    await members.stop();
  });
});

describe('without a quorum', () => {
  it('nothing is put and nothing read, and afterwards no less is there', async () => {
    const members = await TestMembers.found(THREE);
    const leader = members.leader as Member;
    await members.put(leader, 'k', '1');
    members.network.isolate(leader.id);
    const lost = refusalOf(put(leader, 'k', '2'));
    const read = refusalOf(leader.linearize());
    expect(await members.settled(lost)).toBe('etcdserver: request timed out');
    expect(await members.settled(read)).toBe('etcdserver: request timed out');
    expect(leader.position.leader).toBe(0n);
    const rest = members.all.filter((member) => member !== leader);
    await members.put(rest[0] as Member, 'k', '3');
    members.network.mend();
    await members.agree('k', '3', ...members.all);
    await members.stop();
  });
});

describe('the cluster changes', () => {
  it('a new member joins and is made a voter from a follower', async () => {
    const members = await TestMembers.found(THREE);
    await members.put(members.get('a'), 'k', '1');
    const id = await add(members, 'd', true);
    members.network.link = { minDelayMs: 50 };
    const joined = await members.join('d');
    expect(joined.id).toBe(id);
    // It has to find them before it has heard of them.
    expect(members.hostOf('d').members.list().length).toBe(4);
    expect(joined.state.members.list()).toEqual([]);
    await members.ready('d');
    expect(joined.position.isLearner).toBe(true);
    await members.agree('k', '1', joined);
    const after = await members.settled(members.follower.changeMembers({ type: 'promote', id }));
    expect(after.find((member) => member.id === id)?.isLearner).toBe(false);
    await members.until(() => !joined.position.isLearner);
    const again = members.settled(refusalOf(members.follower.changeMembers({ type: 'promote', id })));
    expect(await again).toBe('etcdserver: can only promote a learner member');
    await members.stop();
  });

  it('a new member that died before it heard anything comes back, and need not be told again', async () => {
    const members = await TestMembers.found(THREE, { onDisk: true });
    await members.put(members.get('a'), 'k', '1');
    const id = await add(members, 'd', true);
    members.network.link = { dropChance: 1 };
    await members.join('d');
    await members.get('d').stop();
    members.network.link = {};
    await expect(members.restart('d', { join: undefined })).rejects.toThrow('with other addresses');
    const back = await members.restart('d', { join: undefined, joins: true });
    expect(back.id).toBe(id);
    await members.agree('k', '1', back);
    await members.stop();
  });

  it('a member that is removed ends, and the others go on', async () => {
    const members = await TestMembers.found(THREE);
    await members.clock.advance(6_000);
    const leader = members.leader as Member;
    // The hardest one to remove.
    const removed = members.settled(members.follower.changeMembers({ type: 'remove', id: leader.id }));
    expect((await removed).length).toBe(2);
    let ended = false;
    void leader.failed.then(() => {
      ended = true;
    });
    // It goes on for a moment, for those who have not heard.
    await members.clock.advance(500);
    expect(ended).toBe(false);
    expect(await members.settled(leader.failed)).toBeInstanceOf(MemberRemovedError);
    const rest = members.all.filter((member) => member !== leader);
    await members.until(() => rest.some((member) => member.position.leader === member.id));
    await members.put(rest[0] as Member, 'k', '1');
    await members.agree('k', '1', ...rest);
    await members.stop();
  });
});

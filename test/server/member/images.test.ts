/** Images from member to member: who is far behind, or new, gets one. */
import { describe, expect, it } from 'vitest';
import type { Member } from '../../../src/server/member/member.ts';
import type { KvRecord } from '../../../src/server/mvcc/record.ts';
import { message } from '../../../src/server/raft/index.ts';
import { deferred } from '../../../src/support/signals.ts';
import { peerUrl, TestMembers } from './cluster.ts';
import { DATA_DIR, refusalOf, valueAt } from './support.ts';

const THREE = ['a', 'b', 'c'];
/** Images are made often, and hardly anything is kept behind them. */
const OFTEN = { snapshotCount: 10, snapshotCatchUpEntries: 2 };

/** Founds three, and cuts one off that does not lead until the log of the others begins behind its own. */
async function behind(more: ConstructorParameters<typeof TestMembers>[0] = {}) {
  const members = await TestMembers.found(THREE, { ...OFTEN, ...more });
  const slow = members.follower;
  const leader = members.leader as Member;
  await members.put(leader, 'gone', 'soon');
  await members.agree('gone', 'soon', slow);
  members.network.isolate(slow.id);
  await members.settled(
    leader.propose({ deleteRange: { key: Buffer.from('gone'), rangeEnd: new Uint8Array(), prevKv: false } }),
  );
  await members.settled(leader.propose({ leaseGrant: { ID: 5n, TTL: 600n } }));
  for (let i = 0; i < 40; i += 1) await members.put(leader, `k${i}`, `${i}`, 5n);
  return { members, slow, leader };
}

function watch(member: Member): [number, string][] {
  const told: [number, string][] = [];
  const sink = {
    offer: (events: readonly KvRecord[]) => {
      for (const { main, key } of events) told.push([main, key]);
      return true;
    },
    compacted: (revision: number) => told.push([revision, 'compacted']),
  };
  member.state.watches.watch({ range: { key: '', end: '\uffff' }, startRevision: 0, sink });
  return told;
}

describe.each([true, false])('a follower that is far behind (on disk: %s)', (onDisk) => {
  it('gets an image, and then the rest of the log', async () => {
    const { members, slow, leader } = await behind({ onDisk });
    const { applied } = slow.position;
    let images = 0;
    members.heard = (m) => {
      if (m.type === 'MsgSnap') images += 1;
    };
    members.network.mend();
    await members.agree('k39', '39', slow);
    expect(leader.position.applied - applied).toBeGreaterThan(40);
    expect(images).toBe(1);
    await members.put(leader, 'after', '1');
    await members.agree('after', '1', slow);
    expect(valueAt(slow, 'gone')).toBeUndefined();
    expect(slow.state.hashKv(0)).toEqual(leader.state.hashKv(0));
    expect(slow.state.rows()).toEqual(leader.state.rows());
    expect([...slow.state.lessor.keysOf(5n)].length).toBe(40);
    await members.stop();
    expect(members.clock.pending.all).toBe(0);
  });

  it('tells its watchers of everything, once and in order', async () => {
    const { members, slow, leader } = await behind({ onDisk });
    const told = watch(slow);
    const from = slow.state.store.revision;
    members.network.mend();
    await members.agree('k39', '39', slow);
    await members.put(leader, 'after', '1');
    await members.until(() => told.at(-1)?.[1] === 'after');
    const expected = ['gone', ...Array.from({ length: 40 }, (_, i) => `k${i}`), 'after'];
    expect(told).toEqual(expected.map((key, i) => [from + 1 + i, key]));
    await members.stop();
  });

  it('has no requests answered meanwhile that it can not know of', async () => {
    const { members, slow, leader } = await behind({ onDisk });
    // All but the image arrives at once; that takes long.
    const read = slow.linearize().then(() => valueAt(slow, 'k39'));
    members.network.mend();
    expect(await members.settled(read)).toBe('39');
    expect(valueAt(leader, 'k39')).toBe('39');
    await members.stop();
  });
});

describe('a member that was sent an image', () => {
  it('starts from it when it comes back', async () => {
    const { members, slow } = await behind();
    const name = members.nameOf(slow);
    members.network.mend();
    await members.agree('k39', '39', slow);
    await members.kill(name);
    const back = await members.restart(name);
    // Before it has heard of anybody.
    expect(valueAt(back, 'k39')).toBe('39');
    await members.ready(name);
    await members.put(back, 'after', '1');
    await members.agree('after', '1', ...members.all);
    await members.stop();
  });

  it('keeps it, whatever own one it was writing then', async () => {
    const { members, slow, leader } = await behind();
    const name = members.nameOf(slow);
    await members.kill(name);
    // Large enough to be written in several steps.
    for (let i = 0; i < 20; i += 1) await members.put(leader, `big${i}`, 'x'.repeat(10_000));
    members.network.mend();
    const gate = { open: Promise.resolve() };
    const back = await members.restart(name, { pause: () => gate.open });
    await members.agree('big19', 'x'.repeat(10_000), back);
    // Until then the leader keeps its log for it.
    await members.clock.advance(31_000);
    const { promise, resolve } = deferred<void>();
    gate.open = promise;
    // It begins an image of its own, which does not get on, and is left behind once more.
    for (let i = 0; i < 12; i += 1) await members.put(leader, `m${i}`, '1');
    await members.agree('m11', '1', back);
    members.network.isolate(back.id);
    for (let i = 0; i < 40; i += 1) await members.put(leader, `n${i}`, '1');
    let came = false;
    members.heard = (m) => {
      if (m.to === back.id && m.type === 'MsgSnap') came = true;
    };
    members.network.mend();
    await members.until(() => came);
    await members.clock.advance(1_000);
    expect(valueAt(back, 'n39')).toBeUndefined();
    resolve();
    await members.agree('n39', '1', back);
    await members.kill(name);
    const again = await members.restart(name);
    expect(valueAt(again, 'n39')).toBe('1');
    await members.stop();
  });

  it('has no files of unfinished ones after a start', async () => {
    const members = await TestMembers.found(THREE, OFTEN);
    const name = members.nameOf(members.follower);
    await members.kill(name);
    const disk = members.disk(name);
    const snap = `${DATA_DIR}/member/snap`;
    await disk.makeDirectory(snap);
    for (const left of ['db.tmp', 'db.peer.3']) await (await disk.open(`${snap}/${left}`, { mode: 'create' })).close();
    await members.restart(name);
    expect((await disk.list(snap))?.filter((file) => file !== 'db')).toEqual([]);
    await members.stop();
  });

  it('is new: it joins as a learner, by an image, and is promoted', async () => {
    const { members, leader } = await behind();
    members.network.mend();
    await members.clock.advance(6_000);
    const member = { id: 0xddn, name: '', peerUrls: [peerUrl('d')], clientUrls: [], isLearner: true };
    await members.settled(leader.changeMembers({ type: 'add', member }));
    for (let i = 0; i < 30; i += 1) await members.put(leader, `k${i}`, 'new');
    const joined = await members.join('d');
    await members.ready('d');
    await members.agree('k29', 'new', joined);
    await members.settled(leader.changeMembers({ type: 'promote', id: 0xddn }));
    await members.put(joined, 'after', '1');
    await members.agree('after', '1', ...members.all);
    expect(joined.state.rows()).toEqual(leader.state.rows());
    await members.kill('d');
    await members.restart('d');
    await members.ready('d');
    expect(valueAt(members.get('d'), 'after')).toBe('1');
    await members.stop();
  });
});

describe('what comes in', () => {
  it('is an image of another index than its message says: refused, and nothing is left of it', async () => {
    const { members, slow, leader } = await behind();
    const image = await leader.image();
    const { index, term } = leader.state;
    const confState = {
      voters: leader.state.members.list().map(({ id }) => id),
      learners: [],
      votersOutgoing: [],
      learnersNext: [],
      autoLeave: false,
    };
    const snapshot = { index: index + 1, term, confState: confState as never, data: new Uint8Array() };
    const host = members.hostOf(members.nameOf(slow));
    const m = message('MsgSnap', { to: slow.id, from: leader.id, term: leader.position.term, snapshot });
    await expect(host.receiveSnapshot(m, image.chunks)).rejects.toThrow(/as of index/);
    const files = await members.disk(members.nameOf(slow)).list(`${DATA_DIR}/member/snap`);
    expect((files ?? []).filter((file) => file !== 'db')).toEqual([]);
    expect(valueAt(slow, 'k39')).toBeUndefined();
    await members.stop();
  });

  it('is given up for a later one, or at the end', async () => {
    const { members, slow, leader } = await behind();
    const host = members.hostOf(members.nameOf(slow));
    const { index, term } = leader.state;
    const confState = { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
    const snapshot = { index, term, confState, data: new Uint8Array() };
    const m = message('MsgSnap', { to: slow.id, from: leader.id, term: leader.position.term, snapshot });
    const hangs = async function* () {
      yield new Uint8Array(10);
      await new Promise(() => {});
    };
    const first = host.receiveSnapshot(m, hangs());
    const second = host.receiveSnapshot(m, hangs());
    await expect(first).rejects.toThrow(/before this one was complete/);
    const stopped = expect(second).rejects.toThrow(/before this one was complete/);
    await members.stop();
    await stopped;
  });
});

describe('the log of a leader', () => {
  it('is kept for who is sent an image, so that one is enough', async () => {
    const { members, slow, leader } = await behind();
    const messages: string[] = [];
    members.heard = (m) => {
      if (m.to === slow.id && m.type === 'MsgSnap') messages.push(m.type);
    };
    // Slow enough that much is written meanwhile.
    members.network.setLink(leader.id, slow.id, { minDelayMs: 30 });
    members.network.mend();
    for (let i = 0; i < 60; i += 1) await members.put(leader, `m${i}`, '1');
    await members.agree('m59', '1', slow);
    expect(messages).toEqual(['MsgSnap']);
    await members.stop();
  });
});

describe('refusals', () => {
  it('of a host name why', async () => {
    const { members, slow, leader } = await behind();
    const host = members.hostOf(members.nameOf(slow));
    const { signal } = new AbortController();
    expect(await members.settled(refusalOf(host.renewLeaseHere(5n, signal)))).toBe('etcdserver: not leader');
    expect(await members.settled(refusalOf(host.promoteHere(5n, signal)))).toBe('etcdserver: not leader');
    const leads = members.hostOf(members.nameOf(leader));
    expect(await members.settled(leads.renewLeaseHere(5n, signal))).toBe(600);
    expect(await members.settled(refusalOf(leads.renewLeaseHere(6n, signal)))).toBe(
      'etcdserver: requested lease not found',
    );
    expect(leads.hashKv(1_000)).toMatchObject({ text: 'etcdserver: mvcc: required revision is a future revision' });
    expect(leads.hashKv(0)).toEqual({ ...(leader.state.hashKv(0) as object), hashRevision: 43, revision: 43 });
    await members.stop();
  });
});

/** Without a leader every wait ends, in etcd's words. */
import { describe, expect, it } from 'vitest';
import { Membership } from '../../../src/server/apply/membership.ts';
import { Member } from '../../../src/server/member/member.ts';
import { timeoutRefusal } from '../../../src/server/member/timeouts.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { NAME, optionsOf, PEER_URL, put, refusalOf, startMember, valueAt } from './support.ts';

/** A member of two, the other of which never comes. */
async function alone(clock: VirtualClock): Promise<Member> {
  const other = { name: 'other', peerUrls: ['http://localhost:2382'] };
  return Member.start(optionsOf(clock, { initialCluster: [{ name: NAME, peerUrls: [PEER_URL] }, other] }));
}

describe('without a leader', () => {
  const cases: [string, (member: Member, signal?: AbortSignal) => Promise<unknown>, string][] = [
    ['a put', (member, signal) => put(member, 'a', '1', 0n, signal), 'context deadline exceeded'],
    ['a read', (member, signal) => member.linearize(signal), 'etcdserver: request timed out'],
    ['a renewal', (member, signal) => member.renewLease(1n, signal), 'etcdserver: no leader'],
    ['a look at a lease', (member, signal) => member.timeToLive(1n, signal), 'etcdserver: no leader'],
  ];
  it.each(cases)('%s ends after seven seconds', async (_name, call, text) => {
    const clock = new VirtualClock();
    const member = await alone(clock);
    let ended: string | undefined;
    const done = refusalOf(call(member)).then((refusal) => {
      ended = refusal;
    });
    await clock.advance(6_900);
    expect(ended).toBeUndefined();
    await clock.advance(600);
    await done;
    expect(ended).toBe(text);
    await member.stop();
    expect(clock.pending.all).toBe(0);
  });

  it.each(cases)('%s ends by its signal', async (_name, call) => {
    const clock = new VirtualClock();
    const member = await alone(clock);
    const controller = new AbortController();
    const done = refusalOf(call(member, controller.signal));
    await clock.advance(1_000);
    controller.abort();
    expect(await done).toBe('context canceled');
    await member.stop();
    expect(clock.pending.all).toBe(0);
  });

  it('the member is not ready, and says so when it ends', async () => {
    const clock = new VirtualClock();
    const member = await alone(clock);
    const ready = refusalOf(member.ready);
    await clock.advance(30_000);
    expect(member.position.leader).toBe(0n);
    const renewed = refusalOf(member.renewLease(1n));
    await clock.settle();
    await member.stop();
    // At once: no time has passed.
    expect(await renewed).toBe('etcdserver: server stopped');
    expect(await ready).toBe('etcdserver: server stopped');
  });
});

describe('a request', () => {
  it('that is too large is refused before it is in the log', async () => {
    const clock = new VirtualClock();
    await using member = await startMember(clock, undefined, { maxRequestBytes: 1_000 });
    const { committed } = member.position;
    expect(await refusalOf(put(member, 'a', 'x'.repeat(1_000)))).toBe('etcdserver: request is too large');
    await put(member, 'a', 'x'.repeat(900));
    expect(member.position.committed).toBe(committed + 1);
  });

  it('that does not fit raises the alarm, after which nothing is put', async () => {
    const clock = new VirtualClock();
    await using member = await startMember(clock, undefined, { quotaBytes: 256 * 1024 });
    const big = 'x'.repeat(50_000);
    for (let i = 0; i < 4; i++) await put(member, `k${i}`, big);
    expect(await refusalOf(put(member, 'more', big))).toBe('etcdserver: mvcc: database space exceeded');
    await clock.settle();
    expect(member.state.alarms.list()).toEqual([{ memberID: member.id, alarm: 1 }]);
    expect(await refusalOf(put(member, 'small', '1'))).toBe('etcdserver: mvcc: database space exceeded');
    expect(valueAt(member, 'small')).toBeUndefined();
  });
});

describe('a request in the log that gets no result in time', () => {
  const members = new Membership();
  for (const id of [1n, 2n, 3n]) {
    const member = { id, name: '', peerUrls: [`http://m${id}`], clientUrls: [], isLearner: false };
    members.change({ type: 'add-voter', nodeId: id as never }, { member, isPromote: false });
  }
  const lost = 'etcdserver: request timed out, possibly due to connection lost';
  const failed = 'etcdserver: request timed out, possibly due to previous leader failure';
  const plain = 'etcdserver: request timed out';

  // It began at 10,000; an election takes 1,000.
  it.each([
    ['while there was a leader', 1n, 0, [[2n, 0]], plain],
    ['while the leader had no quorum', 1n, 0, [[2n, 10_001]], lost],
    ['while the leader was there', 2n, 0, [[2n, 9_000]], plain],
    ['while the leader was not to be reached', 2n, 0, [], lost],
    ['under a leader who was lost', 2n, 11_500, [[2n, 0]], failed],
    ['long before there was another leader', 2n, 12_500, [[2n, 0]], plain],
    ['and nobody leads', 0n, 0, [], plain],
  ] as const)('%s', (_name, leading, electedAt, connected, text) => {
    const since = new Map<bigint, number>(connected);
    const peers = { connectedSince: (id: bigint) => since.get(id) };
    const view = { id: 1n, electionMs: 1_000, leader: { leader: leading, electedAt }, members, peers };
    expect(timeoutRefusal(view, 10_000).text).toBe(text);
  });
});

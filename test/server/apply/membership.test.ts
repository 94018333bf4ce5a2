import { describe, expect, it } from 'vitest';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { ApplyError } from '../../../src/server/apply/errors.ts';
import { Membership } from '../../../src/server/apply/membership.ts';
import {
  type ConfChange,
  type ConfChangeV1,
  confChangeEntry,
  LEAVE_JOINT,
} from '../../../src/server/raft/conf-change.ts';
import { NONE } from '../../../src/server/raft/types.ts';
import { Bench, saidOf } from './support.ts';

const BIG = 0xfedc_ba98_7654_3211n;

/** One voter, `BIG`, and one learner, 2. */
function cluster(): Bench {
  const bench = new Bench({ memberId: 2n });
  bench.change('add-voter', { id: BIG, name: 'one', peerUrls: ['p1'], clientUrls: ['c1'] });
  bench.change('add-learner', { id: 2n, peerUrls: ['p2'] });
  return bench;
}

function applied(bench: Bench, ...change: Parameters<Bench['change']>): [said: string, raftNode: bigint] {
  const { outcome, confChange } = bench.change(...change);
  return [saidOf(outcome), (confChange as ConfChangeV1).nodeId];
}

describe('a change of the configuration', () => {
  it('adds members, told by their whole ids in order', () => {
    const bench = cluster();
    const { requestId, outcome, confChange } = bench.change('add-voter', { id: 1n, peerUrls: ['p3', 'p4'] });
    const member = { name: '', clientUrls: [], isLearner: false };
    const members = [
      { ...member, id: 1n, peerUrls: ['p3', 'p4'] },
      { ...member, id: 2n, peerUrls: ['p2'], isLearner: true },
      { ...member, id: BIG, name: 'one', peerUrls: ['p1'], clientUrls: ['c1'] },
    ];
    expect([requestId, outcome]).toEqual([7n, { type: 'members', members }]);
    expect(confChange).toMatchObject({ type: 'add-voter', nodeId: 1n });
    expect(bench.machine.rows().confState).toMatchObject({ voters: [1n, BIG], learners: [2n] });
  });

  it('is void for raft when it is refused', () => {
    const bench = cluster();
    const before = bench.machine.members.list();
    const refusals: readonly (readonly [...Parameters<Bench['change']>, text: string])[] = [
      ['add-voter', { id: BIG, peerUrls: ['p9'] }, false, 'member ID already exist'],
      ['add-voter', { id: 3n, peerUrls: ['p9', 'p2'] }, false, 'Peer URLs already exists'],
      ['add-learner', { id: 3n, peerUrls: ['p9'] }, false, 'too many learner members in cluster'],
      ['add-voter', { id: 3n }, true, 'member not found'],
      ['add-voter', { id: BIG }, true, 'can only promote a learner member'],
      ['add-learner', { id: 2n }, true, 'member ID already exist'],
      ['remove', { id: 3n }, false, 'member not found'],
      ['update', { id: 3n, peerUrls: ['p9'] }, false, 'member not found'],
      ['update', { id: 2n, peerUrls: ['p1'] }, false, 'Peer URLs already exists'],
    ];
    for (const [type, member, isPromote, text] of refusals) {
      expect([text, ...applied(bench, type, member, isPromote)]).toEqual([text, `etcdserver: ${text}`, NONE]);
    }
    expect(bench.machine.members.list()).toEqual(before);
  });

  it('promotes a learner, and then another one may join', () => {
    const bench = cluster();
    expect(applied(bench, 'add-voter', { id: 2n }, true)).toEqual(['members', 2n]);
    expect(bench.machine.members.get(2n)).toMatchObject({ isLearner: false, peerUrls: ['p2'] });
    expect(applied(bench, 'add-learner', { id: 3n, peerUrls: ['p3'] })).toEqual(['members', 3n]);
  });

  it('takes as many learners as it was told', () => {
    const add = (members: Membership, id: bigint): unknown => {
      const member = { id, name: '', peerUrls: [`p${id}`], clientUrls: [], isLearner: true };
      return members.change({ type: 'add-learner', nodeId: id as MemberId }, { member, isPromote: false });
    };
    for (const most of [0, 1, 3]) {
      const members = new Membership(most);
      for (let id = 1n; id <= most; id++) expect(add(members, id)).toBeUndefined();
      expect(add(members, 9n)).toMatchObject({ text: 'etcdserver: too many learner members in cluster' });
    }
  });

  it('updates addresses, and leaves a learner a learner', () => {
    const bench = cluster();
    expect(applied(bench, 'update', { id: 2n, peerUrls: ['p2', 'p5'] })).toEqual(['members', 2n]);
    expect(bench.machine.members.get(2n)).toMatchObject({ isLearner: true, peerUrls: ['p2', 'p5'] });
    bench.change('update', { id: BIG, peerUrls: ['p6'] });
    expect(bench.machine.members.get(BIG)).toMatchObject({ name: 'one', clientUrls: ['c1'], peerUrls: ['p6'] });
  });

  it('removes for good, and tells the one that it is about', () => {
    const bench = cluster();
    bench.change('add-voter', { id: 3n, peerUrls: ['p3'] });
    expect(bench.change('remove', { id: 3n }).removedSelf).toBe(false);
    const last = bench.change('remove', { id: 2n });
    expect([last.removedSelf, saidOf(last.outcome)]).toEqual([true, 'members']);
    expect(bench.change('remove', { id: 2n }).removedSelf).toBe(false);
    expect(applied(bench, 'remove', { id: 2n })).toEqual(['etcdserver: member not found', NONE]);
    expect(applied(bench, 'add-voter', { id: 2n, peerUrls: ['p2'] })).toEqual(['etcdserver: member not found', NONE]);
    expect([bench.machine.members.wasRemoved(2n), bench.machine.members.wasRemoved(BIG)]).toEqual([true, false]);
    expect(bench.machine.rows().removedMembers).toEqual([2n, 3n]);
    // Its addresses are free again.
    expect(applied(bench, 'add-voter', { id: 4n, peerUrls: ['p2'] })).toEqual(['members', 4n]);
  });

  it('may come in the second form, if it is of one member, or the way out of a joint configuration', () => {
    const bench = cluster();
    const v2 = (change: ConfChange) => {
      const { data, type } = confChangeEntry(change);
      return bench.raw(data, type);
    };
    const remove = (nodeId: bigint) => ({ type: 'remove' as const, nodeId: nodeId as MemberId });
    const context = new Uint8Array();
    expect(v2(LEAVE_JOINT)).toMatchObject({ requestId: 0n, outcome: { type: 'members' }, confChange: { changes: [] } });
    expect(v2({ transition: 'auto', changes: [remove(9n)], context })).toMatchObject({
      outcome: { type: 'refused' },
      confChange: { changes: [{ nodeId: NONE }] },
    });
    expect(v2({ transition: 'auto', changes: [remove(2n)], context }).removedSelf).toBe(true);
    expect(() => v2({ transition: 'auto', changes: [remove(1n), remove(2n)], context })).toThrow(ApplyError);
    expect(() => v2({ transition: 'implicit', changes: [remove(1n)], context })).toThrow(/several/);
  });

  it('of nobody does nothing, and one without a context is refused', () => {
    const bench = cluster();
    expect(applied(bench, 'remove', { id: NONE })).toEqual(['members', NONE]);
    for (const context of ['', 'no JSON', '[]', '{"peerURLs":"p"}']) {
      const change = { type: 'add-voter', nodeId: 5n as MemberId, id: 1n, context: Buffer.from(context) } as const;
      const { data, type } = confChangeEntry(change);
      expect(saidOf(bench.raw(data, type).outcome)).toBe('etcdserver: given member URLs are invalid');
    }
  });

  it('that can not be read stops the member', () => {
    expect(() => new Bench().raw(Buffer.from([0xff]), 'EntryConfChange')).toThrow(ApplyError);
    // A kind of change that nobody knows.
    expect(() => new Bench().raw(Buffer.from([0x08, 0x01, 0x10, 0x09]), 'EntryConfChange')).toThrow(ApplyError);
  });

  it('is read as etcd writes it', () => {
    const bench = new Bench();
    const text = `{"id":${BIG},"peerURLs":["http://a:1"],"isLearner":true,"name":"a","isPromote":false}`;
    const { data, type } = confChangeEntry({
      type: 'add-learner',
      nodeId: BIG as MemberId,
      id: 1n,
      context: Buffer.from(text),
    });
    bench.raw(data, type);
    const [member] = bench.machine.members.list();
    expect(member).toEqual({ id: BIG, name: 'a', peerUrls: ['http://a:1'], clientUrls: [], isLearner: true });
  });
});

describe('the cluster', () => {
  it('has a version, a downgrade, and members that say who they are', () => {
    const bench = cluster();
    const { members } = bench.machine;
    expect([members.clusterVersion, members.downgradeTarget]).toEqual([undefined, undefined]);
    bench.do({ clusterVersionSet: { ver: '3.5.0' } });
    bench.do({ downgradeInfoSet: { enabled: true, ver: '3.4.0' } });
    expect([members.clusterVersion, members.downgradeTarget]).toEqual(['3.5.0', '3.4.0']);
    bench.do({ downgradeInfoSet: { enabled: false, ver: '3.4.0' } });
    expect(members.downgradeTarget).toBeUndefined();
    const attributes = (memberID: bigint) => ({
      clusterMemberAttrSet: { memberID, memberAttributes: { name: 'two', clientUrls: ['c2', 'c3'] } },
    });
    expect([2n, 77n].map((id) => bench.say(attributes(id)))).toEqual(['cluster-change', 'cluster-change']);
    expect(members.get(2n)).toMatchObject({ name: 'two', clientUrls: ['c2', 'c3'], isLearner: true, peerUrls: ['p2'] });
    expect(members.get(77n)).toBeUndefined();
  });
});

/**
 * Linearizable reads without an entry in the log, in clusters.
 *
 * The scenarios are those of etcd's `raft_test.go`, whose names are in brackets; other titles name the issue that a
 * rule comes from.
 */
import { describe, expect, it } from 'vitest';
import { step, tick } from '../../../src/server/raft/step.ts';
import { type Message, NONE, proposal, type ReadState } from '../../../src/server/raft/types.ts';
import {
  beat,
  bytes,
  DRIVERS,
  hup,
  id,
  log,
  type MemberOptions,
  msg,
  Network,
  NodeMember,
  newCluster,
  newLeader,
  newMember,
  newRaft,
  propose,
  take,
} from './support.ts';

function ask(n: number, context: string): Message {
  return msg(n, n, 'MsgReadIndex', { entries: [proposal(bytes(context))] });
}

/** The reads that a member may serve, taken out: index and context of each. */
function readsOf(network: Network, n: number): [number, string][] {
  const member = network.member(n);
  const states: ReadState[] = member instanceof NodeMember ? member.readStates : member.raft.readStates;
  return states.splice(0).map(({ index, context }) => [index, new TextDecoder().decode(context)]);
}

function proposeMany(network: Network, count: number): void {
  for (let nth = 0; nth < count; nth += 1) network.send(propose(1));
}

/** Each member asks in turn, after ten more entries; twice around. */
function askAround(network: Network, members: readonly number[]): void {
  let committed = 1;
  for (const [round, n] of [...members, ...members].entries()) {
    proposeMany(network, 10);
    committed += 10;
    network.send(ask(n, `read ${round}`));
    expect(network.raft(n).log.committed).toBe(committed);
    expect(readsOf(network, n)).toEqual([[committed, `read ${round}`]]);
  }
}

describe.each(DRIVERS)('A read, driver %s', (driver) => {
  it('is answered to whoever asks, with the commit index of the leader (ReadOnlyOptionSafe)', () => {
    const network = newCluster(driver, 3);
    network.send(hup(1));
    askAround(network, [1, 2, 3]);
  });

  it('is answered to learners (ReadOnlyWithLearner)', () => {
    const options: MemberOptions = { voters: [1], learners: [2] };
    const network = new Network([newMember(driver, 1, options), newMember(driver, 2, options)]);
    network.send(hup(1));
    askAround(network, [1, 2]);
  });

  it('needs no heartbeats with a lease (ReadOnlyOptionLease)', () => {
    const network = newCluster(driver, 3, { reads: 'lease', checkQuorum: true });
    network.send(hup(1));
    network.delivered = [];
    askAround(network, [1, 2, 3]);
    expect(network.delivered.some(({ type }) => type === 'MsgHeartbeat')).toBe(false);
  });

  it('of a leader waits for a quorum, also when it is cut off from it', () => {
    const network = newCluster(driver, 3);
    network.send(hup(1));
    network.isolate(1);
    network.send(ask(1, 'cut off'));
    expect(readsOf(network, 1)).toEqual([]);
    network.recover();
    network.send(beat(1));
    expect(readsOf(network, 1)).toEqual([[1, 'cut off']]);
  });

  it('is not confirmed by learners', () => {
    const options: MemberOptions = { voters: [1, 2, 3], learners: [4, 5] };
    const network = new Network([1, 2, 3, 4, 5].map((n) => newMember(driver, n, options)));
    network.send(hup(1));
    for (const n of [2, 3]) network.cut(1, n);
    network.send(ask(1, 'by learners'));
    expect(network.delivered.filter(({ type, from }) => type === 'MsgHeartbeatResp' && from >= id(4))).toHaveLength(2);
    expect(readsOf(network, 1)).toEqual([]);
  });

  it('waits until an entry of the leader’s own term is committed (ReadOnlyForNewLeader, etcd issue 12680)', () => {
    const commits = [1, 2, 2];
    const members = commits.map((commit, at) => {
      const hardState = { term: 1, vote: NONE, commit };
      return newMember(driver, at + 1, { voters: [1, 2, 3], entries: log(1, 1), hardState });
    });
    const network = new Network(members);
    // The new leader does not know yet what is committed, and can't find out.
    network.ignore('MsgApp');
    network.send(hup(1));
    const raft = network.raft(1);
    expect(raft).toMatchObject({ role: 'StateLeader', term: 2, log: { committed: 1 } });
    network.send(beat(1));
    network.send(ask(1, 'early'));
    network.send(ask(2, 'early too'));
    network.send(beat(1));
    expect([1, 2].flatMap((n) => readsOf(network, n))).toEqual([]);
    network.recover();
    tick(raft);
    network.settle();
    expect(raft.log.committed).toBe(3);
    expect(readsOf(network, 1)).toEqual([[3, 'early']]);
    expect(readsOf(network, 2)).toEqual([[3, 'early too']]);
    network.send(propose(1));
    network.send(ask(1, 'later'));
    expect(readsOf(network, 1)).toEqual([[4, 'later']]);
  });

  it('asked for again with the same context is not confirmed by late answers (ReadOnlyDuplicateRequest, etcd issue 20418)', () => {
    const network = newCluster(driver, 3);
    network.send(hup(1));
    // 2 confirms the first read. What 3 answers to the same heartbeat is on its way for long.
    network.hold = ({ type, from }) => type === 'MsgHeartbeatResp' && from === id(3);
    network.send(ask(1, 'same'));
    expect(readsOf(network, 1)).toEqual([[1, 'same']]);
    expect(network.held).toHaveLength(1);
    network.hold = undefined;
    // 1 does not hear that others go on under a new leader.
    network.isolate(1);
    network.send(hup(2));
    network.send(propose(2, 'new'));
    expect(network.raft(2)).toMatchObject({ role: 'StateLeader', log: { committed: 3 } });
    expect(network.raft(1)).toMatchObject({ role: 'StateLeader', term: 1, log: { committed: 1 } });
    network.send(ask(1, 'same'));
    network.letGo();
    expect(readsOf(network, 1)).toEqual([]);
    network.recover();
    network.send(beat(2));
    expect(network.raft(1).role).toBe('StateFollower');
    expect(readsOf(network, 1)).toEqual([]);
    network.send(ask(1, 'same'));
    expect(readsOf(network, 1)).toEqual([[3, 'same']]);
  });

  it('two with one context, before an answer to either, are confirmed each by its own heartbeat (etcd issue 21399)', () => {
    const network = newCluster(driver, 3);
    network.send(hup(1));
    network.hold = ({ type }) => type === 'MsgHeartbeatResp';
    network.send(ask(1, 'same'));
    network.send(propose(1));
    network.send(ask(1, 'same'));
    const [first, other, ...later] = network.held;
    network.held = [];
    network.hold = undefined;
    network.send(first as Message, other as Message);
    expect(readsOf(network, 1)).toEqual([[1, 'same']]);
    network.send(...later);
    expect(readsOf(network, 1)).toEqual([[2, 'same']]);
  });

  it('is lost when the leader changes: who asked asks again', () => {
    const network = newCluster(driver, 3);
    network.send(hup(1));
    network.hold = ({ type }) => type === 'MsgHeartbeatResp';
    network.send(ask(1, 'lost'), ask(3, 'lost too'));
    network.send(hup(2));
    network.letGo();
    network.send(beat(2));
    network.send(hup(1));
    network.send(beat(1));
    expect([1, 2, 3].flatMap((n) => readsOf(network, n))).toEqual([]);
    network.send(ask(3, 'again'));
    expect(readsOf(network, 3)).toEqual([[3, 'again']]);
  });

  it('that was postponed is lost with the term too', () => {
    const network = newCluster(driver, 3);
    network.ignore('MsgApp');
    network.send(hup(1));
    network.send(ask(1, 'lost'));
    network.send(hup(2));
    network.recover();
    network.send(hup(1));
    network.send(beat(1));
    expect(network.raft(1)).toMatchObject({ role: 'StateLeader', term: 3, log: { committed: 2 } });
    expect(readsOf(network, 1)).toEqual([]);
  });
});

describe('Memory of reads', () => {
  it('is free again when they are answered (RaftFreesReadOnlyMem)', () => {
    const raft = newLeader(1, { voters: [1, 2], electionTicks: 5 });
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 1 }));
    take(raft);
    step(raft, { ...ask(2, 'ctx'), to: id(1) });
    const heartbeats = take(raft);
    expect(heartbeats).toMatchObject([{ type: 'MsgHeartbeat', to: id(2), context: { length: 8 } }]);
    expect(raft.reads.size).toBe(1);
    const { context } = heartbeats[0] as Message;
    step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: 1, context }));
    expect(raft.reads.size).toBe(0);
    expect(take(raft)).toEqual([
      msg(1, 2, 'MsgReadIndexResp', { term: 1, index: 1, entries: [proposal(bytes('ctx'))] }),
    ]);
    step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: 1, context }));
    expect(take(raft)).toEqual([]);
  });

  it('is free again when the leader loses its office', () => {
    const raft = newLeader(1, { voters: [1, 2, 3] });
    step(raft, ask(1, 'postponed'));
    expect(raft.postponedReads).toHaveLength(1);
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 1 }));
    take(raft);
    step(raft, ask(1, 'waits'));
    expect(raft.postponedReads).toHaveLength(0);
    expect(raft.reads.size).toBe(2);
    step(raft, msg(2, 1, 'MsgHeartbeat', { term: 2 }));
    expect(raft.reads.size).toBe(0);
    expect(raft.readStates).toEqual([]);
  });
});

describe('A follower', () => {
  it('hands a read to its leader, and serves it where the answer says', () => {
    const raft = newRaft(2, { voters: [1, 2, 3] });
    step(raft, ask(2, 'too early'));
    expect(take(raft)).toEqual([]);
    raft.becomeFollower(1, id(1));
    step(raft, ask(2, 'read'));
    expect(take(raft)).toEqual([msg(2, 1, 'MsgReadIndex', { entries: [proposal(bytes('read'))] })]);
    step(raft, msg(1, 2, 'MsgReadIndexResp', { term: 1, index: 7, entries: [proposal(bytes('read'))] }));
    expect(raft.readStates).toEqual([{ index: 7, context: bytes('read') }]);
  });

  it('does not take an answer of an earlier term', () => {
    const raft = newRaft(2, { voters: [1, 2, 3] });
    raft.becomeFollower(2, id(3));
    step(raft, msg(1, 2, 'MsgReadIndexResp', { term: 1, index: 7, entries: [proposal(bytes('read'))] }));
    expect(raft.readStates).toEqual([]);
  });
});

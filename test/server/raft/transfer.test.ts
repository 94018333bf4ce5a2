/**
 * Handing the leadership over.
 *
 * The scenarios are those of etcd's `raft_test.go`, whose names are in brackets.
 */
import { describe, expect, it } from 'vitest';
import { asV2, type ConfChangeType } from '../../../src/server/raft/conf-change.ts';
import { applyConfChange } from '../../../src/server/raft/membership.ts';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { step, tick } from '../../../src/server/raft/step.ts';
import type { Progress } from '../../../src/server/raft/tracker/progress.ts';
import { CAMPAIGN_TRANSFER, type Message, NONE } from '../../../src/server/raft/types.ts';
import {
  bytes,
  confState,
  DRIVERS,
  type Driver,
  hup,
  id,
  ids,
  type MemberOptions,
  msg,
  Network,
  newCluster,
  newLeader,
  newMember,
  newRaft,
  propose,
  take,
} from './support.ts';

/** Asks `at` to have the leadership handed over to `to`. */
function handOver(to: number, at = 1): Message {
  return msg(to, at, 'MsgTransferLeader');
}

/** A cluster that 1 leads. */
function led(driver: Driver, options: MemberOptions = {}): Network {
  const network = newCluster(driver, 3, options);
  network.send(hup(1));
  expect(network.raft(1)).toMatchObject({ role: 'StateLeader', transferee: NONE });
  return network;
}

/** A cluster whose leader tries to hand over to 3, who can't hear it. */
function handingOver(driver: Driver, options: MemberOptions = {}): Network {
  const network = led(driver, options);
  network.isolate(3);
  network.send(handOver(3));
  expect(network.raft(1)).toMatchObject({ role: 'StateLeader', transferee: id(3) });
  return network;
}

function ticks(raft: Raft, count: number): void {
  for (let passed = 0; passed < count; passed += 1) tick(raft);
}

function expectLeader(network: Network, n: number): void {
  for (const other of [1, 2, 3]) {
    expect(network.raft(other)).toMatchObject({
      role: other === n ? 'StateLeader' : 'StateFollower',
      lead: id(n),
      transferee: NONE,
    });
  }
}

function changeAt(raft: Raft, type: ConfChangeType, n: number): void {
  applyConfChange(raft, asV2({ type, nodeId: id(n), id: 0n, context: bytes('') }));
}

function progressOf(raft: Raft, n: number): Progress {
  return raft.tracker.progress.get(id(n)) as Progress;
}

describe.each(DRIVERS)('Handing over, driver %s', (driver) => {
  it('takes effect at once with who has the whole log (LeaderTransferToUpToDateNode)', () => {
    const network = led(driver);
    network.send(handOver(2));
    expectLeader(network, 2);
    network.send(propose(1));
    network.send(handOver(1, 2));
    expectLeader(network, 1);
    expect(network.raft(1).term).toBe(3);
  });

  it('may be asked of a follower, which passes it on (LeaderTransferToUpToDateNodeFromFollower)', () => {
    const network = led(driver);
    network.send(handOver(2, 2));
    expectLeader(network, 2);
    network.send(propose(1));
    network.send(handOver(1, 3));
    expectLeader(network, 1);
  });

  it.each([false, true])('overcomes the leader’s lease, pre-vote %s (LeaderTransferWithCheckQuorum)', (preVote) => {
    const network = led(driver, { checkQuorum: true, preVote });
    for (const n of [2, 3]) expect(network.raft(n).lead).toBe(id(1));
    network.delivered = [];
    network.send(handOver(2));
    expectLeader(network, 2);
    // No pre-votes, and votes that say who asked for them.
    const votes = network.delivered.filter(({ type }) => type === 'MsgVote' || type === 'MsgPreVote');
    expect(votes.map(({ type, to, context }) => [type, to, context])).toEqual([
      ['MsgVote', id(1), CAMPAIGN_TRANSFER],
      ['MsgVote', id(3), CAMPAIGN_TRANSFER],
    ]);
    network.send(propose(1));
    network.send(handOver(1, 2));
    expectLeader(network, 1);
  });

  it('to who lags catches it up first (LeaderTransferToSlowFollower)', () => {
    const network = led(driver);
    network.isolate(3);
    network.send(propose(1));
    network.recover();
    expect(progressOf(network.raft(1), 3).match).toBe(1);
    network.delivered = [];
    network.send(handOver(3));
    expectLeader(network, 3);
    const kinds = network.delivered.filter(({ to }) => to === id(3)).map(({ type }) => type);
    expect(kinds.slice(0, 2)).toEqual(['MsgApp', 'MsgApp']);
    expect(kinds.indexOf('MsgTimeoutNow')).toBeGreaterThan(1);
    expect(network.raft(3).log.committed).toBe(3);
  });

  it('to oneself does nothing (LeaderTransferToSelf)', () => {
    const network = led(driver);
    network.send(handOver(1));
    expectLeader(network, 1);
    expect(network.member(1).step(propose(1))).toBeUndefined();
  });

  it('to who is no member does nothing (LeaderTransferToNonExistingNode)', () => {
    const network = led(driver);
    network.send(handOver(4));
    expectLeader(network, 1);
    expect(network.member(1).step(propose(1))).toBeUndefined();
  });

  it('to a learner does nothing', () => {
    const options: MemberOptions = { voters: [1], learners: [2] };
    const network = new Network([newMember(driver, 1, options), newMember(driver, 2, options)]);
    network.send(hup(1));
    network.send(handOver(2));
    expect(network.raft(1)).toMatchObject({ role: 'StateLeader', transferee: NONE });
    expect(network.delivered.some(({ type }) => type === 'MsgTimeoutNow')).toBe(false);
  });

  it('is given up after an election timeout (LeaderTransferTimeout)', () => {
    const network = handingOver(driver);
    const raft = network.raft(1);
    ticks(raft, raft.config.heartbeatTicks);
    expect(raft.transferee).toBe(id(3));
    ticks(raft, raft.config.electionTicks - raft.config.heartbeatTicks - 1);
    expect(raft.transferee).toBe(id(3));
    tick(raft);
    expect(raft).toMatchObject({ role: 'StateLeader', transferee: NONE });
  });

  it('has the whole timeout, whenever it begins', () => {
    const network = led(driver);
    const raft = network.raft(1);
    ticks(raft, raft.config.electionTicks - 1);
    network.isolate(3);
    network.send(handOver(3));
    ticks(raft, raft.config.electionTicks - 1);
    expect(raft.transferee).toBe(id(3));
    tick(raft);
    expect(raft.transferee).toBe(NONE);
  });

  it('takes no proposals meanwhile (LeaderTransferIgnoreProposal)', () => {
    const network = handingOver(driver);
    const raft = network.raft(1);
    const last = raft.log.lastIndex();
    expect(network.member(1).step(propose(1, 'dropped'))).toBe('proposal-dropped');
    network.settle();
    expect(raft.log.lastIndex()).toBe(last);
    expect(progressOf(raft, 2).match).toBe(last);
    // And takes them again when it was given up.
    ticks(raft, raft.config.electionTicks);
    expect(network.member(1).step(propose(1, 'taken'))).toBeUndefined();
  });

  it('ends when a later term comes (LeaderTransferReceiveHigherTermVote)', () => {
    const network = handingOver(driver);
    network.send(hup(2));
    expect(network.raft(2)).toMatchObject({ role: 'StateLeader', term: 2 });
    expect(network.raft(1)).toMatchObject({ role: 'StateFollower', lead: id(2), transferee: NONE });
  });

  it.each<[string, ConfChangeType]>([
    ['LeaderTransferRemoveNode', 'remove'],
    ['LeaderTransferDemoteNode', 'add-learner'],
  ])('is given up when the successor is no voter any more (%s)', (_, type) => {
    const network = led(driver);
    network.ignore('MsgTimeoutNow');
    network.send(handOver(3));
    const raft = network.raft(1);
    expect(raft.transferee).toBe(id(3));
    changeAt(raft, type, 3);
    expect(raft).toMatchObject({ role: 'StateLeader', transferee: NONE });
    expect(step(raft, propose(1))).toBeUndefined();
  });

  it('goes on when somebody else is removed', () => {
    const network = handingOver(driver);
    changeAt(network.raft(1), 'remove', 2);
    expect(network.raft(1).transferee).toBe(id(3));
  });

  it('to oneself takes back what was begun (LeaderTransferBack)', () => {
    const network = handingOver(driver);
    network.send(handOver(1));
    expect(network.raft(1)).toMatchObject({ role: 'StateLeader', transferee: NONE });
    expect(network.member(1).step(propose(1))).toBeUndefined();
  });

  it('to another one takes the place of the first (LeaderTransferSecondTransferToAnotherNode)', () => {
    const network = handingOver(driver);
    network.send(handOver(2));
    expect(network.raft(2)).toMatchObject({ role: 'StateLeader', term: 2 });
    expect(network.raft(1)).toMatchObject({ role: 'StateFollower', lead: id(2), transferee: NONE });
  });

  it('to the same one again gives it no more time (LeaderTransferSecondTransferToSameNode)', () => {
    const network = handingOver(driver);
    const raft = network.raft(1);
    const { electionTicks, heartbeatTicks } = raft.config;
    ticks(raft, heartbeatTicks);
    network.send(handOver(3));
    ticks(raft, electionTicks - heartbeatTicks - 1);
    expect(raft.transferee).toBe(id(3));
    tick(raft);
    expect(raft).toMatchObject({ role: 'StateLeader', transferee: NONE });
  });
});

describe.each<Driver>(['ready', 'async'])('Handing over to who needs a snapshot, driver %s', (driver) => {
  it('waits until it has it (LeaderTransferAfterSnapshot)', () => {
    const network = led(driver);
    network.isolate(3);
    network.send(propose(1));
    const raft = network.raft(1);
    const { storage } = network.node(1);
    const { applied } = raft.log;
    storage.createSnapshot(applied, confState({ voters: ids(1, 2, 3) }), bytes('image'));
    storage.compact(applied);
    network.recover();
    expect(progressOf(raft, 3).match).toBe(1);
    // The answer to the snapshot is on its way for long.
    network.hold = ({ type, from, reject }) => type === 'MsgAppResp' && from === id(3) && !reject;
    network.send(handOver(3));
    expect(raft).toMatchObject({ role: 'StateLeader', transferee: id(3) });
    expect(network.delivered.filter(({ type }) => type === 'MsgSnap')).toHaveLength(1);
    expect(network.raft(3).log.applied).toBe(applied);
    // Heartbeats don't end it.
    network.send(msg(3, 1, 'MsgHeartbeatResp', { term: 1 }));
    expect(raft).toMatchObject({ role: 'StateLeader', transferee: id(3) });
    network.letGo();
    expectLeader(network, 3);
  });
});

describe('A follower', () => {
  it('passes on what it is asked for, and drops it if it knows no leader', () => {
    const raft = newRaft(2, { voters: [1, 2, 3] });
    step(raft, handOver(3, 2));
    expect(take(raft)).toEqual([]);
    raft.becomeFollower(1, id(1));
    step(raft, handOver(3, 2));
    expect(take(raft)).toEqual([msg(3, 1, 'MsgTransferLeader', { term: 1 })]);
  });
});

describe('A leader', () => {
  it('tells its successor only when that has all of the log, not with each answer', () => {
    const raft = newLeader(1, { voters: [1, 2, 3] });
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 1 }));
    for (const text of ['a', 'b']) step(raft, propose(1, text));
    take(raft);
    step(raft, handOver(2));
    expect(take(raft).filter(({ type }) => type === 'MsgTimeoutNow')).toEqual([]);
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 2 }));
    expect(take(raft).filter(({ type }) => type === 'MsgTimeoutNow')).toEqual([]);
    // Others don't matter.
    step(raft, msg(3, 1, 'MsgAppResp', { term: 1, index: 3 }));
    expect(take(raft).filter(({ type }) => type === 'MsgTimeoutNow')).toEqual([]);
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 3 }));
    expect(take(raft).filter(({ type }) => type === 'MsgTimeoutNow')).toEqual([
      msg(1, 2, 'MsgTimeoutNow', { term: 1 }),
    ]);
  });
});

/**
 * Changes of configuration, as leaders take them and as members live through them.
 *
 * The scenarios are those of etcd's `raft_test.go`, whose names are in brackets; other titles name the issue that a
 * rule comes from. The forms of changes and the ways into and out of joint configurations are in
 * `conf-change-proposals.test.ts`.
 */
import { describe, expect, it } from 'vitest';
import {
  asV2,
  type ConfChange,
  type ConfChangeType,
  confChangeEntry,
  LEAVE_JOINT,
  readConfChange,
} from '../../../src/server/raft/conf-change.ts';
import { ConfChangeError } from '../../../src/server/raft/errors.ts';
import { applyConfChange } from '../../../src/server/raft/membership.ts';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { step, tick } from '../../../src/server/raft/step.ts';
import { confStateOf } from '../../../src/server/raft/tracker/configuration.ts';
import { type ConfState, type Entry, NONE, proposal, type Role } from '../../../src/server/raft/types.ts';
import { changes } from './confchange/changes.ts';
import {
  applyCommitted,
  beat,
  bytes,
  confState,
  type Driver,
  hup,
  id,
  ids,
  log,
  logOf,
  type MemberOptions,
  msg,
  Network,
  newCluster,
  newLeader,
  newMember,
  newRaft,
  propose,
  settle,
  take,
} from './support.ts';

/** Drivers that apply what is committed. */
const APPLYING: readonly Driver[] = ['ready', 'async'];

function single(type: ConfChangeType, n: number): ConfChange {
  return { type, nodeId: id(n), id: 0n, context: bytes('') };
}

function several(text: string, transition: 'auto' | 'implicit' | 'explicit' = 'auto'): ConfChange {
  return { transition, changes: changes(text), context: bytes('') };
}

/** A proposal of changes, and perhaps other entries, in one message. */
function proposeChanges(n: number, ...proposed: (ConfChange | Entry)[]) {
  const entries = proposed.map((one) => ('term' in one ? one : confChangeEntry(one)));
  return msg(n, n, 'MsgProp', { entries });
}

function apply(raft: Raft, change: ConfChange): ConfState {
  return applyConfChange(raft, asV2(change));
}

function ticks(raft: Raft, count: number): void {
  for (let passed = 0; passed < count; passed += 1) tick(raft);
}

function configurationOf(raft: Raft): ConfState {
  return confStateOf(raft.tracker.configuration);
}

describe('A leader that is asked for a change', () => {
  const [V1, V2] = [single('add-voter', 3), several('v3')];

  it.each([
    ['first form', V1],
    ['second form', V2],
  ])('notes where it is in the log, %s (StepConfig)', (_, change) => {
    const raft = newLeader(1, { voters: [1, 2] });
    const last = raft.log.lastIndex();
    expect(step(raft, proposeChanges(1, change))).toBeUndefined();
    expect(raft.log.lastIndex()).toBe(last + 1);
    expect(raft.pendingConfIndex).toBe(last + 1);
  });

  it.each([
    ['first form', V1],
    ['second form', V2],
  ])('puts an empty entry in the place of a second one, %s (StepIgnoreConfig)', (_, change) => {
    const raft = newLeader(1, { voters: [1, 2] });
    step(raft, proposeChanges(1, change));
    const { pendingConfIndex } = raft;
    expect(step(raft, proposeChanges(1, change))).toBeUndefined();
    expect(logOf(raft).slice(1)).toEqual([
      { ...confChangeEntry(change), term: 1, index: 2 },
      { ...proposal(), term: 1, index: 3 },
    ]);
    expect(raft.pendingConfIndex).toBe(pendingConfIndex);
    // Not even where the proposal is: its message is the proposer's.
    const given = proposeChanges(1, change, proposal(bytes('kept')));
    const before = structuredClone(given.entries);
    step(raft, given);
    expect(given.entries).toEqual(before);
    expect(logOf(raft).at(-1)).toMatchObject({ index: 5, data: bytes('kept') });
  });

  it.each([
    [0, 0],
    [1, 1],
    [3, 3],
  ])(
    'having just won, with %i entries in its log, supposes a change up to %i (NewLeaderPendingConfig)',
    (count, pending) => {
      const raft = newLeader(1, { voters: [1, 2], entries: log(...Array<number>(count).fill(1)) });
      expect(raft.pendingConfIndex).toBe(pending);
      const ignored = pending > 0;
      step(raft, proposeChanges(1, V1));
      expect(logOf(raft).at(-1)?.type).toBe(ignored ? 'EntryNormal' : 'EntryConfChange');
    },
  );
});

describe('A change that is applied', () => {
  it('adds a voter (AddNode)', () => {
    const raft = newLeader(1, { voters: [1] });
    expect(apply(raft, single('add-voter', 2))).toEqual(confState({ voters: ids(1, 2) }));
    expect(raft.tracker.voters).toEqual(ids(1, 2));
    expect(raft.tracker.progress.get(id(2))).toMatchObject({ isLearner: false, match: 0, recentActive: true });
  });

  it('adds a learner, makes a voter of it, a learner of a voter, and back (AddLearner)', () => {
    const raft = newRaft(1, { voters: [1] });
    const table: [ConfChange, Partial<ConfState>, self: boolean][] = [
      [single('add-learner', 2), { voters: ids(1), learners: ids(2) }, false],
      [single('add-voter', 2), { voters: ids(1, 2) }, false],
      [single('add-learner', 1), { voters: ids(2), learners: ids(1) }, true],
      [single('add-voter', 1), { voters: ids(1, 2) }, false],
    ];
    for (const [change, wanted, self] of table) {
      expect(apply(raft, change)).toEqual(confState(wanted));
      expect(raft.isLearner).toBe(self);
      const learners = [...raft.tracker.progress].filter(([, { isLearner }]) => isLearner).map(([member]) => member);
      expect(learners).toEqual(wanted.learners ?? []);
    }
  });

  it('does not depose the leader before the newcomer could answer (AddNodeCheckQuorum)', () => {
    const raft = newLeader(1, { voters: [1], checkQuorum: true });
    ticks(raft, raft.config.electionTicks - 1);
    apply(raft, single('add-voter', 2));
    // The look at the quorum that is due now supposes that 2 is there.
    tick(raft);
    expect(raft.role).toBe('StateLeader');
    ticks(raft, raft.config.electionTicks);
    expect(raft.role).toBe('StateFollower');
  });

  it('removes a voter, and not the last one (RemoveNode)', () => {
    const raft = newRaft(1, { voters: [1, 2] });
    expect(apply(raft, single('remove', 2))).toEqual(confState({ voters: ids(1) }));
    expect(() => apply(raft, single('remove', 1))).toThrow(ConfChangeError);
    expect(configurationOf(raft)).toEqual(confState({ voters: ids(1) }));
  });

  it('removes a learner, and not the last voter (RemoveLearner)', () => {
    const raft = newRaft(1, { voters: [1], learners: [2] });
    expect(apply(raft, single('remove', 2))).toEqual(confState({ voters: ids(1) }));
    expect([...raft.tracker.progress.keys()]).toEqual(ids(1));
    expect(() => apply(raft, single('remove', 1))).toThrow('removed all voters');
  });

  it('commits what the smaller quorum has (CommitAfterRemoveNode)', () => {
    const raft = newLeader(1, { voters: [1, 2] });
    const remove = single('remove', 2);
    step(raft, proposeChanges(1, remove));
    take(raft);
    expect(applyCommitted(raft)).toEqual([]);
    step(raft, propose(1, 'hello'));
    take(raft);
    // 2 has the change, and not what comes after it.
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 2 }));
    expect(applyCommitted(raft).map(({ type }) => type)).toEqual(['EntryNormal', 'EntryConfChange']);
    take(raft);
    apply(raft, remove);
    expect(raft.log.committed).toBe(3);
    expect(applyCommitted(raft)).toMatchObject([{ index: 3, data: bytes('hello') }]);
    expect(take(raft)).toEqual([]);
  });

  it('sends what the smaller quorum committed to those who stay', () => {
    const raft = newLeader(1, { voters: [1, 2, 3, 4] });
    for (const n of [2, 3, 4]) step(raft, msg(n, 1, 'MsgAppResp', { term: 1, index: 1 }));
    step(raft, propose(1, 'hello'));
    take(raft);
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 2 }));
    take(raft);
    expect(raft.log.committed).toBe(1);
    apply(raft, single('remove', 4));
    expect(raft.log.committed).toBe(2);
    expect(take(raft)).toMatchObject([2, 3].map((n) => ({ type: 'MsgApp', to: id(n), commit: 2 })));
  });

  it('lets the leader probe a newcomer at once', () => {
    const raft = newLeader(1, { voters: [1] });
    settle(raft);
    take(raft);
    apply(raft, single('add-learner', 2));
    expect(take(raft)).toMatchObject([{ type: 'MsgApp', to: id(2), index: 0, entries: [{ index: 1 }], commit: 1 }]);
  });

  it.each<[string, stepDownOnRemoval: boolean, role: Role, change: ConfChange]>([
    ['removed', true, 'StateFollower', single('remove', 1)],
    ['made a learner', true, 'StateFollower', single('add-learner', 1)],
    ['removed', false, 'StateLeader', single('remove', 1)],
    ['made a learner', false, 'StateLeader', single('add-learner', 1)],
  ])('a leader that is %s, with stepDownOnRemoval %s, is in %s then', (_, stepDownOnRemoval, role, change) => {
    const raft = newLeader(1, { voters: [1, 2, 3], stepDownOnRemoval });
    apply(raft, change);
    expect(raft).toMatchObject({ role, term: 1, lead: role === 'StateLeader' ? id(1) : NONE });
    // One that was removed takes no proposals, whatever it is. A learner that still leads does.
    const takes = role === 'StateLeader' && raft.tracker.progress.has(id(1));
    expect(step(raft, propose(1, 'late'))).toBe(takes ? undefined : 'proposal-dropped');
  });
});

describe('A change that is committed and not applied', () => {
  const ways: [string, (raft: Raft) => void][] = [
    ['when its time is over', (raft) => ticks(raft, raft.electionTimeout)],
    ['when it is told to', (raft) => void step(raft, hup(2))],
    ['when its leader hands over', (raft) => void step(raft, msg(1, 2, 'MsgTimeoutNow', { term: raft.term }))],
  ];
  describe.each([
    ['ConfChangeCheckBeforeCampaign', single('remove', 3)],
    ['ConfChangeV2CheckBeforeCampaign', several('r3')],
    ['a joint one', several('r3 v4')],
  ])('keeps a member from standing for election (%s, etcd issues 12133 and 11284)', (_, change) => {
    describe.each([false, true])('pre-vote %s', (preVote) => {
      it.each(ways)('%s', (_how, stand) => {
        const network = newCluster('async', 3, { preVote });
        network.send(hup(1));
        network.node(2).stalled.add('apply');
        network.send(proposeChanges(1, change));
        const raft = network.raft(2);
        expect(raft.log.applied).toBe(1);
        expect(raft.log.committed).toBeGreaterThan(1);
        stand(raft);
        expect(raft).toMatchObject({ role: 'StateFollower', term: 1 });
        // With it applied, it does stand.
        network.node(2).stalled.clear();
        network.settle();
        expect(raft.log.applied).toBe(raft.log.committed);
        stand(raft);
        expect(raft.role).not.toBe('StateFollower');
      });
    });
  });

  it.each<Driver>(['raw', 'async'])(
    'keeps it from being handed the leadership, driver %s (ConfChangeCheckBeforeCampaign)',
    (driver) => {
      const network = newCluster(driver, 3);
      network.send(hup(1));
      if (driver === 'async') network.node(2).stalled.add('apply');
      network.send(proposeChanges(1, single('update', 2)));
      network.send(msg(2, 1, 'MsgTransferLeader'));
      expect([1, 2].map((n) => network.raft(n).role)).toEqual(['StateLeader', 'StateFollower']);
      expect(network.raft(1).transferee).toBe(id(2));
      ticks(network.raft(1), network.raft(1).config.electionTicks);
      expect(network.raft(1).transferee).toBe(NONE);
      if (driver === 'async') {
        network.node(2).stalled.clear();
        network.settle();
      } else applyCommitted(network.raft(2));
      network.send(msg(2, 1, 'MsgTransferLeader'));
      expect([1, 2].map((n) => network.raft(n).role)).toEqual(['StateFollower', 'StateLeader']);
    },
  );

  it('is found wherever it is, page by page', () => {
    const network = new Network([newMember('async', 1, { voters: [1, 2, 3], maxCommittedSizePerReady: 1 })]);
    network.node(1).stalled.add('apply');
    const entries = [
      ...log(1, 1, 1),
      { ...confChangeEntry(several('v4')), term: 1, index: 4 },
      { ...proposal(bytes('last')), term: 1, index: 5 },
    ];
    network.send(msg(2, 1, 'MsgApp', { term: 1, entries, commit: 5 }));
    network.send(hup(1));
    expect(network.raft(1)).toMatchObject({ role: 'StateFollower', log: { committed: 5, applied: 0 } });
  });
});

describe.each(APPLYING)('A joint configuration, driver %s', (driver) => {
  /** The changes of configuration in a member's log. */
  function changesOf(network: Network, n: number): ConfChange[] {
    return logOf(network.raft(n))
      .filter(({ type }) => type !== 'EntryNormal')
      .map(readConfChange);
  }

  function led(size: number, options: MemberOptions = {}): Network {
    const network = newCluster(driver, size, options);
    network.send(hup(1));
    return network;
  }

  /** Whether the entry is what a leader proposes on its own to leave the joint configuration. */
  const leaves = ({ type, data }: Entry): boolean => type === 'EntryConfChangeV2' && data.length === 0;
  const left = confState({ voters: ids(1, 2), learners: ids(3) });

  it('is left by its leader once, though other entries follow the change (etcd issue 12136)', () => {
    // What follows is applied one by one, after the way out is in the log and before it is committed.
    const network = led(3, { maxCommittedSizePerReady: 1 });
    const change = several('l3', 'implicit');
    network.send(proposeChanges(1, change, proposal(bytes('a')), proposal(bytes('b'))));
    network.send(propose(1, 'c'));
    const inLog = [proposal(), confChangeEntry(change), proposal(bytes('a')), proposal(bytes('b'))];
    inLog.push(confChangeEntry(LEAVE_JOINT), proposal(bytes('c')));
    for (const n of [1, 2, 3]) {
      expect(logOf(network.raft(n))).toEqual(inLog.map((one, at) => ({ ...one, term: 1, index: at + 1 })));
      expect(configurationOf(network.raft(n))).toEqual(left);
      expect(network.node(n).configurations).toHaveLength(2);
    }
  });

  it('is left once, however often is applied before that is committed (etcd issue 12582)', () => {
    const network = led(3);
    const change = several('l3', 'implicit');
    // Its leader hears of no quorum from the way out on.
    network.filter = ({ entries }) => !entries.some(leaves);
    network.send(proposeChanges(1, change));
    const raft = network.raft(1);
    expect(configurationOf(raft)).toMatchObject({ votersOutgoing: ids(1, 2, 3), autoLeave: true });
    expect(changesOf(network, 1)).toEqual([change, LEAVE_JOINT]);
    for (let nth = 0; nth < 3; nth += 1) network.send(beat(1));
    network.send(propose(1, 'more'));
    expect(changesOf(network, 1)).toEqual([change, LEAVE_JOINT]);
    network.filter = undefined;
    network.send(beat(1));
    network.send(beat(1));
    for (const n of [1, 2, 3]) expect(configurationOf(network.raft(n))).toEqual(left);
    expect(changesOf(network, 1)).toEqual([change, LEAVE_JOINT]);
  });

  it('is left by the next leader, if its own is gone before (etcd raft commits bd3c759, a8de18f, 8fda0c0)', () => {
    const network = led(3);
    const change = several('l4', 'implicit');
    network.filter = ({ from, entries }) => from !== id(1) || !entries.some(leaves);
    network.send(proposeChanges(1, change));
    // The others hear that the change is committed and apply it.
    network.send(beat(1));
    expect(configurationOf(network.raft(2))).toMatchObject({ votersOutgoing: ids(1, 2, 3) });
    network.send(hup(2));
    expect(network.raft(2).role).toBe('StateLeader');
    for (const n of [1, 2, 3]) {
      expect(logOf(network.raft(n)).map(({ term }) => term)).toEqual([1, 1, 2, 2]);
      expect(changesOf(network, n)).toEqual([change, LEAVE_JOINT]);
      expect(configurationOf(network.raft(n))).toEqual(confState({ voters: ids(1, 2, 3), learners: ids(4) }));
    }
  });

  it('is left when a quorum of both halves agrees, and not before', () => {
    const network = led(1);
    const change = several('l1 v2 v3', 'implicit');
    const node = network.node(1);
    network.send(proposeChanges(1, change));
    // 2 and 3 are the new voters and were never heard of: the way out is in the log and not committed.
    expect(configurationOf(node.raft)).toEqual(
      confState({ voters: ids(2, 3), votersOutgoing: ids(1), learnersNext: ids(1), autoLeave: true }),
    );
    expect(changesOf(network, 1)).toEqual([change, LEAVE_JOINT]);
    expect(node.raft.log).toMatchObject({ committed: 2, applied: 2 });
    network.send(msg(2, 1, 'MsgAppResp', { term: 1, index: 3 }));
    expect(configurationOf(node.raft).votersOutgoing).toEqual(ids(1));
    network.send(msg(3, 1, 'MsgAppResp', { term: 1, index: 3 }));
    expect(configurationOf(node.raft)).toEqual(confState({ voters: ids(2, 3), learners: ids(1) }));
  });

  it('commits only what both halves have', () => {
    const network = led(3);
    network.send(proposeChanges(1, several('r2 r3 v4 v5', 'explicit')));
    const raft = network.raft(1);
    expect(configurationOf(raft)).toMatchObject({ voters: ids(1, 4, 5), votersOutgoing: ids(1, 2, 3) });
    const { committed } = raft.log;
    network.send(propose(1, 'both'));
    expect(raft.log.committed).toBe(committed);
    network.send(msg(4, 1, 'MsgAppResp', { term: 1, index: committed + 1 }));
    expect(raft.log.committed).toBe(committed + 1);
    // And the other way round: the incoming half alone does not do either.
    for (const n of [2, 3]) network.isolate(n);
    network.send(propose(1, 'both again'));
    for (const n of [4, 5]) network.send(msg(n, 1, 'MsgAppResp', { term: 1, index: committed + 2 }));
    expect(raft.log.committed).toBe(committed + 1);
    network.recover();
    network.send(beat(1));
    expect(raft.log.committed).toBe(committed + 2);
  });
});

describe.each(APPLYING)('A learner, driver %s', (driver) => {
  it('that was promoted and does not know it yet votes, or nobody could tell it (etcd issue 10998)', () => {
    const options: MemberOptions = { voters: [1, 2], learners: [3] };
    const network = new Network([1, 2, 3].map((n) => newMember(driver, n, options)));
    network.send(hup(1));
    network.isolate(3);
    network.send(proposeChanges(1, single('add-voter', 3)));
    network.send(beat(1));
    expect([1, 2, 3].map((n) => configurationOf(network.raft(n)).voters.length)).toEqual([3, 3, 2]);
    network.recover();
    // 1 is gone: 2 needs the vote of 3, who takes itself for a learner.
    network.isolate(1);
    network.send(hup(2));
    expect(network.raft(2)).toMatchObject({ role: 'StateLeader', term: 2 });
    expect(configurationOf(network.raft(3))).toEqual(confState({ voters: ids(1, 2, 3) }));
  });
});

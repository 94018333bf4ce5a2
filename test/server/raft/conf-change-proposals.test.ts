/** Changes of configuration from proposal to effect, on one member (RawNodeProposeAndConfChange, JointAutoLeave). */
import { describe, expect, it } from 'vitest';
import {
  type ConfChange,
  confChangeEntry,
  LEAVE_JOINT,
  readConfChange,
  type Transition,
} from '../../../src/server/raft/conf-change.ts';
import { NO_LIMIT } from '../../../src/server/raft/size.ts';
import { type ConfState, type Entry, proposal } from '../../../src/server/raft/types.ts';
import { changes } from './confchange/changes.ts';
import { bytes, confState, id, ids, logOf, type MemberOptions, msg, NodeMember, termsOf } from './support.ts';

const change = (transition: Transition, text: string): ConfChange => {
  return { transition, changes: changes(text), context: bytes('manual') };
};

/** Member 1, which leads and is all there is. */
function leader(options: MemberOptions = {}): NodeMember {
  const member = new NodeMember(1, { voters: [1], ...options }, 'ready');
  member.node.campaign();
  member.work();
  expect(member.node.basicStatus().softState.role).toBe('StateLeader');
  return member;
}

/** Steps Ready by Ready until a change is about to be applied: others are done, that one's page is returned. */
function untilChange({ node, storage }: NodeMember): readonly Entry[] {
  while (node.hasReady()) {
    const { entries, hardState, committedEntries } = node.ready();
    storage.append(entries);
    if (hardState) storage.setHardState(hardState);
    if (committedEntries.some(({ type }) => type !== 'EntryNormal')) return committedEntries;
    node.advance();
  }
  throw new Error('no change is to be applied');
}

/** The changes in the log, in order. */
function changesInLog({ raft }: NodeMember): ConfChange[] {
  return logOf(raft)
    .filter(({ type }) => type !== 'EntryNormal')
    .map(readConfChange);
}

describe('a proposed change', () => {
  const V1: ConfChange = { type: 'add-voter', nodeId: id(2), id: 0n, context: bytes('manual') };
  const swapped = { voters: ids(2), votersOutgoing: ids(1), learners: ids(3), learnersNext: ids(1) };
  it.each<[string, ConfChange, first: Partial<ConfState>, afterwards?: Partial<ConfState>]>([
    // Directly in force.
    ['v1 of one voter', V1, { voters: ids(1, 2) }],
    ['one voter', change('auto', 'v2'), { voters: ids(1, 2) }],
    ['one learner', change('auto', 'l2'), { voters: ids(1), learners: ids(2) }],
    // Joint because it was asked for.
    [
      'one learner, explicit',
      change('explicit', 'l2'),
      { voters: ids(1), votersOutgoing: ids(1), learners: ids(2) },
      { voters: ids(1), learners: ids(2) },
    ],
    [
      'one learner, implicit',
      change('implicit', 'l2'),
      { voters: ids(1), votersOutgoing: ids(1), learners: ids(2), autoLeave: true },
      { voters: ids(1), learners: ids(2) },
    ],
    [
      'one voter, explicit',
      change('explicit', 'v2'),
      { voters: ids(1, 2), votersOutgoing: ids(1) },
      { voters: ids(1, 2) },
    ],
    [
      'one voter, implicit',
      change('implicit', 'v2'),
      { voters: ids(1, 2), votersOutgoing: ids(1), autoLeave: true },
      { voters: ids(1, 2) },
    ],
    // Joint because it has to be.
    [
      'several, auto',
      change('auto', 'v2 l1 l3'),
      { ...swapped, autoLeave: true },
      { voters: ids(2), learners: ids(1, 3) },
    ],
    [
      'several, implicit',
      change('implicit', 'v2 l1 l3'),
      { ...swapped, autoLeave: true },
      { voters: ids(2), learners: ids(1, 3) },
    ],
    ['several, explicit', change('explicit', 'v2 l1 l3'), swapped, { voters: ids(2), learners: ids(1, 3) }],
  ])('%s, comes into force when it is applied, not before', (_, proposed, first, afterwards) => {
    const member = leader();
    const { node, raft } = member;
    expect(node.proposeConfChange(proposed)).toBeUndefined();
    expect(raft.pendingConfIndex).toBe(raft.log.lastIndex());
    const [committed] = untilChange(member);
    expect(node.status().configuration.voters).toEqual({ incoming: ids(1), outgoing: [] });
    expect(readConfChange(committed!)).toEqual(proposed);

    expect(node.applyConfChange(proposed)).toEqual(confState(first));
    const last = raft.log.lastIndex();
    node.advance();
    // A leader that is to leave on its own says so as soon as the change is applied, and with nothing that has a size.
    const leaves = first.autoLeave === true;
    expect(raft.log.lastIndex()).toBe(leaves ? last + 1 : last);
    if (leaves) {
      expect(raft.log.entriesFrom(last + 1, 0)).toEqual([
        { ...confChangeEntry(LEAVE_JOINT), term: 1, index: last + 1 },
      ]);
      expect(raft.pendingConfIndex).toBe(last + 1);
    }
    if (afterwards) expect(node.applyConfChange(LEAVE_JOINT)).toEqual(confState(afterwards));
  });

  it('is left when the application says so, if it was to be explicit', () => {
    const member = leader();
    member.node.proposeConfChange(change('explicit', 'l2 l3'));
    member.work();
    expect(member.configurations.at(-1)).toMatchObject({ votersOutgoing: ids(1), autoLeave: false });
    expect(member.node.proposeConfChange(LEAVE_JOINT)).toBeUndefined();
    member.work();
    expect(member.configurations.at(-1)).toEqual(confState({ voters: ids(1), learners: ids(2, 3) }));
  });

  it('becomes an empty entry if another may be unapplied; what is around it keeps its place', () => {
    const ignored: string[] = [];
    const member = leader({ observe: (event) => event.type === 'conf-change-ignored' && ignored.push(event.reason) });
    const [a, b] = [proposal(bytes('a')), proposal(bytes('b'))];
    member.node.step(msg(1, 1, 'MsgProp', { entries: [a, confChangeEntry(V1), confChangeEntry(V1), b] }));
    expect(member.raft.log.entriesFrom(2, NO_LIMIT)).toMatchObject(
      [a, confChangeEntry(V1), proposal(), b].map(({ type, data }) => ({ type, data })),
    );
    expect(ignored).toEqual(['a change at index 3 may be unapplied, applied is 1']);
  });

  it.each<[string, before: ConfChange, refused: ConfChange, reason: string]>([
    ['in a joint configuration', change('explicit', 'l2'), V1, 'a joint configuration has to be left first'],
    ['as the way out of none', change('auto', 'l2'), LEAVE_JOINT, 'there is no joint configuration to leave'],
  ])('becomes an empty entry %s', (_, before, refused, reason) => {
    const ignored: string[] = [];
    const member = leader({ observe: (event) => event.type === 'conf-change-ignored' && ignored.push(event.reason) });
    member.node.proposeConfChange(before);
    member.work();
    expect(member.node.proposeConfChange(refused)).toBeUndefined();
    expect(logOf(member.raft).at(-1)).toMatchObject({ type: 'EntryNormal', data: bytes('') });
    expect(ignored).toEqual([reason]);
    member.work();
    expect(member.configurations).toHaveLength(1);
  });

  it('is not looked at if that is turned off', () => {
    const member = leader({ disableConfChangeValidation: true });
    member.node.proposeConfChange(V1);
    member.node.proposeConfChange(V1);
    expect(changesInLog(member)).toEqual([V1, V1]);
  });
});

describe('leaving a joint configuration', () => {
  it('is proposed by whoever leads when it is applied, also after leadership was lost and won (RawNodeJointAutoLeave)', () => {
    const member = leader();
    const { node, raft, storage } = member;
    const proposed = change('implicit', 'l2');
    node.proposeConfChange(proposed);
    untilChange(member);
    // It loses its office just before it applies the change.
    node.step(msg(1, 1, 'MsgHeartbeatResp', { term: raft.term + 1 }));
    expect(node.applyConfChange(proposed)).toMatchObject({ votersOutgoing: ids(1), autoLeave: true });
    node.advance();
    expect(changesInLog(member)).toEqual([proposed]);
    while (node.hasReady()) {
      const { hardState, entries } = node.ready();
      if (hardState) storage.setHardState(hardState);
      expect(entries).toEqual([]);
      node.advance();
    }
    node.campaign();
    member.work();
    expect(termsOf(raft)).toEqual([1, 1, 3, 3]);
    expect(changesInLog(member)).toEqual([proposed, LEAVE_JOINT]);
    expect(member.configurations).toEqual([confState({ voters: ids(1), learners: ids(2) })]);
  });

  it('is proposed once, though more is applied before it is', () => {
    // One entry at a time: the change, then the normal entry, then the way out.
    const member = leader({ maxCommittedSizePerReady: 1 });
    const proposed = change('implicit', 'l2');
    member.node.proposeConfChange(proposed);
    member.node.propose(bytes('x'));
    member.work();
    expect(
      logOf(member.raft)
        .slice(1)
        .map(({ type }) => type),
    ).toEqual(['EntryConfChangeV2', 'EntryNormal', 'EntryConfChangeV2']);
    expect(changesInLog(member)).toEqual([proposed, LEAVE_JOINT]);
  });

  it('is the leader’s to propose: a follower sends it no proposal', () => {
    const member = new NodeMember(1, { voters: [1, 2] }, 'ready');
    const entry = { ...confChangeEntry(change('implicit', 'l3')), term: 1, index: 1 };
    member.step(msg(2, 1, 'MsgApp', { term: 1, entries: [entry], commit: 1 }));
    expect(member.take().map(({ type }) => type)).toEqual(['MsgAppResp']);
    expect(member.configurations).toMatchObject([{ autoLeave: true }]);
  });

  it('is not refused by a quota: it has no payload', () => {
    const member = leader({ maxUncommittedSize: 1 });
    const { node } = member;
    node.proposeConfChange(change('implicit', 'l2'));
    const page = untilChange(member);
    node.applyConfChange(readConfChange(page[0]!));
    expect(node.propose(bytes('x'))).toBe('proposal-dropped');
    node.advance();
    expect(changesInLog(member).at(-1)).toEqual(LEAVE_JOINT);
  });
});

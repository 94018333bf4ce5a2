import { describe, expect, it } from 'vitest';
import {
  APPEND_THREAD,
  confChangeEntry,
  message,
  NONE,
  proposal,
  type Ready,
} from '../../../../src/server/raft/index.ts';
import { Inflights } from '../../../../src/server/raft/tracker/inflights.ts';
import { Progress } from '../../../../src/server/raft/tracker/progress.ts';
import { bytes, confState, entry, id, ids, msg, snapshot } from '../support/parts.ts';
import {
  describeConfiguration,
  describeEntry,
  describeMessage,
  describeProgressMap,
  describeReady,
} from './describe.ts';

const NOTHING: Ready = {
  softState: undefined,
  hardState: undefined,
  readStates: [],
  entries: [],
  snapshot: undefined,
  committedEntries: [],
  messages: [],
  mustSync: false,
};

describe('a message', () => {
  it('leaves out what is zero', () => {
    expect(describeMessage(message('MsgHup', {}))).toBe('None->None MsgHup Term:0 Log:0/0');
    expect(describeMessage(msg(1, 2, 'MsgSnap', { snapshot: snapshot(0, 0, []) }))).toBe('1->2 MsgSnap Term:0 Log:0/0');
  });

  it('has all of its parts in their order, and nothing of its context', () => {
    const m = msg(26, 17, 'MsgAppResp', {
      term: 3,
      logTerm: 2,
      index: 30,
      reject: true,
      rejectHint: 0,
      commit: 12,
      vote: id(26),
      entries: [entry(2, 31, 'x')],
      snapshot: { ...snapshot(10, 2, [10, 11], [12]), data: bytes('unseen') },
      context: bytes('unseen'),
    });
    expect(describeMessage(m)).toBe(
      '1a->11 MsgAppResp Term:3 Log:2/30 Rejected (Hint: 0) Commit:12 Vote:26 Entries:[2/31 EntryNormal "x"]\n' +
        '  Snapshot: Index:10 Term:2 ConfState:Voters:[10 11] VotersOutgoing:[] Learners:[12] LearnersNext:[] AutoLeave:false',
    );
  });

  it('indents what its responses have', () => {
    const response = msg(2, 1, 'MsgApp', { entries: [entry(1, 1), entry(1, 2, 'x')], snapshot: snapshot(2, 1, [1]) });
    const m = message('MsgStorageAppend', {
      from: id(2),
      to: APPEND_THREAD,
      responses: [response, message('MsgHup', {})],
    });
    expect(describeMessage(m).split('\n')).toEqual([
      '2->AppendThread MsgStorageAppend Term:0 Log:0/0 Responses:[',
      '  2->1 MsgApp Term:0 Log:0/0 Entries:[',
      '    1/1 EntryNormal ""',
      '    1/2 EntryNormal "x"',
      '  ]',
      '    Snapshot: Index:2 Term:1 ConfState:Voters:[1] VotersOutgoing:[] Learners:[] LearnersNext:[] AutoLeave:false',
      '  None->None MsgHup Term:0 Log:0/0',
      ']',
    ]);
  });
});

describe('an entry', () => {
  it('shows the changes of both forms, and nothing where there are none', () => {
    const context = bytes('unseen');
    const changes = [
      { type: 'add-voter', nodeId: id(26) },
      { type: 'add-learner', nodeId: id(2) },
      { type: 'remove', nodeId: id(3) },
      { type: 'update', nodeId: id(4) },
    ] as const;
    const first = { ...changes[0], id: 7n, context };
    expect(describeEntry({ ...confChangeEntry(first), term: 1, index: 2 })).toBe('1/2 EntryConfChange v26');
    const second = { transition: 'explicit', changes, context } as const;
    expect(describeEntry(confChangeEntry(second))).toBe('0/0 EntryConfChangeV2 v26 l2 r3 u4');
    expect(describeEntry(proposal(new Uint8Array(), 'EntryConfChangeV2'))).toBe('0/0 EntryConfChangeV2');
  });
});

describe('a Ready', () => {
  it('says that it is empty', () => {
    expect(describeReady(NOTHING)).toBe('<empty Ready>');
  });

  it('has all of its parts in their order', () => {
    const ready: Ready = {
      softState: { lead: id(10), role: 'StateFollower' },
      hardState: { term: 4, vote: NONE, commit: 0 },
      readStates: [
        { index: 5, context: new Uint8Array([1, 255]) },
        { index: 6, context: new Uint8Array() },
      ],
      entries: [entry(4, 8, 'a'), entry(4, 9)],
      snapshot: { ...snapshot(7, 3, []), confState: confState({ votersOutgoing: ids(1, 2), autoLeave: true }) },
      committedEntries: [entry(4, 8, 'a')],
      messages: [msg(1, 10, 'MsgHeartbeatResp')],
      mustSync: true,
    };
    expect(describeReady(ready).split('\n')).toEqual([
      'Ready MustSync=true:',
      'Lead:10 State:StateFollower',
      'HardState Term:4 Commit:0',
      'ReadStates [{5 [1 255]} {6 []}]',
      'Entries:',
      '4/8 EntryNormal "a"',
      '4/9 EntryNormal ""',
      'Snapshot Index:7 Term:3 ConfState:Voters:[] VotersOutgoing:[1 2] Learners:[] LearnersNext:[] AutoLeave:true',
      'CommittedEntries:',
      '4/8 EntryNormal "a"',
      'Messages:',
      '1->a MsgHeartbeatResp Term:0 Log:0/0',
      '',
    ]);
  });
});

describe('progress', () => {
  it('shows its marks in their order, members by number', () => {
    const inflights = new Inflights(2);
    const far = new Progress({ match: 1, next: 2, inflights, isLearner: true, recentActive: false });
    far.becomeSnapshot(5);
    inflights.add(4, 0);
    const near = new Progress({ match: 0, next: 1, inflights: new Inflights(1), isLearner: false, recentActive: true });
    near.becomeReplicate();
    near.sentEntries(3, 0);
    const progress = new Map([
      [id(10), far],
      [id(9), near],
    ]);
    expect(describeProgressMap(progress)).toBe(
      '9: StateReplicate match=0 next=4 paused inflight=1[full]\n' +
        '10: StateSnapshot match=1 next=6 learner paused pendingSnap=5 inactive inflight=1\n',
    );
  });
});

describe('a configuration', () => {
  it('shows the parts that it has', () => {
    const voters = { incoming: ids(1, 10), outgoing: [] };
    const plain = { voters, learners: [], learnersNext: [], autoLeave: false };
    expect(describeConfiguration(plain)).toBe('voters=(1 10)');
    expect(describeConfiguration({ ...plain, voters: { incoming: [], outgoing: [] } })).toBe('voters=()');
    const joint = {
      voters: { incoming: ids(1), outgoing: ids(2, 3) },
      learners: ids(4),
      learnersNext: ids(2),
      autoLeave: true,
    };
    expect(describeConfiguration(joint)).toBe('voters=(1)&&(2 3) learners=(4) learners_next=(2) autoleave');
  });
});

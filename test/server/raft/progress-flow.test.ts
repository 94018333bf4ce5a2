/**
 * What a leader knows of its followers, and what it sends them when.
 *
 * The scenarios are those of etcd's `raft_test.go`, whose names are in brackets; other titles name the issue that a
 * rule comes from.
 */
import { describe, expect, it } from 'vitest';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { broadcastAppend, sendAppend } from '../../../src/server/raft/replication.ts';
import { step, tick } from '../../../src/server/raft/step.ts';
import type { Progress, ProgressState } from '../../../src/server/raft/tracker/progress.ts';
import { type Message, message, proposal, type Role } from '../../../src/server/raft/types.ts';
import {
  accept,
  applyCommitted,
  beat,
  become,
  bytes,
  entry,
  id,
  log,
  type MemberOptions,
  msg,
  newLeader,
  newRaft,
  newStorage,
  propose,
  settle,
  snapshot,
  take,
} from './support.ts';

const PAIR: MemberOptions = { voters: [1, 2], electionTicks: 5 };

function progressOf(raft: Raft, n: number): Progress {
  return raft.tracker.progress.get(id(n)) as Progress;
}

/** A leader of two in term 1, whose first entry is not sent, and what it knows of the other one. */
function leaderOfTwo(options: MemberOptions = {}): { raft: Raft; follower: Progress } {
  const raft = newLeader(1, { ...PAIR, ...options });
  return { raft, follower: progressOf(raft, 2) };
}

/** Appends an entry to the leader's log and lets it send what it may. */
function appendAndSend(raft: Raft): Message[] {
  raft.appendEntries([proposal(bytes('somedata'))]);
  sendAppend(raft, id(2));
  return take(raft);
}

/** The data sizes of each append. */
function sizes(messages: readonly Message[]): number[][] {
  return messages.map(({ entries }) => entries.map(({ data }) => data.length));
}

describe('The leader’s own progress', () => {
  it('follows its own disk, not its log (ProgressLeader)', () => {
    const { raft, follower } = leaderOfTwo();
    follower.becomeReplicate();
    for (let nth = 0; nth < 5; nth += 1) expect(step(raft, propose(1, 'foo'))).toBeUndefined();
    const own = progressOf(raft, 1);
    expect(own).toMatchObject({ match: 0, next: 1 });
    expect(raft.log.unstable.nextEntries()).toEqual([
      entry(1, 1),
      ...[2, 3, 4, 5, 6].map((index) => entry(1, index, 'foo')),
    ]);
    settle(raft);
    expect(own).toMatchObject({ match: 6, next: 7 });
  });
});

describe('A probe', () => {
  it('that waits goes on with the answer to a heartbeat, not with the heartbeat (ProgressResumeByHeartbeatResp)', () => {
    const { raft, follower } = leaderOfTwo();
    follower.flowPaused = true;
    step(raft, beat(1));
    expect(follower.flowPaused).toBe(true);
    follower.becomeReplicate();
    expect(follower.flowPaused).toBe(false);
    follower.flowPaused = true;
    step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: 1 }));
    expect(follower.flowPaused).toBe(false);
  });

  it('is one append, whatever is proposed meanwhile (ProgressPaused)', () => {
    const { raft } = leaderOfTwo();
    step(raft, propose(1, 'somedata'));
    step(raft, propose(1, 'somedata'));
    step(raft, propose(1, 'somedata'));
    const entries = [entry(1, 1), entry(1, 2, 'somedata')];
    expect(take(raft)).toEqual([msg(1, 2, 'MsgApp', { term: 1, entries })]);
  });

  it('goes out once for each answered heartbeat (SendAppendForProgressProbe)', () => {
    const { raft, follower } = leaderOfTwo();
    follower.becomeProbe();
    expect(appendAndSend(raft)).toMatchObject([{ type: 'MsgApp', index: 0, entries: [{}, {}] }]);
    for (let round = 0; round < 3; round += 1) {
      expect(follower.flowPaused).toBe(true);
      for (let nth = 0; nth < 10; nth += 1) expect(appendAndSend(raft)).toEqual([]);
      for (let passed = 0; passed < raft.config.heartbeatTicks; passed += 1) tick(raft);
      expect(follower.flowPaused).toBe(true);
      expect(take(raft)).toEqual([msg(1, 2, 'MsgHeartbeat', { term: 1 })]);
      step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: 1 }));
      // Whatever has been appended: a probe has all of it.
      expect(take(raft)).toMatchObject([{ type: 'MsgApp', index: 0, entries: { length: 2 + 10 * (round + 1) } }]);
    }
    expect(follower).toMatchObject({ state: 'StateProbe', flowPaused: true, next: 1 });
  });

  it('goes out with each answered heartbeat although there is nothing new to send', () => {
    const { raft, follower } = leaderOfTwo();
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 1 }));
    take(raft);
    follower.becomeProbe();
    for (let round = 0; round < 2; round += 1) {
      step(raft, msg(2, 1, 'MsgHeartbeatResp', { term: 1 }));
      expect(take(raft)).toEqual([msg(1, 2, 'MsgApp', { term: 1, index: 1, logTerm: 1, commit: 1 })]);
    }
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 1 }));
    expect(follower).toMatchObject({ state: 'StateReplicate', match: 1, next: 2 });
  });
});

describe('Sending ahead', () => {
  it('cuts what it sends by size, one append for a probe, then a window full (ProgressFlowControl)', () => {
    const limits = { maxInflightMessages: 3, maxSizePerMessage: 2048, maxInflightBytes: 9000 };
    const { raft, follower } = leaderOfTwo(limits);
    follower.becomeProbe();
    for (let nth = 0; nth < 10; nth += 1) step(raft, propose(1, 'a'.repeat(1000)));
    const probe = take(raft);
    expect(sizes(probe)).toEqual([[0, 1000]]);
    step(raft, accept(probe[0] as Message));
    const window = take(raft);
    expect(sizes(window)).toEqual([
      [1000, 1000],
      [1000, 1000],
      [1000, 1000],
    ]);
    expect(follower).toMatchObject({ state: 'StateReplicate', match: 2, next: 9, flowPaused: true });
    // All three are acknowledged by the answer to the last one.
    step(raft, accept(window[2] as Message));
    expect(sizes(take(raft))).toEqual([[1000, 1000], [1000]]);
    expect(follower).toMatchObject({ match: 8, next: 12, flowPaused: false, inflights: { count: 2, bytes: 3000 } });
  });

  it('sends each entry as it is appended (SendAppendForProgressReplicate)', () => {
    const { raft, follower } = leaderOfTwo();
    follower.becomeReplicate();
    appendAndSend(raft);
    for (let nth = 0; nth < 10; nth += 1) {
      expect(appendAndSend(raft)).toEqual([
        msg(1, 2, 'MsgApp', { term: 1, index: nth + 2, logTerm: 1, entries: [entry(1, nth + 3, 'somedata')] }),
      ]);
    }
  });

  it.each<[ProgressState, next: number, afterwards: number]>([
    ['StateReplicate', 2, 6],
    ['StateProbe', 2, 2],
  ])('in %s from %i on: the next to send is %i afterwards (LeaderIncreaseNext)', (state, next, afterwards) => {
    const raft = newRaft(1, { ...PAIR, entries: log(1, 2, 3), hardState: { term: 3, vote: id(0), commit: 0 } });
    become(raft, 'StateLeader');
    const follower = progressOf(raft, 2);
    follower.state = state;
    follower.next = next;
    // Behind three entries and the first one of its own term.
    step(raft, propose(1, 'somedata'));
    expect(follower.next).toBe(afterwards);
  });

  it('ends when the follower can’t be reached: probing starts behind what matches (RecvMsgUnreachable)', () => {
    const raft = newLeader(1, { ...PAIR, entries: log(1, 1, 1), hardState: { term: 1, vote: id(0), commit: 0 } });
    const follower = progressOf(raft, 2);
    follower.match = 3;
    follower.becomeReplicate();
    follower.next = 6;
    step(raft, msg(2, 1, 'MsgUnreachable'));
    expect(follower).toMatchObject({ state: 'StateProbe', match: 3, next: 4 });
  });

  it('leaves no bytes in the window when its state changes, or it would close for ever (raft issue 54)', () => {
    const { raft, follower } = leaderOfTwo({ maxInflightBytes: 20, maxSizePerMessage: 0 });
    for (let round = 1; round <= 3; round += 1) {
      step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: raft.log.lastIndex() }));
      // A window of bytes for three, of which nobody answers one.
      for (let nth = 0; nth < 4; nth += 1) step(raft, propose(1, 'nine byte'));
      expect(follower.inflights).toMatchObject({ full: true, bytes: 27, count: 3 });
      step(raft, msg(2, 1, 'MsgUnreachable'));
      expect(follower.inflights).toMatchObject({ full: false, bytes: 0, count: 0 });
      take(raft);
    }
  });
});

describe('A snapshot on its way', () => {
  it('stops all appends (SendAppendForProgressSnapshot)', () => {
    const { raft, follower } = leaderOfTwo();
    follower.becomeSnapshot(10);
    for (let nth = 0; nth < 10; nth += 1) expect(appendAndSend(raft)).toEqual([]);
  });
});

describe('maxUncommittedSize', () => {
  it('drops what is beyond, takes one too large for it if nothing is pending, and empty ones (UncommittedEntryLimit)', () => {
    const COUNT = 1024;
    const text = 'testdata';
    const limit = COUNT * text.length;
    const raft = newLeader(1, { voters: [1, 2, 3], maxInflightMessages: 2 * COUNT, maxUncommittedSize: limit });
    for (const n of [2, 3]) progressOf(raft, n).becomeReplicate();
    expect(raft.uncommittedSize).toBe(0);
    const texts = Array.from({ length: COUNT }, () => text);
    for (const one of texts) expect(step(raft, propose(1, one))).toBeUndefined();
    expect(step(raft, propose(1, text))).toBe('proposal-dropped');
    expect(take(raft).filter(({ type }) => type === 'MsgApp')).toHaveLength(2 * COUNT);
    expect(raft.log.lastIndex()).toBe(COUNT + 1);
    raft.releaseUncommitted(limit);
    expect(raft.uncommittedSize).toBe(0);
    // One message of twice the limit, then nothing but what is empty.
    const large = [...texts, ...texts];
    expect(step(raft, propose(1, ...large))).toBeUndefined();
    expect(raft.uncommittedSize).toBe(2 * limit);
    expect(step(raft, propose(1, text))).toBe('proposal-dropped');
    expect(step(raft, propose(1))).toBeUndefined();
    expect(raft.log.lastIndex()).toBe(3 * COUNT + 2);
    raft.releaseUncommitted(2 * limit);
    expect(raft.uncommittedSize).toBe(0);
    expect(step(raft, propose(1, text))).toBeUndefined();
  });

  it('bounds the log of a leader that was cut off from its quorum (cockroach issue 27774)', () => {
    const raft = newLeader(1, { voters: [1, 2, 3], maxUncommittedSize: 100 });
    const answers = Array.from({ length: 1000 }, () => step(raft, propose(1, 'ten bytes.')));
    expect(answers.filter((answer) => answer === undefined)).toHaveLength(10);
    expect(raft.log.lastIndex()).toBe(11);
    for (const n of [2, 3]) step(raft, msg(n, 1, 'MsgAppResp', { term: 1, index: 11 }));
    expect(applyCommitted(raft)).toHaveLength(11);
    raft.releaseUncommitted(100);
    expect(step(raft, propose(1, 'ten bytes.'))).toBeUndefined();
  });
});

describe('The answer to an append', () => {
  interface Outcome {
    match: number;
    next: number;
    sent: [index: number, commit: number][];
  }
  it.each<[what: string, answer: { index: number; reject: boolean }, Outcome]>([
    ['an old refusal', { index: 3, reject: true }, { match: 0, next: 3, sent: [] }],
    ['a refusal of the probe', { index: 2, reject: true }, { match: 0, next: 2, sent: [[1, 0]] }],
    [
      'new entries, which commit',
      { index: 2, reject: false },
      {
        match: 2,
        next: 4,
        sent: [
          [2, 2],
          [2, 2],
        ],
      },
    ],
    ['a probe that matched nothing', { index: 0, reject: false }, { match: 0, next: 4, sent: [[0, 0]] }],
  ])('%s (LeaderAppResp)', (_, { index, reject }, wanted) => {
    // Its log meets the other's somewhere up to 2; its own first entry is 3.
    const raft = newRaft(1, { voters: [1, 2, 3], entries: log(0, 1) });
    become(raft, 'StateLeader');
    take(raft);
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index, reject, rejectHint: index }));
    const { match, next } = progressOf(raft, 2);
    const sent = take(raft).map((m) => [m.index, m.commit]);
    expect({ match, next, sent }).toEqual(wanted);
  });

  it('ends the wait of a probe (MsgAppRespWaitReset)', () => {
    const raft = newLeader(1, { voters: [1, 2, 3], electionTicks: 5 });
    broadcastAppend(raft);
    expect(take(raft)).toHaveLength(2);
    // 2 has the first entry, and that commits it.
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 1 }));
    expect(raft.log.committed).toBe(1);
    expect(take(raft)).toEqual([msg(1, 2, 'MsgApp', { term: 1, index: 1, logTerm: 1, commit: 1 })]);
    // 3 has not answered yet and is sent nothing more.
    step(raft, propose(1, 'foo'));
    const append = (to: number) => {
      return msg(1, to, 'MsgApp', { term: 1, index: 1, logTerm: 1, entries: [entry(1, 2, 'foo')], commit: 1 });
    };
    expect(take(raft)).toEqual([append(2)]);
    step(raft, msg(3, 1, 'MsgAppResp', { term: 1, index: 1 }));
    expect(take(raft)).toEqual([append(3)]);
  });

  it('that commits nothing brings the commit index, if that is news to the follower', () => {
    const raft = newLeader(1, { voters: [1, 2, 3] });
    broadcastAppend(raft);
    take(raft);
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 1 }));
    take(raft);
    step(raft, msg(3, 1, 'MsgAppResp', { term: 1, index: 1 }));
    expect(take(raft)).toEqual([msg(1, 3, 'MsgApp', { term: 1, index: 1, logTerm: 1, commit: 1 })]);
    // It was told, and answers; there is nothing to say any more.
    step(raft, msg(3, 1, 'MsgAppResp', { term: 1, index: 1 }));
    expect(take(raft)).toEqual([]);
  });

  it('that commits nothing brings no commit index that was sent before', () => {
    const raft = newLeader(1, { voters: [1, 2, 3, 4, 5] });
    broadcastAppend(raft);
    for (const m of take(raft)) step(raft, accept(m));
    take(raft);
    step(raft, propose(1, 'foo'));
    expect(take(raft)).toMatchObject([2, 3, 4, 5].map((n) => ({ to: id(n), commit: 1 })));
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 2 }));
    expect(take(raft)).toEqual([]);
  });

  it('that comes after a later one changes nothing', () => {
    const { raft, follower } = leaderOfTwo();
    step(raft, propose(1, 'foo'));
    take(raft);
    step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index: 2 }));
    take(raft);
    for (const index of [2, 1, 0]) step(raft, msg(2, 1, 'MsgAppResp', { term: 1, index }));
    expect(follower).toMatchObject({ state: 'StateReplicate', match: 2, next: 3 });
    expect(take(raft)).toEqual([]);
  });
});

describe('Heartbeats', () => {
  it('answered, bring more appends until one is acknowledged (HandleHeartbeatResp)', () => {
    const raft = newLeader(1, { ...PAIR, entries: log(1, 2, 3), hardState: { term: 3, vote: id(0), commit: 0 } });
    take(raft);
    raft.log.commitTo(raft.log.lastIndex());
    const answer = msg(2, 1, 'MsgHeartbeatResp', { term: 4 });
    const append = msg(1, 2, 'MsgApp', { term: 4, index: 3, logTerm: 3, entries: [entry(4, 4)], commit: 4 });
    for (let round = 0; round < 2; round += 1) {
      step(raft, answer);
      expect(take(raft)).toEqual([append]);
    }
    step(raft, accept(append));
    take(raft);
    step(raft, answer);
    expect(take(raft)).toEqual([]);
  });

  it('bring the commit index as far as the follower’s log is known, and no entries (BcastBeat)', () => {
    const OFFSET = 1000;
    const storage = newStorage({});
    storage.applySnapshot(snapshot(OFFSET, 1, [1, 2, 3]));
    const raft = newRaft(1, { storage });
    raft.term = 1;
    become(raft, 'StateLeader');
    raft.appendEntries(Array.from({ length: 10 }, () => proposal()));
    settle(raft);
    const [slow, quick] = [progressOf(raft, 2), progressOf(raft, 3)];
    Object.assign(slow, { match: 5, next: 6 });
    Object.assign(quick, { match: raft.log.lastIndex(), next: raft.log.lastIndex() + 1 });
    step(raft, beat(1));
    expect(take(raft)).toEqual([
      msg(1, 2, 'MsgHeartbeat', { term: 2, commit: 5 }),
      msg(1, 3, 'MsgHeartbeat', { term: 2, commit: OFFSET }),
    ]);
  });

  it.each<[Role, number]>([
    ['StateLeader', 2],
    ['StateCandidate', 0],
    ['StatePreCandidate', 0],
    ['StateFollower', 0],
  ])('are for leaders: %s sends %i (RecvMsgBeat)', (role, count) => {
    const raft = newRaft(1, { voters: [1, 2, 3] });
    become(raft, role);
    raft.messages = [];
    step(raft, message('MsgBeat', { from: id(1), to: id(1) }));
    expect(raft.messages.filter(({ type }) => type === 'MsgHeartbeat')).toHaveLength(count);
    expect(raft.messages).toHaveLength(count);
  });
});

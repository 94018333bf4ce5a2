/**
 * Logs that differ: how a leader finds where a follower's log meets its own, and what late answers may not undo.
 *
 * The scenarios with a name in brackets are those of etcd's `raft_test.go`.
 */
import { describe, expect, it } from 'vitest';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { sendAppend } from '../../../src/server/raft/replication.ts';
import { step } from '../../../src/server/raft/step.ts';
import type { Progress } from '../../../src/server/raft/tracker/progress.ts';
import { type Message, NONE, proposal } from '../../../src/server/raft/types.ts';
import {
  bytes,
  hup,
  id,
  log,
  type MemberOptions,
  msg,
  Network,
  newLeader,
  newMember,
  newRaft,
  newStorage,
  propose,
  take,
  termsOf,
} from './support.ts';

function progressOf(raft: Raft, n: number): Progress {
  return raft.tracker.progress.get(id(n)) as Progress;
}

/** Everything that a member is to send, as the one message that it has to be. */
function only(raft: Raft): Message {
  const messages = take(raft);
  expect(messages).toHaveLength(1);
  return messages[0] as Message;
}

describe('Where two logs meet', () => {
  type Place = [term: number, index: number];

  /** A new leader whose last term is its own, and a follower of it; its probe, the refusal, and its next probe. */
  function probes(leaderTerms: number[], followerTerms: number[], compacted = 0): { hint: Place; next: Place } {
    const term = leaderTerms.at(-1) as number;
    const voters = [1, 2];
    const hardState = { term: term - 1, vote: NONE, commit: 0 };
    const leader = newLeader(1, { voters, entries: log(...leaderTerms), hardState });
    take(leader);
    const storage = newStorage({ voters, entries: log(...followerTerms), hardState: { term, vote: id(1), commit: 0 } });
    const follower = newRaft(2, { storage });
    storage.compact(compacted);
    step(follower, msg(1, 2, 'MsgHeartbeat', { term }));
    step(leader, only(follower));
    step(follower, only(leader));
    const refusal = only(follower);
    expect(refusal).toMatchObject({ type: 'MsgAppResp', reject: true, index: leaderTerms.length });
    step(leader, refusal);
    const next = only(leader);
    expect(next.type).toBe('MsgApp');
    return { hint: [refusal.logTerm, refusal.rejectHint], next: [next.logTerm, next.index] };
  }

  // The entry before the leader's own first one is of the leader's term.
  it.each<[string, leader: number[], follower: number[], hint: Place, next: Place, compacted?: number]>([
    ['the leader skips its term 4', [1, 2, 2, 4, 4, 4, 4], [1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3], [3, 7], [2, 3]],
    ['and 5, up to its 3', [1, 2, 2, 3, 4, 4, 4, 5], [1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3], [3, 8], [3, 4]],
    ['the follower’s log is short', [1, 1, 1, 5], [1, 1], [1, 2], [1, 2]],
    ['the follower’s log is short and older', [1, 2, 2, 2, 5], [1, 1, 1], [1, 3], [1, 1]],
    ['the follower skips its terms 4 and 5', [1, 1, 1, 3, 3, 3], [1, 1, 1, 4, 4, 5], [1, 3], [1, 3]],
    ['the follower skips all that can’t match', [1, 1, 1, 1], [2, 3, 4, 5], [0, 0], [0, 0]],
    ['both skip', [1, 1, 2, 2, 4], [1, 1, 1, 3, 3], [3, 5], [2, 4]],
    ['nothing is the same', [2, 2, 2], [1, 1, 1], [1, 3], [0, 0]],
    ['the follower’s log is compacted beyond the probe', [1, 1, 3], [1, 1, 3, 3, 3], [0, 3], [1, 2], 5],
  ])('%s: %j and %j (FastLogRejection)', (_, leader, follower, hint, next, compacted) => {
    expect(probes(leader, follower, compacted)).toEqual({ hint, next });
  });

  it('is found in a round for each term, however long the tails are (two-sided search, etcd raft stepLeader)', () => {
    const tail = (length: number, term: number): number[] => Array<number>(length).fill(term);
    const leaderTerms = [1, ...tail(1000, 2), ...tail(1000, 4), ...tail(1000, 6)];
    const followerTerms = [1, ...tail(1000, 3), ...tail(2000, 5)];
    const options: MemberOptions = { voters: [1, 2] };
    const network = new Network([
      newMember('raw', 1, { ...options, entries: log(...leaderTerms), hardState: { term: 6, vote: NONE, commit: 0 } }),
      newMember('raw', 2, {
        ...options,
        entries: log(...followerTerms),
        hardState: { term: 5, vote: NONE, commit: 0 },
      }),
    ]);
    network.send(hup(1));
    const refused = network.delivered.filter(({ type, reject }) => type === 'MsgAppResp' && reject);
    // 5 at the end, then 3, then 1.
    expect(refused.map(({ index, logTerm, rejectHint }) => [index, logTerm, rejectHint])).toEqual([
      [3001, 5, 3001],
      [2001, 3, 1001],
      [1001, 1, 1],
    ]);
    expect(termsOf(network.raft(2))).toEqual([...leaderTerms, 7]);
  });
});

describe('Appends in another order', () => {
  it('a refusal that is late does not take back what matches (LogReplicationWithReorderedMessage)', () => {
    const voters = [1, 2];
    const leader = newLeader(1, { voters });
    const follower = newRaft(2, { voters });
    const toFollower = progressOf(leader, 2);
    take(leader);
    toFollower.becomeReplicate();
    const [first, second] = [0, 1].map(() => {
      leader.appendEntries([proposal(bytes('some data'))]);
      sendAppend(leader, id(2));
      return only(leader);
    }) as [Message, Message];
    step(follower, second);
    const late = only(follower);
    expect(late).toEqual(msg(2, 1, 'MsgAppResp', { term: 1, index: 2, reject: true }));
    step(follower, first);
    const answer = only(follower);
    expect(answer).toEqual(msg(2, 1, 'MsgAppResp', { term: 1, index: 2 }));
    step(leader, answer);
    take(leader);
    expect(toFollower.match).toBe(2);
    step(leader, msg(2, 1, 'MsgUnreachable'));
    expect(toFollower).toMatchObject({ state: 'StateProbe', match: 2, next: 3 });
    // The hint of 0 is older than the match of 2.
    step(leader, late);
    expect(only(leader)).toMatchObject({ type: 'MsgApp', index: 2, entries: [{ index: 3 }] });
    expect(toFollower).toMatchObject({ match: 2, next: 3 });
  });

  it('a refusal of what is known to match is old, while sending ahead', () => {
    const leader = newLeader(1, { voters: [1, 2] });
    step(leader, msg(2, 1, 'MsgAppResp', { term: 1, index: 1 }));
    for (const text of ['a', 'b']) step(leader, propose(1, text));
    take(leader);
    step(leader, msg(2, 1, 'MsgAppResp', { term: 1, index: 2 }));
    take(leader);
    step(leader, msg(2, 1, 'MsgAppResp', { term: 1, index: 2, reject: true, rejectHint: 0 }));
    expect(take(leader)).toEqual([]);
    expect(progressOf(leader, 2)).toMatchObject({ state: 'StateReplicate', match: 2, next: 4 });
    // One of what is not known to match ends sending ahead.
    step(leader, msg(2, 1, 'MsgAppResp', { term: 1, index: 3, reject: true, rejectHint: 2, logTerm: 1 }));
    expect(only(leader)).toMatchObject({ type: 'MsgApp', index: 2, entries: [{ index: 3 }] });
    expect(progressOf(leader, 2)).toMatchObject({ state: 'StateProbe', match: 2, next: 3, flowPaused: true });
  });
});

/**
 * The rules of elections on one member: when it votes, which roles follow on which, when its time is up.
 *
 * The scenarios are those of etcd's `raft_test.go`, whose names are in brackets.
 */
import { describe, expect, it } from 'vitest';
import { RaftInvariantError } from '../../../src/server/raft/errors.ts';
import { restoreFrom } from '../../../src/server/raft/follower.ts';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { step, tick } from '../../../src/server/raft/step.ts';
import { type MessageType, NONE, type Role } from '../../../src/server/raft/types.ts';
import { become, hup, id, ids, log, msg, newRaft, settle, snapshot, take, termsOf } from './support.ts';

const ROLES: readonly Role[] = ['StateFollower', 'StatePreCandidate', 'StateCandidate', 'StateLeader'];
const THREE = { voters: [1, 2, 3] };

describe('A request for a vote', () => {
  describe.each<[string, MessageType, MessageType]>([
    ['RecvMsgVote', 'MsgVote', 'MsgVoteResp'],
    ['RecvMsgPreVote', 'MsgPreVote', 'MsgPreVoteResp'],
  ])('of the own term, to a member with entries of terms 2, 2 (%s)', (_, request, response) => {
    it.each<[Role, number, number, number, boolean]>([
      ['StateFollower', 0, 0, 0, true],
      ['StateFollower', 0, 1, 0, true],
      ['StateFollower', 0, 2, 0, true],
      ['StateFollower', 0, 3, 0, false],
      ['StateFollower', 1, 0, 0, true],
      ['StateFollower', 1, 1, 0, true],
      ['StateFollower', 1, 2, 0, true],
      ['StateFollower', 1, 3, 0, false],
      ['StateFollower', 2, 0, 0, true],
      ['StateFollower', 2, 1, 0, true],
      ['StateFollower', 2, 2, 0, false],
      ['StateFollower', 2, 3, 0, false],
      ['StateFollower', 3, 0, 0, true],
      ['StateFollower', 3, 1, 0, true],
      ['StateFollower', 3, 2, 0, false],
      ['StateFollower', 3, 3, 0, false],
      // It voted in this term: again for the same one, never for another.
      ['StateFollower', 3, 2, 2, false],
      ['StateFollower', 3, 2, 1, true],
      ['StateLeader', 3, 3, 1, true],
      ['StatePreCandidate', 3, 3, 1, true],
      ['StateCandidate', 3, 3, 1, true],
    ])('in %s, last entry of the other %i@%i, voted for %i: refused %s', (role, index, logTerm, vote, reject) => {
      const raft = newRaft(1, { voters: [1], entries: log(2, 2) });
      raft.role = role;
      raft.vote = id(vote);
      raft.term = Math.max(2, logTerm);
      step(raft, msg(2, 1, request, { term: raft.term, index, logTerm }));
      expect(take(raft)).toEqual([msg(1, 2, response, { term: raft.term, reject })]);
      // A promise to vote is no vote.
      expect(raft.vote).toBe(request === 'MsgVote' && !reject ? id(2) : id(vote));
    });
  });

  it('is refused within a term whose leader is known, also by one that has not voted in it', () => {
    const raft = newRaft(1, THREE);
    raft.becomeFollower(1, id(3));
    step(raft, msg(2, 1, 'MsgVote', { term: 1 }));
    expect(take(raft)).toEqual([msg(1, 2, 'MsgVoteResp', { term: 1, reject: true })]);
  });

  it.each(ROLES)('of a later term gets a vote from %s, which follows (VoteFromAnyState)', (role) => {
    const raft = newRaft(1, { ...THREE, hardState: { term: 1, vote: NONE, commit: 0 } });
    become(raft, role, id(3));
    take(raft);
    const term = raft.term + 1;
    step(raft, msg(2, 1, 'MsgVote', { term, logTerm: term, index: 42 }));
    expect(take(raft)).toEqual([msg(1, 2, 'MsgVoteResp', { term })]);
    expect(raft).toMatchObject({ role: 'StateFollower', term, vote: id(2), lead: NONE });
  });

  it.each(ROLES)('before an election gets a promise from %s, which stays what it is (PreVoteFromAnyState)', (role) => {
    const raft = newRaft(1, { ...THREE, hardState: { term: 1, vote: NONE, commit: 0 } });
    become(raft, role, id(3));
    take(raft);
    raft.electionElapsed = 3;
    const { term, vote, lead } = raft;
    expect(vote).toBe(role === 'StateCandidate' || role === 'StateLeader' ? id(1) : NONE);
    step(raft, msg(2, 1, 'MsgPreVote', { term: term + 1, logTerm: term + 1, index: 42 }));
    // The answer has the term that was asked for: one of its own would look old to the other.
    expect(take(raft)).toEqual([msg(1, 2, 'MsgPreVoteResp', { term: term + 1 })]);
    expect(raft).toMatchObject({ role, term, vote, lead, electionElapsed: 3 });
  });
});

describe('Votes', () => {
  function candidate(size: number, preVote = false): Raft {
    const raft = newRaft(1, { voters: Array.from({ length: size }, (_, at) => at + 1), preVote });
    step(raft, hup(1));
    settle(raft);
    return raft;
  }

  it('count once for each member, the first one', () => {
    const refused = candidate(3);
    step(refused, msg(2, 1, 'MsgVoteResp', { term: 1, reject: true }));
    step(refused, msg(2, 1, 'MsgVoteResp', { term: 1 }));
    expect(refused.role).toBe('StateCandidate');
    const granted = candidate(5);
    for (const reject of [false, false, true]) step(granted, msg(2, 1, 'MsgVoteResp', { term: 1, reject }));
    expect(granted.role).toBe('StateCandidate');
    step(granted, msg(3, 1, 'MsgVoteResp', { term: 1 }));
    expect(granted.role).toBe('StateLeader');
  });

  it('of the election before are no answer to a pre-vote', () => {
    const raft = candidate(3, true);
    for (const from of [2, 3]) step(raft, msg(from, 1, 'MsgPreVoteResp', { term: 1 }));
    expect(raft).toMatchObject({ role: 'StateCandidate', term: 1 });
    // Nobody answers in time, so it asks again.
    step(raft, hup(1));
    settle(raft);
    expect(raft).toMatchObject({ role: 'StatePreCandidate', term: 1 });
    for (const from of [2, 3]) step(raft, msg(from, 1, 'MsgVoteResp', { term: 1 }));
    expect(raft).toMatchObject({ role: 'StatePreCandidate', term: 1 });
  });

  it('that are given start the wait for the next election anew; refusals don’t', () => {
    const raft = newRaft(1, { ...THREE, hardState: { term: 1, vote: NONE, commit: 0 } });
    raft.electionElapsed = 5;
    step(raft, msg(2, 1, 'MsgVote', { term: 1 }));
    expect(raft).toMatchObject({ vote: id(2), electionElapsed: 0 });
    raft.electionElapsed = 5;
    step(raft, msg(3, 1, 'MsgVote', { term: 1 }));
    expect(raft).toMatchObject({ vote: id(2), electionElapsed: 5 });
  });
});

describe('Roles', () => {
  it.each<[Role, Role, boolean, number, number]>([
    ['StateFollower', 'StateFollower', true, 1, 0],
    ['StateFollower', 'StatePreCandidate', true, 0, 0],
    ['StateFollower', 'StateCandidate', true, 1, 0],
    ['StateFollower', 'StateLeader', false, 0, 0],
    ['StatePreCandidate', 'StateFollower', true, 0, 0],
    ['StatePreCandidate', 'StatePreCandidate', true, 0, 0],
    ['StatePreCandidate', 'StateCandidate', true, 1, 0],
    ['StatePreCandidate', 'StateLeader', true, 0, 1],
    ['StateCandidate', 'StateFollower', true, 0, 0],
    ['StateCandidate', 'StatePreCandidate', true, 0, 0],
    ['StateCandidate', 'StateCandidate', true, 1, 0],
    ['StateCandidate', 'StateLeader', true, 0, 1],
    ['StateLeader', 'StateFollower', true, 1, 0],
    ['StateLeader', 'StatePreCandidate', false, 0, 0],
    ['StateLeader', 'StateCandidate', false, 0, 0],
    ['StateLeader', 'StateLeader', true, 0, 1],
  ])('from %s to %s: %s, then in term %i with leader %i (StateTransition)', (from, to, allowed, term, lead) => {
    const raft = newRaft(1, { voters: [1] });
    raft.role = from;
    const change = (): void => {
      if (to === 'StateFollower') raft.becomeFollower(term, id(lead));
      else if (to === 'StatePreCandidate') raft.becomePreCandidate();
      else if (to === 'StateCandidate') raft.becomeCandidate();
      else raft.becomeLeader();
    };
    if (allowed) {
      change();
      expect(raft).toMatchObject({ role: to, term, lead: id(lead) });
    } else {
      expect(change).toThrow(RaftInvariantError);
      expect(raft).toMatchObject({ role: from, term: 0 });
    }
  });

  describe.each<[Role, number[]]>([
    ['StateFollower', []],
    ['StatePreCandidate', []],
    ['StateCandidate', []],
    ['StateLeader', [1]],
  ])('in %s', (role, terms) => {
    it.each<[MessageType, number]>([
      ['MsgVote', 0],
      ['MsgApp', 2],
    ])('%s of a later term makes a follower (AllServerStepdown)', (type, lead) => {
      const raft = newRaft(1, THREE);
      if (role === 'StateFollower') raft.becomeFollower(1, NONE);
      else become(raft, role);
      step(raft, msg(2, 1, type, { term: 3, logTerm: 3 }));
      expect(raft).toMatchObject({ role: 'StateFollower', term: 3, lead: id(lead) });
      expect(termsOf(raft)).toEqual(terms);
    });
  });
});

describe('The time for an election', () => {
  it.each([
    { elapsed: 5, share: 0 },
    { elapsed: 10, share: 0.1 },
    { elapsed: 13, share: 0.4 },
    { elapsed: 15, share: 0.6 },
    { elapsed: 18, share: 0.9 },
    { elapsed: 20, share: 1 },
  ])('after $elapsed ticks of 10 has come with probability $share (PastElectionTimeout)', ({ elapsed, share }) => {
    // Every number that chance can give, once.
    const started = Array.from({ length: 10 }, (_, drawn) => {
      const bounds = new Set<number>();
      const random = (bound: number): number => {
        bounds.add(bound);
        return drawn;
      };
      const raft = newRaft(1, { voters: [1], electionTicks: 10, random });
      expect([...bounds]).toEqual([10]);
      raft.electionElapsed = elapsed - 1;
      tick(raft);
      return raft.role === 'StateCandidate';
    });
    expect(started.filter(Boolean).length / 10).toBe(share);
  });

  it.each<[number[], boolean]>([
    [[1], true],
    [[1, 2, 3], true],
    [[], false],
    [[2, 3], false],
  ])('of voters %j, member 1 can be elected: %s (Promotable)', (voters, promotable) => {
    const raft = newRaft(1, { voters });
    expect(raft.promotable).toBe(promotable);
    step(raft, hup(1));
    expect(raft.term).toBe(promotable ? 1 : 0);
  });

  it.each<MessageType>(['MsgApp', 'MsgHeartbeat', 'MsgSnap'])('starts anew with each %s of the leader', (type) => {
    const raft = newRaft(1, THREE);
    raft.becomeFollower(1, id(2));
    raft.electionElapsed = 9;
    step(raft, msg(2, 1, type, { term: 1, ...(type === 'MsgSnap' && { snapshot: snapshot(5, 1, [1, 2, 3]) }) }));
    expect(raft.electionElapsed).toBe(0);
  });

  it('does not come for a learner, nor while a snapshot is not on disk', () => {
    expect(newRaft(1, { voters: [2, 3], learners: [1] }).promotable).toBe(false);
    const raft = newRaft(1, THREE);
    expect(restoreFrom(raft, snapshot(5, 1, [1, 2, 3]))).toBe(true);
    expect(raft.promotable).toBe(false);
    raft.log.unstable.acceptInProgress();
    expect(raft.promotable).toBe(false);
    raft.log.unstable.stableSnapshotTo(5);
    expect(raft.promotable).toBe(true);
  });

  it.each([
    [
      [1, 2, 3],
      [1, 2, 3],
    ],
    [
      [3, 2, 1],
      [1, 2, 3],
    ],
    // As numbers, not as texts.
    [
      [10, 9, 2],
      [2, 9, 10],
    ],
  ])('voters %j are visited as %j (RaftNodes)', (voters, visited) => {
    expect(newRaft(1, { voters }).tracker.voters).toEqual(ids(...visited));
  });
});

/**
 * What a member promises itself comes back when its disk is done, and much may have happened meanwhile: its own vote
 * arrives after the election is lost, its own acknowledgement when it leads no more.
 *
 * The scenarios are those of etcd's `raft_test.go`, whose names are in brackets. Each runs on a raw member whose
 * promises are held back by hand, and on one whose append thread is slow.
 */
import { describe, expect, it } from 'vitest';
import type { Raft } from '../../../src/server/raft/raft.ts';
import { step } from '../../../src/server/raft/step.ts';
import type { Message } from '../../../src/server/raft/types.ts';
import {
  hup,
  id,
  type MemberOptions,
  msg,
  NodeMember,
  newRaft,
  propose,
  release,
  takeAfterAppend,
  termsOf,
} from './support.ts';

/** A member with a slow disk. */
interface Slow {
  readonly raft: Raft;
  /** Steps a message; what it makes the member write is handed to the disk. */
  step(m: Message): void;
  /** The disk is done with its oldest work; false if there is none. */
  written(): boolean;
}

function rawSlow(options: MemberOptions): Slow {
  const raft = newRaft(1, options);
  const underway: Message[][] = [];
  const handOver = (): void => {
    if (raft.messagesAfterAppend.length > 0) underway.push(takeAfterAppend(raft));
  };
  return {
    raft,
    step: (m) => {
      step(raft, m);
      handOver();
    },
    written: () => {
      const oldest = underway.shift();
      if (!oldest) return false;
      release(raft, oldest);
      handOver();
      return true;
    },
  };
}

function asyncSlow(options: MemberOptions): Slow {
  const member = new NodeMember(1, options, 'async');
  member.stalled.add('append');
  return {
    raft: member.raft,
    step: (m) => {
      member.step(m);
      member.work();
    },
    written: () => {
      const had = member.appendOne();
      member.work();
      return had;
    },
  };
}

describe.each([
  ['raw', rawSlow],
  ['async', asyncSlow],
])('Late promises to itself, %s', (_, slow) => {
  const voters = [1, 2, 3];

  it.each([
    ['CandidateSelfVoteAfterLostElection', false],
    ['CandidateSelfVoteAfterLostElectionPreVote', true],
  ])('a vote for itself after the election is lost means nothing (%s)', (_name, preVote) => {
    const member = slow({ voters, preVote });
    member.step(hup(1));
    expect(member.raft.role).toBe(preVote ? 'StatePreCandidate' : 'StateCandidate');
    // 2 has won.
    member.step(msg(2, 1, 'MsgHeartbeat', { term: 1 }));
    expect(member.raft).toMatchObject({ role: 'StateFollower', term: 1, lead: id(2) });
    expect(member.written()).toBe(true);
    expect(member.raft).toMatchObject({ role: 'StateFollower', term: 1, lead: id(2) });
  });

  it('its own pre-vote is not taken for a vote (CandidateDeliversPreCandidateSelfVoteAfterBecomingCandidate)', () => {
    const member = slow({ voters, preVote: true });
    member.step(hup(1));
    expect(member.raft).toMatchObject({ role: 'StatePreCandidate', term: 0 });
    // Both others are for it before it is itself.
    for (const from of [2, 3]) member.step(msg(from, 1, 'MsgPreVoteResp', { term: 1 }));
    expect(member.raft).toMatchObject({ role: 'StateCandidate', term: 1 });
    // The late pre-vote; then a vote of another, which is not a majority yet; then its own vote, which makes it one.
    member.written();
    expect(member.raft.role).toBe('StateCandidate');
    member.step(msg(2, 1, 'MsgVoteResp', { term: 1 }));
    expect(member.raft.role).toBe('StateCandidate');
    expect(member.written()).toBe(true);
    expect(member.raft).toMatchObject({ role: 'StateLeader', term: 1 });
  });

  it('its own acknowledgement means nothing when it leads no more (LeaderMsgAppSelfAckAfterTermChange)', () => {
    const member = slow({ voters });
    member.step(hup(1));
    member.step(msg(2, 1, 'MsgVoteResp', { term: 1 }));
    member.written();
    expect(member.raft).toMatchObject({ role: 'StateLeader', term: 1 });
    member.step(propose(1, 'somedata'));
    expect(termsOf(member.raft)).toEqual([1, 1]);
    // 2 is the new leader.
    member.step(msg(2, 1, 'MsgHeartbeat', { term: 2 }));
    let writes = 0;
    while (member.written()) writes += 1;
    expect(writes).toBeGreaterThanOrEqual(2);
    expect(member.raft).toMatchObject({ role: 'StateFollower', term: 2, lead: id(2) });
    expect(member.raft.log.committed).toBe(0);
  });
});

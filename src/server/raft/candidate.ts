/**
 * What a candidate does, and one that only asks who would vote for it.
 *
 * @module
 */
import { countVote } from './election.ts';
import type { Refusal } from './errors.ts';
import { hearLeader } from './follower.ts';
import type { Raft } from './raft.ts';
import type { Message } from './types.ts';

/** Takes a message of the own term, or a local one, as a candidate or pre-candidate. */
export function stepCandidate(raft: Raft, m: Message): Refusal | undefined {
  switch (m.type) {
    case 'MsgProp':
      return 'proposal-dropped';
    case 'MsgApp':
    case 'MsgHeartbeat':
    case 'MsgSnap':
      // Somebody won this term.
      raft.becomeFollower(m.term, m.from);
      hearLeader(raft, m);
      return undefined;
    case 'MsgVoteResp':
      if (raft.role === 'StateCandidate') countVote(raft, m);
      return undefined;
    case 'MsgPreVoteResp':
      // A late answer to what was asked before the election says nothing about this one.
      if (raft.role === 'StatePreCandidate') countVote(raft, m);
      return undefined;
    default:
      return undefined;
  }
}

/**
 * Elections: who may start one, how votes are asked for, given and counted.
 *
 * Votes, and a candidate's own too, count when they are durable: they go through `messagesAfterAppend`.
 *
 * Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), §5.2 and §5.4.1; Ongaro's
 * thesis §9.6 for pre-votes and §3.10 for elections that a leader asks for.
 *
 * @module
 */
import { EMPTY } from '../../protocol/wire.ts';
import type { Raft } from './raft.ts';
import { broadcastAppend } from './replication.ts';
import { BLANK, CAMPAIGN_TRANSFER, type Message, NONE } from './types.ts';

/** What kind of election: asking first, for votes, or for votes on behalf of the leader. */
export type Campaign = 'pre-vote' | 'vote' | 'transfer';

/** Starts an election, if this member may. */
export function hup(raft: Raft, campaign: Campaign): void {
  if (raft.role === 'StateLeader' || !raft.promotable) return;
  // Its configuration may be one that a quorum has left behind: two leaders could come of it in one term.
  if (raft.log.hasUnappliedConfChange()) return;
  startCampaign(raft, campaign);
}

function startCampaign(raft: Raft, campaign: Campaign): void {
  const asking = campaign === 'pre-vote';
  if (asking) raft.becomePreCandidate();
  else raft.becomeCandidate();
  // A pre-vote is for the term that the election would have.
  const term = asking ? raft.term + 1 : raft.term;
  const { term: logTerm, index } = raft.log.lastEntryId();
  const context = campaign === 'transfer' ? CAMPAIGN_TRANSFER : EMPTY;
  for (const to of raft.tracker.voters) {
    if (to === raft.id) raft.send({ ...BLANK, type: asking ? 'MsgPreVoteResp' : 'MsgVoteResp', to, term });
    else raft.send({ ...BLANK, type: asking ? 'MsgPreVote' : 'MsgVote', to, term, index, logTerm, context });
  }
}

/** Counts a vote, or the answer to a pre-vote, and goes on if that decides the election. */
export function countVote(raft: Raft, vote: Message): void {
  if (vote.reject && learnsCommit(raft, vote)) return;
  raft.tracker.recordVote(vote.from, !vote.reject);
  const result = raft.tracker.tally();
  if (result === 'won' && raft.role === 'StatePreCandidate') startCampaign(raft, 'vote');
  else if (result === 'won') {
    raft.becomeLeader();
    broadcastAppend(raft);
  }
  // The term stays: a pre-candidate's is its own already.
  else if (result === 'lost') raft.becomeFollower(raft.term, NONE);
}

/**
 * Whether a refusal tells what is committed, see {@link committedEntry}. Then the election is over: this member may
 * have to apply a change of configuration, after which it may be no member.
 */
function learnsCommit(raft: Raft, { index, logTerm }: Message): boolean {
  if (index <= raft.log.committed || !raft.log.matches({ term: logTerm, index })) return false;
  raft.log.commitTo(index);
  raft.becomeFollower(raft.term, NONE);
  return true;
}

/** Answers MsgVote and MsgPreVote of the own term or a later one. */
export function answerVote(raft: Raft, request: Message): void {
  const preVote = request.type === 'MsgPreVote';
  const repeated = raft.vote === request.from;
  const free = raft.vote === NONE && raft.lead === NONE;
  const mayVote = repeated || free || (preVote && request.term > raft.term);
  const type = preVote ? 'MsgPreVoteResp' : 'MsgVoteResp';
  // Learners vote too: one may have been promoted and not know it yet, and its vote may be needed to tell it.
  if (!mayVote || !raft.log.isUpToDate({ term: request.logTerm, index: request.index })) {
    raft.send({ ...BLANK, type, to: request.from, term: raft.term, reject: true, ...committedEntry(raft) });
    return;
  }
  // With the term asked for: that of a pre-vote is not ours, and an answer with ours would look old to the candidate.
  raft.send({ ...BLANK, type, to: request.from, term: request.term });
  if (preVote) return;
  raft.electionElapsed = 0;
  raft.vote = request.from;
}

/**
 * The last committed entry, from one who was removed, or made a learner, to one who may not know it and asks for a
 * vote.
 *
 * A configuration counts from when it is applied. A leader that is removed may be the only one to know that this is
 * committed; the others then need its vote in the configuration that they still have, and don't get it, since its log
 * is longer than theirs, while it may not be elected itself. With what is committed they go on without it. etcd says
 * nothing here and stays without a leader for ever (etcd issue 12359), hence `refusalsTellCommit`. TiKV's raft-rs tells
 * all candidates.
 */
function committedEntry({ config, tracker, id, isLearner, log }: Raft): Pick<Message, 'index' | 'logTerm'> | undefined {
  if (!config.refusalsTellCommit || (tracker.progress.has(id) && !isLearner)) return undefined;
  const logTerm = log.term(log.committed);
  return typeof logTerm === 'number' ? { index: log.committed, logTerm } : undefined;
}

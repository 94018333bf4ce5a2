/**
 * Members with one rule of the protocol broken, to show that the oracle sees it.
 *
 * Each takes a member whose program is about to run and changes its objects in place: the core itself has no switches
 * for faults.
 */
import { type Message, NO_LIMIT, NONE, proposal } from '../../src/server/raft/index.ts';
import type { Member } from './cluster/member.ts';

/** The disk says that it has synced, and has not. */
export function skipsSyncs({ disk, world }: Member): void {
  disk.sync = (done) => world.scheduler.after(100, done);
}

/** A leader commits what a quorum has, whatever its term. Figure 8 of the paper. */
export function commitsOldTerms({ node: { raft } }: Member): void {
  raft.maybeCommit = () => {
    const index = Math.min(raft.tracker.committed(), raft.log.lastIndex());
    const more = index > raft.log.committed;
    raft.log.commitTo(index);
    return more;
  };
}

/** A leader commits what any one member has. */
export function commitsWithoutQuorum({ node: { raft } }: Member): void {
  raft.tracker.committed = () => Math.max(...[...raft.tracker.progress.values()].map(({ match }) => match));
}

/** A follower forgets whom it has voted for. */
export function votesTwice({ node }: Member): void {
  beforeStep(node, (m) => {
    if (m.type === 'MsgVote' && m.term === node.raft.term && node.raft.role === 'StateFollower') node.raft.vote = NONE;
  });
}

/** Votes leave before they are on the disk. Shows only with asynchronous writes. */
export function votesBeforeDurable(member: Member): void {
  sendsAtOnce(member, 'MsgVoteResp');
}

/** Entries are acknowledged before they are on the disk. Shows only with asynchronous writes. */
export function acknowledgesBeforeDurable(member: Member): void {
  sendsAtOnce(member, 'MsgAppResp');
}

/** A leader answers reads without asking whether it still leads. */
export function readsWithoutQuorum({ node }: Member): void {
  answersReadsAtOnce(node, () => true);
}

/** A leader that was removed takes itself for the one voter that is left. */
export function readsAfterRemoval({ node }: Member): void {
  answersReadsAtOnce(node, () => node.raft.tracker.isSingleton);
}

/** Who was removed does not say what is committed when it refuses a vote. */
export function refusesInSilence({ node: { raft } }: Member): void {
  const send = raft.send.bind(raft);
  raft.send = (m) => {
    const refuses = m.reject && (m.type === 'MsgVoteResp' || m.type === 'MsgPreVoteResp');
    send(refuses ? { ...m, index: 0, logTerm: 0 } : m);
  };
}

/** A leader answers reads before it knows what is committed. */
export function readsBeforeOwnCommit({ node: { raft } }: Member): void {
  Object.defineProperty(raft, 'committedInTerm', { get: () => true });
}

/** Entries are taken whatever comes before them. */
export function ignoresPreviousEntry({ node: { raft } }: Member): void {
  const maybeAppend = raft.log.maybeAppend.bind(raft.log);
  raft.log.maybeAppend = ({ index }, entries, committed) => {
    const term = raft.log.term(index);
    return maybeAppend({ term: typeof term === 'number' ? term : -1, index }, entries, committed);
  };
}

/** Changes of configuration are taken while another one is not applied. */
export function allowsManyChanges({ node: { raft } }: Member): void {
  Object.assign(raft.config, { disableConfChangeValidation: true });
}

/** A member stands for election with changes of configuration that it has not applied. */
export function campaignsUnapplied({ node: { raft } }: Member): void {
  raft.log.hasUnappliedConfChange = () => false;
}

/** Heartbeats don't keep followers from standing for election. */
export function ignoresHeartbeats({ node }: Member): void {
  const step = node.step.bind(node);
  node.step = (m) => {
    const { electionElapsed } = node.raft;
    const refusal = step(m);
    if (m.type === 'MsgHeartbeat') node.raft.electionElapsed = electionElapsed;
    return refusal;
  };
}

/** A leader replaces the end of its log by entries of its own. */
export function replacesOwnTail({ node }: Member): void {
  const tick = node.tick.bind(node);
  node.tick = () => {
    const { log, role, term } = node.raft;
    const index = log.committed + 1;
    if (role === 'StateLeader' && log.lastIndex() > index) log.append([{ ...proposal(), term, index }]);
    tick();
  };
}

/** Committed entries are lost on their way to the state machine. */
export function losesCommitted({ applier, world }: Member): void {
  const add = applier.add.bind(applier);
  applier.add = (job) => add(world.scheduler.nowUs > 1_000_000 ? { ...job, entries: job.entries.slice(1) } : job);
}

/** A member goes back to an earlier term. */
export function forgetsTerm({ node }: Member): void {
  const tick = node.tick.bind(node);
  node.tick = () => {
    tick();
    if (node.raft.term > 3) node.raft.term -= 1;
  };
}

/** No limit is kept. */
export function ignoresLimits({ node: { raft } }: Member): void {
  Object.assign(raft.config, { maxSizePerMessage: NO_LIMIT, maxUncommittedSize: NO_LIMIT });
}

function answersReadsAtOnce(node: Member['node'], when: () => boolean): void {
  const readIndex = node.readIndex.bind(node);
  node.readIndex = (context) => {
    const { raft } = node;
    if (raft.role !== 'StateLeader' || !raft.committedInTerm || !when()) readIndex(context);
    else raft.readStates.push({ index: raft.log.committed, context });
  };
}

function beforeStep(node: Member['node'], action: (m: Message) => void): void {
  const step = node.step.bind(node);
  node.step = (m) => {
    action(m);
    return step(m);
  };
}

/** Messages of one kind don't wait for the disk. */
function sendsAtOnce({ node: { raft } }: Member, type: Message['type']): void {
  const send = raft.send.bind(raft);
  raft.send = (...fields) => {
    send(...fields);
    const early = raft.messagesAfterAppend.filter((m) => m.type === type && m.to !== raft.id);
    raft.messagesAfterAppend = raft.messagesAfterAppend.filter((m) => !early.includes(m));
    raft.messages.push(...early);
  };
}

/**
 * The state of one member, and the steps that all roles share.
 *
 * A pure state machine: time comes as ticks, chance as `config.random`, the network as messages in and out, the disk
 * as `Storage` to read and `Ready` to write. What is done on a message is in `step.ts` and the rooms beside it; they
 * change the public fields here, nobody else does.
 *
 * Messages that promise something durable (votes, and that entries are in the log; also to the member itself) go to
 * `messagesAfterAppend`: they may leave once what was promised is on disk, and not before. All others go to `messages`.
 *
 * Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), with the extensions of
 * Ongaro's thesis that each room names.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import type { Change, ChangeBase } from './confchange/changer.ts';
import { restoreConfiguration } from './confchange/restore.ts';
import { type RaftConfig, type ResolvedConfig, resolveConfig } from './config.ts';
import { invariant } from './errors.ts';
import { RaftLog } from './log/raft-log.ts';
import { ReadQueue } from './reads.ts';
import { payloadsSize } from './size.ts';
import { Progress } from './tracker/progress.ts';
import { Tracker } from './tracker/tracker.ts';
import {
  BLANK,
  type ConfState,
  type Entry,
  type HardState,
  isEmptyHardState,
  type Message,
  type MessageType,
  NONE,
  proposal,
  type ReadState,
  type Role,
  type SoftState,
} from './types.ts';

const AFTER_APPEND: ReadonlySet<MessageType> = new Set(['MsgAppResp', 'MsgVoteResp', 'MsgPreVoteResp']);
const WITHOUT_TERM: ReadonlySet<MessageType> = new Set(['MsgProp', 'MsgReadIndex']);
const WITH_OWN_TERM: ReadonlySet<MessageType> = new Set(['MsgVote', 'MsgVoteResp', 'MsgPreVote', 'MsgPreVoteResp']);

export class Raft {
  readonly id: MemberId;
  readonly config: ResolvedConfig;
  readonly log: RaftLog;
  readonly tracker: Tracker;

  term = 0;
  vote: MemberId = NONE;
  role: Role = 'StateFollower';
  /** The leader as this member knows it. */
  lead: MemberId = NONE;
  /** Whether this member is a learner in the active configuration. */
  isLearner = false;

  /** To be sent at once. */
  messages: Message[] = [];
  /** To be sent, or stepped, once what is unstable now is durable. */
  messagesAfterAppend: Message[] = [];
  /** Reads that may be served once their index is applied. */
  readStates: ReadState[] = [];

  /** Ticks since the leader was heard of, or since the last election; of a leader: since the last look at the quorum. */
  electionElapsed = 0;
  /** Ticks since a leader's last heartbeat. */
  heartbeatElapsed = 0;
  /** Ticks after which this member starts an election; drawn anew with each term and role. */
  electionTimeout = 0;

  /** Member that a leader hands over to. It takes no proposals meanwhile. */
  transferee: MemberId = NONE;
  /** No further change of configuration is taken until this index is applied. */
  pendingConfIndex = 0;
  /** Payload bytes in a leader's log that are not applied. */
  uncommittedSize = 0;
  /** Reads that wait for a quorum. */
  reads = new ReadQueue();
  /** Reads that wait for an entry of the leader's own term to be committed. */
  postponedReads: Message[] = [];

  constructor(config: RaftConfig) {
    this.config = resolveConfig(config);
    const { id, storage, applied, maxCommittedSizePerReady, maxInflightMessages, maxInflightBytes } = this.config;
    this.id = id;
    this.log = new RaftLog(storage, maxCommittedSizePerReady);
    this.tracker = new Tracker({ maxInflightMessages, maxInflightBytes });
    const { hardState, confState } = storage.initialState();
    this.restore(confState);
    if (!isEmptyHardState(hardState)) this.#load(hardState);
    if (applied > 0) this.log.appliedTo(applied, 0);
    this.becomeFollower(this.term, NONE);
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed };
  }

  get softState(): SoftState {
    return { lead: this.lead, role: this.role };
  }

  /** What a change of configuration starts from. */
  get changeBase(): ChangeBase {
    const { configuration, progress } = this.tracker;
    return {
      configuration,
      progress,
      lastIndex: this.log.lastIndex(),
      newInflights: () => this.tracker.newInflights(),
    };
  }

  /** Whether the member could be elected: a voter whose state is not about to be replaced. */
  get promotable(): boolean {
    const own = this.tracker.progress.get(this.id);
    return own !== undefined && !own.isLearner && this.log.unstable.snapshot === undefined;
  }

  /** Whether an entry of the current term is committed: only then a leader knows what is. §8 of the paper. */
  get committedInTerm(): boolean {
    return this.log.term(this.log.committed) === this.term;
  }

  /** Starts again from a configuration that storage or a snapshot brought. */
  restore(confState: ConfState): void {
    const { tracker } = this;
    tracker.use(
      { voters: { incoming: [], outgoing: [] }, learners: [], learnersNext: [], autoLeave: false },
      new Map(),
    );
    this.useConfiguration(restoreConfiguration(this.changeBase, confState));
  }

  /** Makes a configuration the active one. What follows from it is the caller's to do. */
  useConfiguration({ configuration, progress }: Change): void {
    this.tracker.use(configuration, progress);
    this.isLearner = progress.get(this.id)?.isLearner ?? false;
    this.config.observe?.({ type: 'configuration', configuration });
  }

  /**
   * Hands a message over for sending: made for the purpose, since here it gets its sender, unless it has one, and this
   * member's term, unless its kind has none or one of its own.
   */
  send(made: { -readonly [Field in keyof Message]: Message[Field] }): void {
    const { type } = made;
    if (made.from === NONE) made.from = this.id;
    if (WITH_OWN_TERM.has(type)) invariant(made.term > 0, () => `${type} needs a term of its own`);
    else made.term = WITHOUT_TERM.has(type) ? 0 : this.term;
    if (AFTER_APPEND.has(type)) {
      this.messagesAfterAppend.push(made);
      return;
    }
    invariant(made.to !== this.id, () => `${type} to the member itself`);
    this.messages.push(made);
  }

  becomeFollower(term: number, lead: MemberId): void {
    this.#reset(term);
    this.lead = lead;
    this.#become('StateFollower');
  }

  /** Asks who would vote for it. Neither term nor vote changes. */
  becomePreCandidate(): void {
    invariant(this.role !== 'StateLeader', () => 'a leader can not become a pre-candidate');
    this.tracker.resetVotes();
    this.lead = NONE;
    this.#become('StatePreCandidate');
  }

  becomeCandidate(): void {
    invariant(this.role !== 'StateLeader', () => 'a leader can not become a candidate');
    this.#reset(this.term + 1);
    this.vote = this.id;
    this.#become('StateCandidate');
  }

  /** Leads, and begins its term with an empty entry. */
  becomeLeader(): void {
    invariant(this.role !== 'StateFollower', () => 'a follower can not become a leader');
    this.#reset(this.term);
    this.lead = this.id;
    this.#become('StateLeader');
    const own = this.tracker.progress.get(this.id);
    invariant(own !== undefined, () => 'a leader has to be a member');
    own.becomeReplicate();
    own.recentActive = true;
    // There may be changes of configuration in the log that it did not propose: to scan for them would cost more than
    // to hold back new ones for a moment.
    this.pendingConfIndex = this.log.lastIndex();
    const taken = this.appendEntries([proposal()]);
    invariant(taken, () => 'the empty entry of a new leader was refused');
  }

  /**
   * Puts proposals at the end of a leader's log.
   *
   * @returns False if there is too much that is not applied yet; nothing was changed then.
   */
  appendEntries(proposals: readonly Entry[]): boolean {
    if (!this.#grow(payloadsSize(proposals))) return false;
    let last = this.log.lastIndex();
    const entries = proposals.map(({ type, data }) => ({ term: this.term, index: ++last, type, data }));
    this.log.append(entries);
    // The leader's own disk is one of the quorum's, and no sooner than the entries are on it.
    this.send({ ...BLANK, type: 'MsgAppResp', to: this.id, index: last });
    return true;
  }

  /** Payload bytes of a leader's log were applied. */
  releaseUncommitted(bytes: number): void {
    // Entries of earlier terms were never counted.
    this.uncommittedSize = Math.max(0, this.uncommittedSize - bytes);
  }

  /** Commits what a quorum has, if that reaches into the current term. */
  maybeCommit(): boolean {
    return this.log.maybeCommit({ term: this.term, index: this.tracker.committed() });
  }

  #grow(bytes: number): boolean {
    const { maxUncommittedSize } = this.config;
    if (bytes > 0 && this.uncommittedSize > 0 && this.uncommittedSize + bytes > maxUncommittedSize) return false;
    this.uncommittedSize += bytes;
    return true;
  }

  #become(role: Role): void {
    this.role = role;
    this.config.observe?.({ type: 'became', role, term: this.term, lead: this.lead });
  }

  #reset(term: number): void {
    if (this.term !== term) {
      this.term = term;
      this.vote = NONE;
    }
    this.lead = NONE;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.electionTimeout = this.config.electionTicks + this.config.random(this.config.electionTicks);
    this.transferee = NONE;
    this.pendingConfIndex = 0;
    this.uncommittedSize = 0;
    // Reads that wait are lost: who asked has to ask again.
    this.reads = new ReadQueue();
    this.postponedReads = [];
    this.#resetProgress();
  }

  #resetProgress(): void {
    const { tracker } = this;
    tracker.resetVotes();
    const last = this.log.lastIndex();
    const progress = tracker.ids.map((id): [MemberId, Progress] => {
      const isLearner = tracker.progress.get(id)?.isLearner ?? false;
      const match = id === this.id ? last : 0;
      const fresh = { match, next: last + 1, inflights: tracker.newInflights(), isLearner, recentActive: false };
      return [id, new Progress(fresh)];
    });
    tracker.use(tracker.configuration, new Map(progress));
  }

  #load({ term, vote, commit }: HardState): void {
    const { log } = this;
    invariant(log.committed <= commit && commit <= log.lastIndex(), () => {
      return `commit ${commit} of the hard state is not between ${log.committed} and ${log.lastIndex()}`;
    });
    log.committed = commit;
    this.term = term;
    this.vote = vote;
  }
}

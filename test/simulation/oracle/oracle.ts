/**
 * Looks at everything that happens and knows what must never happen.
 *
 * - S1 election safety: one leader in a term, ever.
 * - S2 leader append-only: a leader never drops or replaces entries of its log.
 * - S3 log matching: entries of the same index and term follow the same entries.
 * - S4 leader completeness: a leader has all that leaders of earlier terms have committed.
 * - S5 state machine safety: all apply the same entries, without a gap; snapshots are of states that were committed.
 * - S6 committed on a quorum: what a leader commits is on the disks of a quorum of its configuration.
 * - S7 monotone state: terms, votes in a term, commit and applied indexes never go back.
 * - S8 durable before sent: votes, terms and acknowledgements are on the disk before anybody hears of them.
 * - S9 one change at a time: of the configuration, the same for everybody, quorums of neighbours meet.
 * - S10 fresh reads, S11 the same for lease reads: a read's index is not below what was committed when it was asked.
 * - S12 quotas: no limit of sizes and windows is passed.
 *
 * It checks what a call can have changed, right after the call; so the cost does not grow with the run. The rules are
 * those of Ongaro & Ousterhout (2014), figure 3, and of etcd's raft library.
 *
 * Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), §5; Ongaro's thesis, §3.8
 * for what has to be durable and §6.4 for reads.
 */
import type { MemberId } from '../../../src/protocol/int64.ts';
import {
  type ConfState,
  type Entry,
  type Message,
  NONE,
  payloadSize,
  type RawNode,
  type ReadState,
  type Snapshot,
} from '../../../src/server/raft/index.ts';
import type { Member } from '../cluster/member.ts';
import { CommitChecks } from './commits.ts';
import { ConfigurationChecks } from './configurations.ts';
import { Coverage } from './coverage.ts';
import { DurabilityChecks } from './durability.ts';
import { Committed, MemberFacts } from './facts.ts';
import { LogChecks } from './logs.ts';
import { checkMessageQuotas, checkPage } from './quotas.ts';
import { ReadChecks } from './reads.ts';
import { expect } from './violation.ts';

type Raft = RawNode['raft'];

export class Oracle {
  readonly committed = new Committed();
  readonly coverage = new Coverage();
  readonly configurations = new ConfigurationChecks(this.coverage);
  readonly reads: ReadChecks;
  readonly #facts: MemberFacts[] = [];
  readonly #leaders = new Map<number, number>();
  readonly #logs: LogChecks;
  readonly #commits: CommitChecks;
  readonly #durability = new DurabilityChecks();
  readonly #memberOf: (id: MemberId) => Member | undefined;
  readonly #founded: number;

  /** @param founded How many entries the founders begin with. */
  constructor(memberOf: (id: MemberId) => Member | undefined, founded: number) {
    this.#memberOf = memberOf;
    this.#founded = founded;
    this.#logs = new LogChecks(this.committed, this.coverage);
    this.#commits = new CommitChecks(this.committed, (id) => memberOf(id)?.disk.image, founded);
    this.reads = new ReadChecks(this.committed);
  }

  /** A run begins, from what its disk had. */
  started(member: Member): void {
    this.coverage.starts += 1;
    const facts = new MemberFacts(member);
    while (this.#facts.length <= member.ordinal) this.#facts.push(facts);
    this.#facts[member.ordinal] = facts;
    const { raft } = member.node;
    facts.log = member.disk.image.log.clone();
    facts.snapshot = raft.log.unstable.snapshot;
    facts.applied = raft.log.applied;
    // What a founder begins with is unstable, so it is found here.
    this.core(member);
  }

  /** A call into a member's core has returned. */
  core(member: Member): void {
    const facts = this.#factsOf(member);
    const { raft } = member.node;
    const { log } = raft;
    this.#logs.follow(facts, raft);
    this.#checkMonotone(facts, raft);
    const leads = raft.role === 'StateLeader';
    if (leads && !(facts.leads && facts.term === raft.term)) this.#elected(facts, raft);
    if (log.committed > facts.commit) this.#commits.grown(facts, raft);
    facts.leads = leads;
    facts.term = raft.term;
    facts.vote = raft.vote;
    facts.commit = log.committed;
    facts.applied = log.applied;
  }

  /** A message is about to leave a member. */
  sending(member: Member, m: Message): void {
    const facts = this.#factsOf(member);
    this.#durability.sending(facts, m);
    if (m.type === 'MsgApp') checkMessageQuotas(member, m, this.#logs.largestPayload);
  }

  /** A message is about to be taken by a member. */
  receiving(member: Member, m: Message): void {
    if (m.type !== 'MsgAppResp' || m.reject) return;
    const facts = this.#factsOf(member);
    if (!facts.leads || facts.term !== m.term) return;
    const from = this.#memberOf(m.from);
    if (from) this.#durability.counting(facts, from.disk.image, m);
  }

  /** Committed entries are handed out for applying. */
  handedOut(member: Member, entries: readonly Entry[]): void {
    if (entries.length > 0) checkPage(this.#factsOf(member), member.node.raft, entries);
  }

  /** A member is about to apply an entry; its state will have that hash. */
  applying(member: Member, applied: number, entry: Entry, hash: number): void {
    this.#commits.applying(member, applied, entry, hash);
  }

  /** A member has applied a change of configuration. */
  configured(member: Member, index: number, confState: ConfState): void {
    // Who joins later goes through what the founders begin with one by one.
    if (index >= this.#founded) this.configurations.configured(member, index, confState);
  }

  /** A member's state is that of a snapshot now. */
  restored(member: Member, snapshot: Snapshot): void {
    this.#commits.restored(member, snapshot);
    if (snapshot.index >= this.#founded) this.configurations.restored(member, snapshot);
  }

  /** A read may be served once its index is applied. */
  readReady(member: Member, read: ReadState): void {
    this.coverage.reads += 1;
    this.reads.ready(member, read);
  }

  #factsOf({ ordinal }: Member): MemberFacts {
    return this.#facts[ordinal] as MemberFacts;
  }

  #checkMonotone(facts: MemberFacts, raft: Raft): void {
    const { log, term, vote } = raft;
    const { member } = facts;
    expect(term >= facts.term, 'S7 monotone state', () => `member ${member.ordinal} goes back to term ${term}`);
    expect(term > facts.term || facts.vote === NONE || vote === facts.vote, 'S7 monotone state', () => {
      return `member ${member.ordinal} changes its vote in term ${term}`;
    });
    const { applied, applying, committed, unstable } = log;
    expect(committed >= facts.commit && applied >= facts.applied, 'S7 monotone state', () => {
      return `member ${member.ordinal} goes back to commit ${committed}, applied ${applied}`;
    });
    expect(
      applied <= applying && applying <= committed && committed <= facts.log.lastIndex,
      'S7 monotone state',
      () => {
        const found = `applied ${applied}, applying ${applying}, commit ${committed}, last ${facts.log.lastIndex}`;
        return `member ${member.ordinal} has ${found}`;
      },
    );
    expect(unstable.offset <= unstable.offsetInProgress, 'S7 monotone state', () => {
      return `member ${member.ordinal} writes from ${unstable.offsetInProgress}, unstable from ${unstable.offset}`;
    });
  }

  #elected(facts: MemberFacts, raft: Raft): void {
    const { term } = raft;
    const { member } = facts;
    const before = this.#leaders.get(term);
    expect(before === undefined || before === member.ordinal, 'S1 election safety', () => {
      return `members ${before} and ${member.ordinal} both lead term ${term}`;
    });
    this.#leaders.set(term, member.ordinal);
    this.coverage.elections += 1;
    facts.foreignBytes = foreignBytes(facts, raft);
    this.#commits.elected(facts, raft);
  }
}

/**
 * Payload bytes that a new leader never counted, and takes off its count when they are applied: those in its log, and
 * those that its state machine was given before a snapshot made them superfluous.
 */
function foreignBytes({ log, member }: MemberFacts, raft: Raft): number {
  let bytes = member.applier.waiting.reduce((sum, entry) => sum + payloadSize(entry), 0);
  for (let at = raft.log.applied + 1; at < log.lastIndex; at += 1) {
    const entry = log.entryAt(at);
    if (entry) bytes += payloadSize(entry);
  }
  return bytes;
}

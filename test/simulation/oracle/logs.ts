/**
 * Follows the log of each member, and checks it: leader append-only (S2), log matching (S3), one change of
 * configuration at a time (S9, where they enter a log), and the quota of uncommitted bytes (S12).
 *
 * Entries are values that are never changed, so a log has changed where it holds another object than before, and
 * nowhere below: what is replaced is always the end of a log. A look at its last entry is all that most calls cost.
 */
import { type Entry, payloadSize, type RawNode, type Snapshot } from '../../../src/server/raft/index.ts';
import { hashOf } from '../cluster/snapshot.ts';
import type { Coverage } from './coverage.ts';
import type { Committed, MemberFacts } from './facts.ts';
import { expect } from './violation.ts';

type Raft = RawNode['raft'];

export class LogChecks {
  readonly #committed: Committed;
  readonly #coverage: Coverage;
  /** By index: the terms of all entries that were ever there, each followed by the hash up to it. */
  readonly #seen: number[][] = [];
  /** Bytes of the largest entry that was in any log. */
  largestPayload = 0;

  constructor(committed: Committed, coverage: Coverage) {
    this.#committed = committed;
    this.#coverage = coverage;
  }

  /** Brings the facts up to date with the member's log. */
  follow(facts: MemberFacts, raft: Raft): void {
    const { unstable } = raft.log;
    if (unstable.snapshot !== facts.snapshot) this.#restored(facts, unstable.snapshot);
    const { entries, offset } = unstable;
    let fresh = entries.length;
    while (fresh > 0 && facts.log.entryAt(offset + fresh - 1) !== entries[fresh - 1]) fresh -= 1;
    if (fresh < entries.length) this.#changed(facts, raft, entries.slice(fresh));
    else if (entries.length > 0 && facts.log.lastIndex !== offset + entries.length - 1) {
      this.#truncated(facts, raft, offset + entries.length - 1);
    }
    expect(facts.log.lastIndex === raft.log.lastIndex(), 'S3 log matching', () => {
      return `member ${facts.member.ordinal} ends at ${raft.log.lastIndex()}, and was seen to end at ${facts.log.lastIndex}`;
    });
  }

  /** An entry that is at that place in some log, with the hash up to it: everywhere the same. */
  note(index: number, term: number, hash: number, ordinal: number): void {
    const seen = this.#seen[index];
    if (seen === undefined) {
      while (this.#seen.length <= index) this.#seen.push([]);
      this.#seen[index] = [term, hash];
      return;
    }
    for (let at = 0; at < seen.length; at += 2) {
      if (seen[at] !== term) continue;
      expect(seen[at + 1] === hash, 'S3 log matching', () => {
        return `entry ${term}/${index} of member ${ordinal} follows other entries than elsewhere`;
      });
      return;
    }
    seen.push(term, hash);
  }

  #restored(facts: MemberFacts, snapshot: Snapshot | undefined): void {
    facts.snapshot = snapshot;
    if (snapshot === undefined) return;
    const { index, term } = snapshot;
    const hash = hashOf(snapshot);
    expect(this.#committed.hashAt(index) === hash, 'S5 state machine safety', () => {
      return `member ${facts.member.ordinal} takes a snapshot at ${index} of a state that was never committed`;
    });
    facts.log.reset(index, term, hash);
    this.#coverage.receivedSnapshots += 1;
  }

  #truncated(facts: MemberFacts, raft: Raft, last: number): void {
    const { log, leads, term, member } = facts;
    expect(!(leads && raft.role === 'StateLeader' && raft.term === term), 'S2 leader append-only', () => {
      return `member ${member.ordinal} leads term ${term} and drops entries from ${last + 1} to ${log.lastIndex}`;
    });
    log.truncate(last);
    this.#coverage.droppedTails += 1;
  }

  #changed(facts: MemberFacts, raft: Raft, entries: readonly Entry[]): void {
    const { log, member } = facts;
    const first = entries[0] as Entry;
    if (first.index <= log.lastIndex) this.#truncated(facts, raft, first.index - 1);
    const leads = raft.role === 'StateLeader';
    for (const entry of entries) {
      expect(entry.index === log.lastIndex + 1, 'S3 log matching', () => {
        return `member ${member.ordinal} has entry ${entry.index} after ${log.lastIndex}`;
      });
      log.put(entry);
      this.largestPayload = Math.max(this.largestPayload, payloadSize(entry));
      this.note(entry.index, entry.term, log.hashAt(entry.index) as number, member.ordinal);
      if (leads && entry.type !== 'EntryNormal') checkSingleChange(facts, raft, entry.index);
    }
    if (leads) checkUncommitted(facts, raft);
  }
}

function checkSingleChange({ log, member }: MemberFacts, raft: Raft, index: number): void {
  for (let at = raft.log.applied + 1; at < index; at += 1) {
    expect(log.entryAt(at)?.type === 'EntryNormal', 'S9 one change at a time', () => {
      return `member ${member.ordinal} takes a change at ${index}, the one at ${at} is not applied`;
    });
  }
}

function checkUncommitted({ log, member, foreignBytes }: MemberFacts, raft: Raft): void {
  const { maxUncommittedSize } = member.world.options.limits;
  if (maxUncommittedSize === Number.POSITIVE_INFINITY) return;
  let bytes = 0;
  let newest = 0;
  for (let at = log.lastIndex; at > raft.log.applied; at -= 1) {
    const entry = log.entryAt(at);
    if (entry === undefined || entry.term !== raft.term) break;
    if (newest === 0) newest = payloadSize(entry);
    bytes += payloadSize(entry);
  }
  // One proposal is taken whatever its size, if nothing else waits. What a leader found in its log was never counted,
  // and is taken off the count when it is applied.
  const alone = bytes - newest <= foreignBytes;
  expect(alone || bytes <= maxUncommittedSize + foreignBytes, 'S12 quotas', () => {
    return `member ${member.ordinal} holds ${bytes} uncommitted bytes, ${maxUncommittedSize} are allowed`;
  });
}

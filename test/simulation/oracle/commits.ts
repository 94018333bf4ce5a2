/**
 * What is committed and applied: leader completeness (S4), state machine safety (S5), commits on a quorum of the
 * active configuration, durable there (S6).
 *
 * The list of committed entries grows by the word of leaders, each of which is checked against the disks. From then on
 * every member's commit index and every applied entry has to agree with it.
 */

import type { MemberId } from '../../../src/protocol/int64.ts';
import type { Configuration, Entry, RawNode, Snapshot } from '../../../src/server/raft/index.ts';
import type { Image } from '../cluster/image.ts';
import type { Member } from '../cluster/member.ts';
import { hashOf } from '../cluster/snapshot.ts';
import type { Committed, MemberFacts } from './facts.ts';
import { expect } from './violation.ts';

type Raft = RawNode['raft'];

/** Whether the disk has the log up to `index`, with that hash. */
export function holds({ log }: Image, index: number, hash: number): boolean {
  // Below its base the log is a snapshot, of what was committed.
  return index < log.baseIndex || log.hashAt(index) === hash;
}

/** Whether a majority of both halves agrees. */
export function agreed({ voters }: Configuration, agrees: (voter: MemberId) => boolean): boolean {
  return majority(voters.incoming, agrees) && majority(voters.outgoing, agrees);
}

function majority(voters: readonly MemberId[], agrees: (voter: MemberId) => boolean): boolean {
  let yes = 0;
  for (const voter of voters) if (agrees(voter)) yes += 1;
  return voters.length === 0 || yes > voters.length / 2;
}

export class CommitChecks {
  readonly #committed: Committed;
  readonly #imageOf: (id: MemberId) => Image | undefined;
  /** Entries that the founders begin with are committed by definition. */
  readonly #founded: number;

  constructor(committed: Committed, imageOf: (id: MemberId) => Image | undefined, founded: number) {
    this.#committed = committed;
    this.#imageOf = imageOf;
    this.#founded = founded;
  }

  /** A leader has all that leaders before it have committed. */
  elected({ log, member }: MemberFacts, raft: Raft): void {
    const index = this.#committed.lastBefore(raft.term);
    if (index <= log.baseIndex) return;
    expect(log.hashAt(index) === this.#committed.hashAt(index), 'S4 leader completeness', () => {
      return `member ${member.ordinal} leads term ${raft.term} and lacks entry ${index}, committed before`;
    });
  }

  /** The commit index of a member has grown. */
  grown(facts: MemberFacts, raft: Raft): void {
    const { log, member } = facts;
    const { committed: index } = raft.log;
    if (index > this.#committed.lastIndex) {
      expect(raft.role === 'StateLeader' || index <= this.#founded, 'S6 committed on a quorum', () => {
        return `member ${member.ordinal} commits ${index}, leaders have committed ${this.#committed.lastIndex}`;
      });
      if (index > this.#founded) this.#checkQuorum(facts, raft, index);
      for (let at = this.#committed.lastIndex + 1; at <= index; at += 1) {
        this.#committed.push(log.hashAt(at) as number, at <= this.#founded ? 0 : raft.term);
      }
    }
    expect(
      index < log.baseIndex || log.hashAt(index) === this.#committed.hashAt(index),
      'S5 state machine safety',
      () => {
        return `member ${member.ordinal} has another entry at its commit index ${index} than was committed`;
      },
    );
  }

  /** A member applies an entry, after which its state has that hash. */
  applying(member: Member, applied: number, { index, term }: Entry, hash: number): void {
    expect(index === applied + 1, 'S5 state machine safety', () => {
      return `member ${member.ordinal} applies entry ${index} after ${applied}`;
    });
    expect(this.#committed.hashAt(index) === hash, 'S5 state machine safety', () => {
      return `member ${member.ordinal} applies entry ${term}/${index}, another one was committed there`;
    });
  }

  /** A member's state is replaced by a snapshot's. */
  restored(member: Member, snapshot: Snapshot): void {
    const { index } = snapshot;
    expect(this.#committed.hashAt(index) === hashOf(snapshot), 'S5 state machine safety', () => {
      return `member ${member.ordinal} restores a snapshot at ${index} of a state that was never committed`;
    });
  }

  #checkQuorum({ log, member }: MemberFacts, raft: Raft, index: number): void {
    const hash = log.hashAt(index) as number;
    const durable = agreed(raft.tracker.configuration, (voter) => {
      const image = this.#imageOf(voter);
      return image !== undefined && holds(image, index, hash);
    });
    expect(durable, 'S6 committed on a quorum', () => {
      return `member ${member.ordinal} commits ${index} in term ${raft.term}, which no quorum has on its disks`;
    });
  }
}

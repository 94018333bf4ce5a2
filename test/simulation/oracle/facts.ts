/**
 * What the oracle remembers of each member, and of the cluster as a whole.
 */

import type { MemberId } from '../../../src/protocol/int64.ts';
import type { ConfState, Snapshot } from '../../../src/server/raft/index.ts';
import { NONE } from '../../../src/server/raft/index.ts';
import { EMPTY_HASH, HashedLog } from '../cluster/hashed-log.ts';
import type { Member } from '../cluster/member.ts';

/** One member as it was when it was last looked at. */
export class MemberFacts {
  readonly member: Member;
  /** Its log with a hash for each entry. */
  log = new HashedLog();
  /** The snapshot that the log begins with, while it is not stable yet. */
  snapshot: Snapshot | undefined;
  term = 0;
  vote: MemberId = NONE;
  leads = false;
  commit = 0;
  applied = 0;
  /** Committed entries that were handed out for applying, as pages. */
  pages: { readonly last: number; readonly bytes: number }[] = [];
  /** Payload bytes of a leader's log when it was elected that count in no quota. */
  foreignBytes = 0;

  constructor(member: Member) {
    this.member = member;
  }
}

/** What is committed, ever. Entry n is at place n. */
export class Committed {
  readonly #hashes: number[] = [EMPTY_HASH];
  readonly #leaderTerms: number[] = [0];

  get lastIndex(): number {
    return this.#hashes.length - 1;
  }

  /** Hash of all entries up to `index`. */
  hashAt(index: number): number | undefined {
    return this.#hashes[index];
  }

  /** The next entry is committed, by the leader of that term. */
  push(hash: number, leaderTerm: number): void {
    this.#hashes.push(hash);
    this.#leaderTerms.push(leaderTerm);
  }

  /** The last entry that a leader of a term before `term` has committed. */
  lastBefore(term: number): number {
    let index = this.lastIndex;
    while ((this.#leaderTerms[index] ?? 0) >= term && index > 0) index -= 1;
    return index;
  }
}

/** A configuration and the entry that made it. */
export interface ConfigurationAt {
  readonly index: number;
  readonly confState: ConfState;
}

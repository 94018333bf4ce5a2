/**
 * One configuration after the other, the same for everybody, and any quorum of one meets any quorum of the next (S9).
 */

import type { MemberId } from '../../../src/protocol/int64.ts';
import type { ConfState, Snapshot } from '../../../src/server/raft/index.ts';
import type { Member } from '../cluster/member.ts';
import type { Coverage } from './coverage.ts';
import type { ConfigurationAt } from './facts.ts';
import { expect } from './violation.ts';

export class ConfigurationChecks {
  readonly #coverage: Coverage;
  /** All configurations that any member has applied, in their order. */
  readonly history: ConfigurationAt[] = [];
  /** By id: the index at which it ceased to be a member. */
  readonly removed = new Map<MemberId, number>();

  constructor(coverage: Coverage) {
    this.#coverage = coverage;
  }

  /** The latest one that anybody has applied. */
  get latest(): ConfigurationAt | undefined {
    return this.history.at(-1);
  }

  /** A member has applied a change, and has this configuration now. */
  configured(member: Member, index: number, confState: ConfState): void {
    const { latest } = this;
    if (latest === undefined || index > latest.index) {
      if (latest) this.#succeeds(latest.confState, confState, index);
      this.history.push({ index, confState });
      this.#coverage.configurations += 1;
      if (confState.votersOutgoing.length > 0) this.#coverage.jointConfigurations += 1;
      return;
    }
    const known = this.history.find((at) => at.index === index);
    expect(known !== undefined && same(known.confState, confState), 'S9 one change at a time', () => {
      return `member ${member.ordinal} has another configuration at ${index} than others`;
    });
  }

  /** A member takes a snapshot: it has the configuration of its last entry. */
  restored(member: Member, { index, confState }: Snapshot): void {
    const known = this.history.findLast((at) => at.index <= index);
    expect(known !== undefined && same(known.confState, confState), 'S9 one change at a time', () => {
      return `member ${member.ordinal} takes a snapshot at ${index} with another configuration than was applied there`;
    });
  }

  #succeeds(before: ConfState, after: ConfState, index: number): void {
    const left = members(before).filter((id) => !members(after).includes(id));
    for (const id of left) this.removed.set(id, index);
    expect(quorumsMeet(before, after), 'S9 one change at a time', () => {
      return `the configuration at ${index} can decide without the one before it`;
    });
  }
}

/** Everybody in a configuration. */
export function members({ voters, votersOutgoing, learners }: ConfState): readonly MemberId[] {
  return [...new Set([...voters, ...votersOutgoing, ...learners])];
}

function same(a: ConfState, b: ConfState): boolean {
  return (
    a.autoLeave === b.autoLeave &&
    sameIds(a.voters, b.voters) &&
    sameIds(a.votersOutgoing, b.votersOutgoing) &&
    sameIds(a.learners, b.learners) &&
    sameIds(a.learnersNext, b.learnersNext)
  );
}

function sameIds(a: readonly MemberId[], b: readonly MemberId[]): boolean {
  return a.length === b.length && a.every((id, at) => id === b[at]);
}

/** Whether no set of voters is a quorum of one while those outside it are a quorum of the other. */
function quorumsMeet(a: ConfState, b: ConfState): boolean {
  const ids = [...new Set([...a.voters, ...a.votersOutgoing, ...b.voters, ...b.votersOutgoing])];
  for (let subset = 0; subset < 2 ** ids.length; subset += 1) {
    const inside = (id: MemberId): boolean => ((subset >> ids.indexOf(id)) & 1) === 1;
    if (isQuorum(a, inside) && isQuorum(b, (id) => !inside(id))) return false;
  }
  return true;
}

function isQuorum({ voters, votersOutgoing }: ConfState, inside: (id: MemberId) => boolean): boolean {
  return [voters, votersOutgoing].every((half) => half.length === 0 || half.filter(inside).length > half.length / 2);
}

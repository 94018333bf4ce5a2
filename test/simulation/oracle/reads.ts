/**
 * Reads see everything that was committed before they were asked for (S10, S11).
 *
 * That is more than linearizability asks for, where only what somebody was told of has to be seen. But a leader that
 * is confirmed after the read began has committed all that was ever committed before.
 */
import type { ReadState } from '../../../src/server/raft/index.ts';
import type { Member } from '../cluster/member.ts';
import type { Committed } from './facts.ts';
import { expect } from './violation.ts';

export class ReadChecks {
  readonly #committed: Committed;
  /** By number of the read: what was committed when it was asked for. */
  readonly #floors: number[] = [];

  constructor(committed: Committed) {
    this.#committed = committed;
  }

  /** A read is about to be asked for. Gives its context. */
  begin(): Uint8Array {
    const number = this.#floors.length;
    this.#floors.push(this.#committed.lastIndex);
    const context = new Uint8Array(4);
    for (let byte = 0; byte < 4; byte += 1) context[byte] = number >>> (8 * byte);
    return context;
  }

  /** The core has an index for a read. */
  ready(member: Member, { index, context }: ReadState): void {
    const floor = this.#floors[numberOf(context)] as number;
    const rule = member.node.raft.config.reads === 'lease' ? 'S11 fresh lease reads' : 'S10 fresh reads';
    expect(index >= floor, rule, () => {
      return `member ${member.ordinal} reads at ${index}, ${floor} was committed before the read was asked for`;
    });
  }
}

/** The number of a read. */
export function numberOf(context: Uint8Array): number {
  let number = 0;
  for (let byte = 3; byte >= 0; byte -= 1) number = (number << 8) | (context[byte] ?? 0);
  return number;
}

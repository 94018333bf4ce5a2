/**
 * A member that decides alone has nobody to wait for: neither for a leader, before it stands for election itself, nor
 * for others who might have its entries already.
 *
 * It stands as soon as all is applied that was committed when it started: before that it may still learn that there are
 * others. That is looked at once in its life; later elections are a matter of ticks, as with any other member.
 *
 * @module
 */
import type { RawNode } from '../raft/index.ts';

/** See the head of this file. */
export class SoleVoter {
  readonly #node: RawNode;
  readonly #startCommit: number;
  #stood = false;

  /** @param node As it starts. */
  constructor(node: RawNode) {
    this.#node = node;
    this.#startCommit = node.raft.log.committed;
  }

  /** Whether the member decides alone, as of what is applied. */
  get decides(): boolean {
    const { tracker, id } = this.#node.raft;
    return tracker.isSingleton && tracker.voters[0] === id;
  }

  /** Whether it is to stand now; to be asked whenever entries were applied. True once at most. */
  stands(): boolean {
    if (this.#stood || this.#node.raft.log.applied < this.#startCommit) return false;
    this.#stood = true;
    return this.decides;
  }
}

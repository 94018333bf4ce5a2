/**
 * What a member knows of its leader and its own role, and who wants to hear of it.
 *
 * @module
 */
import { NONE, type SoftState } from '../raft/index.ts';

/** See the head of this file. */
export class LeaderWatch {
  #soft: SoftState = { lead: NONE, role: 'StateFollower' };
  /** The last leader that was known. */
  #lastLead = NONE;
  #changes = 0;
  #electedAt = Number.NEGATIVE_INFINITY;
  readonly #callbacks = new Set<(leader: bigint) => void>();

  /** 0: none is known. */
  get leader(): bigint {
    return this.#soft.lead;
  }

  /** Whether this member leads. */
  get leads(): boolean {
    return this.#soft.role === 'StateLeader';
  }

  /** When it was known for the first time that another one leads; monotonic time in ms. */
  get electedAt(): number {
    return this.#electedAt;
  }

  /** How often the leader has changed. */
  get changes(): number {
    return this.#changes;
  }

  /** Calls back at each change of leader, with its id or 0. @returns Ends that. */
  listen(callback: (leader: bigint) => void): () => void {
    this.#callbacks.add(callback);
    return () => this.#callbacks.delete(callback);
  }

  /** @param time monotonic, in ms. @returns Whether this member has ceased to lead, and whether another one leads than before. */
  update(now: SoftState, time: number): { readonly deposed: boolean; readonly replaced: boolean } {
    const before = this.#soft;
    this.#soft = now;
    const deposed = before.role === 'StateLeader' && now.role !== 'StateLeader';
    let replaced = false;
    if (now.lead !== before.lead && now.lead !== NONE) this.#electedAt = time;
    if (now.lead !== before.lead && now.lead !== NONE && now.lead !== this.#lastLead) {
      replaced = this.#lastLead !== NONE;
      this.#changes += 1;
      this.#lastLead = now.lead;
    }
    if (now.lead !== before.lead) for (const callback of [...this.#callbacks]) callback(now.lead);
    return { deposed, replaced };
  }
}

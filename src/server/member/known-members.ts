/**
 * Who is in the cluster, as far as a member can know that has just joined.
 *
 * Its log tells in time; to get that it has to find the others first. So until it has come to its own entry there, those
 * count too that it was told of when it joined.
 *
 * @module
 */
import type { Members } from '../apply/state.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';

/** See the head of this file. */
export class KnownMembers implements Members {
  readonly #id: bigint;
  readonly #applied: Members;
  readonly #told: readonly BackendMember[];

  /** @param told Who was there when the member `id` joined; undefined if it did not. */
  constructor(id: bigint, applied: Members, told: readonly BackendMember[] = []) {
    this.#id = id;
    this.#applied = applied;
    this.#told = told;
  }

  list(): readonly BackendMember[] {
    const applied = this.#applied.list();
    if (this.#isIn) return applied;
    const told = this.#told.filter(({ id }) => !this.#applied.get(id) && !this.wasRemoved(id));
    return [...applied, ...told].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  get(id: bigint): BackendMember | undefined {
    const applied = this.#applied.get(id);
    if (applied || this.#isIn || this.wasRemoved(id)) return applied;
    return this.#told.find((member) => member.id === id);
  }

  wasRemoved(id: bigint): boolean {
    return this.#applied.wasRemoved(id);
  }

  get clusterVersion(): string | undefined {
    return this.#applied.clusterVersion;
  }

  get downgradeTarget(): string | undefined {
    return this.#applied.downgradeTarget;
  }

  /** Whether the log has told of the member itself. */
  get #isIn(): boolean {
    return this.#told.length === 0 || this.#applied.get(this.#id) !== undefined;
  }
}

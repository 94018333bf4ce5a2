/**
 * The hashes that were made at the last compactions.
 *
 * A member that lags behind compares its hash at a revision with that of another which has compacted there meanwhile:
 * so each compaction leaves the hash as of right before it. Making it takes a walk over all records. That is begun at
 * once and goes on in steps, and is brought to its end by whoever asks for it, or by the next compaction.
 *
 * They are in no snapshot: after a restart there are none.
 *
 * Source: etcd's data corruption checks (compact hash), and its servers 3.5 as observed.
 *
 * @module
 */
import { HashRun } from '../mvcc/hash.ts';
import type { KvStore } from '../mvcc/store.ts';
import type { KvHash } from './state.ts';

/** How many are remembered, the one that is being made among them. */
export const REMEMBERED_HASHES = 10;

export class CompactHashes {
  readonly #made = new Map<number, KvHash>();
  #run: HashRun | undefined;

  /** Begins the hash at a revision that is about to be compacted. */
  begin(store: KvStore, revision: number): void {
    this.#end();
    this.#run = new HashRun(store, revision);
    for (const oldest of this.#made.keys()) {
      if (this.#made.size < REMEMBERED_HASHES) break;
      this.#made.delete(oldest);
    }
  }

  /** Looks at so many records more. @returns Whether there is more to do. */
  step(limit: number): boolean {
    if (this.#run?.step(limit)) return true;
    this.#end();
    return false;
  }

  /** The hash that the compaction at a revision left. */
  get(revision: number): KvHash | undefined {
    if (this.#run?.revision === revision) this.#end();
    return this.#made.get(revision);
  }

  /** All that are made, oldest first. */
  list(): readonly (KvHash & { readonly revision: number })[] {
    return Array.from(this.#made, ([revision, made]) => ({ ...made, revision }));
  }

  clear(): void {
    this.#run = undefined;
    this.#made.clear();
  }

  #end(): void {
    const run = this.#run;
    if (!run) return;
    this.#run = undefined;
    this.#made.set(run.revision, { hash: run.finish(), compactRevision: run.compactRevision });
  }
}

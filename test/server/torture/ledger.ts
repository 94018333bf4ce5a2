/**
 * What was asked for, what was acknowledged, and whether a store that came back from a kill agrees.
 *
 * The rules: each revision is the effect of one operation, whole; an acknowledged operation has the revision that its
 * answer named; one whose outcome is not known took effect once or not at all; what took effect was asked for.
 */
import { addChange, type Operation, type StoreModel, type Version } from './store-model.ts';

/** An operation that was sent. */
export interface Asked {
  readonly operation: Operation;
  /** For people: what it was, without its content. */
  readonly name: string;
  /** Revision that the server said it has; undefined while nobody knows. */
  revision?: number | undefined;
}

/** A rule was broken. */
export class TortureFailure extends Error {
  override name = 'TortureFailure';
}

/** See the head of this file. */
export class Ledger {
  readonly model: StoreModel;
  readonly #acknowledged = new Map<number, Asked>();
  #open = new Set<Asked>();
  /** Changes that were seen and not settled yet, by revision. */
  readonly #seen: Version[][] = [];
  #seenRevision: number;
  /** Of all changes so far, in their order. */
  digest = 0;

  constructor(model: StoreModel) {
    this.model = model;
    this.#seenRevision = model.revision;
  }

  /** The last revision that was seen. */
  get seenRevision(): number {
    return this.#seenRevision;
  }

  asked(operation: Operation, name: string): Asked {
    const asked: Asked = { operation, name };
    this.#open.add(asked);
    return asked;
  }

  /** The server has answered. A revision is given for what has changed something for certain. */
  acknowledged(asked: Asked, revision: number | undefined): void {
    this.#open.delete(asked);
    if (revision === undefined) return;
    const other = this.#acknowledged.get(revision);
    if (other) throw new TortureFailure(`two operations have revision ${revision}: ${other.name}, ${asked.name}`);
    asked.revision = revision;
    this.#acknowledged.set(revision, asked);
  }

  /** It is known that it has had its effect, if it has any, though not when. */
  effective(asked: Asked): void {
    this.#open.add(asked);
  }

  /** A watcher has got these, in this order. */
  saw(changes: readonly Version[]): void {
    for (const change of changes) {
      this.digest = addChange(this.digest, change);
      const last = this.#seen.at(-1);
      if (last && last[0]?.mod === change.mod) last.push(change);
      else if (change.mod === this.#seenRevision + 1) {
        this.#seen.push([change]);
        this.#seenRevision = change.mod;
      } else throw new TortureFailure(`the watcher got revision ${change.mod} after ${this.#seenRevision}`);
    }
  }

  /** Nobody is being served: everything that was seen is explained. What is open stays without effect for good. */
  settle(revision: number): void {
    if (this.#seenRevision !== revision)
      throw new TortureFailure(`the watcher ends at ${this.#seenRevision}, the store at ${revision}`);
    for (const changes of this.#seen.splice(0)) this.#explain(changes);
    const [lost] = this.#acknowledged.values();
    if (lost) throw new TortureFailure(`lost: ${lost.name}, acknowledged at revision ${lost.revision} of ${revision}`);
    this.#open = new Set();
  }

  #explain(changes: readonly Version[]): void {
    const revision = this.model.revision + 1;
    const acknowledged = this.#acknowledged.get(revision);
    this.#acknowledged.delete(revision);
    const candidates = acknowledged ? [acknowledged] : this.#open;
    for (const asked of candidates) {
      if (!same(this.model.changesOf(asked.operation), changes)) continue;
      this.#open.delete(asked);
      this.model.apply(changes);
      return;
    }
    const what = acknowledged ? `is not ${acknowledged.name}, whole` : 'is nothing that was asked for';
    throw new TortureFailure(`revision ${revision} ${what}: ${JSON.stringify(changes, bigintText)}`);
  }
}

function same(expected: readonly Version[], found: readonly Version[]): boolean {
  if (expected.length !== found.length) return false;
  return expected.every((one, at) => {
    const other = found[at] as Version;
    return (Object.keys(one) as (keyof Version)[]).every((field) => one[field] === other[field]);
  });
}

function bigintText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

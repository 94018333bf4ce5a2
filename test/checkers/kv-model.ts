/**
 * What a request does to a store and what it is told: etcd's rules in their plainest form, as a pure function.
 *
 * The compares of a transaction look at the state before it; a range inside sees what came before it in the same
 * transaction. A missing key compares as one with zeros everywhere, but no condition on its value holds. A request
 * that changes nothing makes no revision; any other makes one, whatever it changes.
 *
 * Source: etcd's API reference and api_guarantees; `reference/server.md` has what was seen on real servers.
 */
import {
  type Compare,
  covers,
  type DeleteOp,
  type KeyRange,
  type KeyVersion,
  type LogEvent,
  type Op,
  type OpResult,
  type RangeOp,
  type RangeResult,
  type Request,
  type Response,
} from './history.ts';

/** A state of the store, which never changes. */
export interface View {
  readonly revision: number;
  get(key: string): KeyVersion | undefined;
  /** Live keys, in their order. */
  range(range: KeyRange): KeyVersion[];
  /** An earlier state; undefined if nobody knows it any more. */
  at(revision: number): View | undefined;
}

/** What comes of a request. */
export interface Effect {
  readonly response: Response;
  /** All that its revision changes; none if it makes none. */
  readonly events: readonly LogEvent[];
}

/** Says which branch a transaction takes. */
export type Decide = (view: View, compares: readonly Compare[]) => boolean;

/** What the request does to that state. Default of `decide`: as the compares say. */
export function evaluate(view: View, request: Request, decide: Decide = allHold): Effect {
  const draft = new Draft(view);
  const result = ((): Response['result'] => {
    if (request.kind === 'revoke') {
      const all = view.range({ key: '\0', end: '\0' });
      for (const { key, lease } of all) if (lease === request.lease) draft.delete(key);
      return { kind: 'revoke' };
    }
    if (request.kind !== 'txn') return draft.do(request);
    const succeeded = decide(view, request.compares);
    const results = (succeeded ? request.success : request.failure).map((op) => draft.do(op));
    return { kind: 'txn', succeeded, results };
  })();
  return { response: { revision: draft.revision, result }, events: draft.events };
}

/** Whether the answer says that the request has made a revision. That of a revoke does not say; it counts as none. */
export function saysItWrote({ result }: Response): boolean {
  const wrote = (one: Response['result']): boolean => {
    if (one.kind === 'txn') return one.results.some(wrote);
    return one.kind === 'put' || (one.kind === 'delete' && one.deleted > 0);
  };
  return wrote(result);
}

function allHold(view: View, compares: readonly Compare[]): boolean {
  return compares.every((compare) => holds(view, compare));
}

/** Whether a condition holds. */
export function holds(view: View, compare: Compare): boolean {
  const found = compare.end === undefined ? one(view.get(compare.key)) : view.range(compare);
  if (found.length > 0) return found.every((kv) => accepts(compare, kv[compare.target]));
  if (compare.target === 'value') return false;
  return accepts(compare, compare.target === 'lease' ? 0n : 0);
}

function one<T>(item: T | undefined): T[] {
  return item === undefined ? [] : [item];
}

function accepts({ result, operand }: Compare, value: string | number | bigint): boolean {
  switch (result) {
    case '=':
      return value === operand;
    case '!=':
      return value !== operand;
    case '<':
      return value < operand;
    case '>':
      return value > operand;
  }
}

/** A state with the changes of a revision in the making. */
class Draft {
  readonly events: LogEvent[] = [];
  readonly #view: View;
  readonly #changed = new Map<string, KeyVersion | undefined>();

  constructor(view: View) {
    this.#view = view;
  }

  get revision(): number {
    return this.#view.revision + (this.events.length > 0 ? 1 : 0);
  }

  do(op: Op): OpResult {
    if (op.kind === 'range') return this.#get(op);
    if (op.kind === 'delete') return this.#deleteRange(op);
    const before = this.#find(op.key);
    const mod = this.#view.revision + 1;
    const { key, value, lease = 0n } = op;
    const createRevision = before?.createRevision ?? mod;
    const kv = { key, value, lease, createRevision, modRevision: mod, version: (before?.version ?? 0) + 1 };
    this.#changed.set(key, kv);
    this.events.push({ type: 'put', kv });
    return { kind: 'put', prevKv: op.prevKv ? before : undefined };
  }

  delete(key: string): void {
    this.#changed.set(key, undefined);
    this.events.push({ type: 'delete', kv: tombstone(key, this.#view.revision + 1) });
  }

  #deleteRange(op: DeleteOp): OpResult {
    const gone = this.#list(op);
    for (const { key } of gone) this.delete(key);
    return { kind: 'delete', deleted: gone.length, prevKvs: op.prevKv ? gone : [] };
  }

  #get(op: RangeOp): RangeResult {
    const { revision = 0, limit = 0, countOnly = false } = op;
    const all = revision > 0 && revision < this.revision ? (this.#view.at(revision)?.range(op) ?? []) : this.#list(op);
    const more = !countOnly && limit > 0 && all.length > limit;
    return { kind: 'range', kvs: countOnly ? [] : more ? all.slice(0, limit) : all, count: all.length, more };
  }

  #find(key: string): KeyVersion | undefined {
    return this.#changed.has(key) ? this.#changed.get(key) : this.#view.get(key);
  }

  #list(range: KeyRange): KeyVersion[] {
    if (range.end === undefined) return one(this.#find(range.key));
    const before = this.#view.range(range);
    if (this.#changed.size === 0) return before;
    const all = new Map<string, KeyVersion | undefined>(before.map((kv) => [kv.key, kv]));
    for (const [key, kv] of this.#changed) if (covers(range, key)) all.set(key, kv);
    return [...all.values()].filter((kv) => kv !== undefined).sort(byKey);
  }
}

/** What is left to say of a key that was deleted. */
export function tombstone(key: string, modRevision: number): KeyVersion {
  return { key, value: '', lease: 0n, createRevision: 0, modRevision, version: 0 };
}

/** The order of keys. */
export function byKey(a: { readonly key: string }, b: { readonly key: string }): number {
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

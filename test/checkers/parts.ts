/**
 * Splits a history into parts that have no key in common. A history is linearizable exactly if each of them is, and the
 * search for an order takes far less time.
 *
 * A range belongs to the part of all keys in it that anybody names, a revoke to that of all keys that were put with its
 * lease.
 *
 * Source: Herlihy & Wing, "Linearizability" (1990), theorem 1 (locality); Horn & Kroening, "Faster linearizability
 * checking via P-compositionality" (2015).
 */
import { covers, type KeyRange, type Operation, type Request } from './history.ts';

/** What a request has to do with. */
interface Footprint {
  readonly keys: string[];
  readonly ranges: KeyRange[];
  readonly puts: { readonly key: string; readonly lease: bigint }[];
  readonly revoked: bigint | undefined;
}

/**
 * Does what the head of this file says, each part in the order of the history.
 *
 * @param startKeys Keys that were there before. Default: none.
 */
export function independentParts(operations: readonly Operation[], startKeys: readonly string[] = []): Operation[][] {
  const all = operations.map((operation) => ({ operation, ...footprint(operation.request) }));
  const names = [...new Set([...startKeys, ...all.flatMap(({ keys }) => keys)])];
  const leased = new Map<bigint, string[]>();
  for (const { key, lease } of all.flatMap(({ puts }) => puts)) {
    const others = leased.get(lease);
    if (others === undefined) leased.set(lease, [key]);
    else others.push(key);
  }
  const groups = new Groups();
  const touched = all.map(({ operation, keys, ranges, revoked }) => {
    const inRanges = ranges.flatMap((range) => names.filter((key) => covers(range, key)));
    const each = [...keys, ...inRanges, ...(revoked === undefined ? [] : (leased.get(revoked) ?? []))];
    for (const key of each) groups.join(key, each[0] as string);
    return { operation, key: each[0] };
  });
  const parts = new Map<string | undefined, Operation[]>();
  for (const { operation, key } of touched) {
    const group = key === undefined ? undefined : groups.find(key);
    const part = parts.get(group);
    if (part === undefined) parts.set(group, [operation]);
    else part.push(operation);
  }
  return [...parts.values()];
}

function footprint(request: Request): Footprint {
  const found: Footprint = {
    keys: [],
    ranges: [],
    puts: [],
    revoked: request.kind === 'revoke' ? request.lease : undefined,
  };
  const ops = request.kind === 'txn' ? [...request.compares, ...request.success, ...request.failure] : [request];
  for (const op of ops) {
    if ('kind' in op && op.kind === 'revoke') continue;
    const end = 'end' in op ? op.end : undefined;
    if (end !== undefined) found.ranges.push({ key: op.key, end });
    else found.keys.push(op.key);
    if ('kind' in op && op.kind === 'put' && op.lease) found.puts.push({ key: op.key, lease: op.lease });
  }
  return found;
}

/** Sets of names that only ever grow together. */
class Groups {
  readonly #parents = new Map<string, string>();

  find(name: string): string {
    let root = name;
    for (let parent = this.#parents.get(root); parent !== undefined; parent = this.#parents.get(root)) root = parent;
    // The next time it is one step.
    if (root !== name) this.#parents.set(name, root);
    return root;
  }

  join(a: string, b: string): void {
    const [one, other] = [this.find(a), this.find(b)];
    if (one !== other) this.#parents.set(one, other);
  }
}

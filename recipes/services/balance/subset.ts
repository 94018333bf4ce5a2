/**
 * A part of the instances for each client.
 *
 * A thousand clients with a connection to each of a thousand instances are a million connections. Each client takes some
 * instances instead, always the same ones, and chooses among those.
 *
 * By rendezvous: a client takes the instances with the highest hashes of client and instance together. Of the subset of any
 * client at most one instance changes when an instance comes or goes, and none when a client does; clients need no numbers,
 * only names that differ. The deterministic subsetting of Google's book spreads clients more evenly, but needs numbered
 * clients, and shuffles the subsets when the number of instances passes a multiple of the size.
 *
 * How even it is: how many clients an instance gets varies by about the square root of the mean. With 1000 clients, 100
 * instances and a size of 20, each gets 200, and nine of ten between 179 and 221.
 *
 * It is a step before the strategy: what it leaves is given to the balancer as the instances there are. Weights make no
 * difference here; the strategy sees to them.
 *
 * Sources: "Site Reliability Engineering" (Google, 2016), chapter 20; gRPC's proposal A68, which does it likewise.
 *
 * @module
 */

import type { Candidate } from './balancer.ts';
import { hash32, mixed32 } from './hash.ts';

/** Which part a client takes. */
export interface SubsetOptions {
  /** Who asks; each client its own name, which stays the same when it restarts, or its subset changes then. */
  readonly client: string;
  /** How many instances; 20 to 100 are usual. Fewer than that many are all taken. */
  readonly size: number;
}

/**
 * The client's instances, in the order of the list, which is returned itself when it is not longer than the size. O(n log n).
 *
 * @throws RangeError when the size is no whole number above 0.
 */
export function subset<I extends Pick<Candidate, 'id'>>(instances: readonly I[], options: SubsetOptions): readonly I[] {
  const { client, size } = options;
  if (!Number.isInteger(size) || size < 1) throw new RangeError('the size of a subset must be a whole number above 0');
  if (instances.length <= size) return instances;
  const key = hash32(client, 4);
  const ranked = instances.map((instance) => ({ id: instance.id, hash: mixed32(key ^ hash32(instance.id, 5)) }));
  ranked.sort((a, b) => b.hash - a.hash || (a.id < b.id ? -1 : 1));
  const taken = new Set(ranked.slice(0, size).map(({ id }) => id));
  return instances.filter(({ id }) => taken.has(id));
}

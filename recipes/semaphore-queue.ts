/**
 * The arithmetic of a semaphore: who of a queue holds, and who waits for whom.
 *
 * The one rule: a place holds when its permits and those of all older places, holders or
 * not, come to no more than the limit. So places are served strictly in their order, and
 * since nobody ever comes in before an older place, one that holds by this rule goes on
 * doing so until it leaves, whoever else comes or goes.
 *
 * The limit is the one thing that can take that away: who came to hold under a higher limit
 * keeps what it has. That is why the rule is asked once, by the place itself, and others
 * can only tell by what it wrote: one that had to wait marks its key when it is served.
 *
 * @module
 */

import { DecodeError, type KeyValue, type RangeResult, type Revision } from '../src/index.ts';
import { isParticipant, type Owner, parseOwner } from './names.ts';

/** One place of the queue. */
export interface Place {
  readonly key: string;
  readonly token: Revision;
  readonly permits: number;
  /** Whether it was served after a wait, by its own word. */
  readonly marked: boolean;
  /** The permits of all older places and its own. */
  readonly upTo: number;
  readonly owner: Owner | undefined;
}

/** The queue, and the limit, at one revision. */
export interface Queue {
  readonly limit: number;
  /** When the limit was last set; 0 when it never was. */
  readonly limitRevision: Revision | 0n;
  readonly places: readonly Place[];
  readonly revision: Revision;
}

/** Where a semaphore's keys are. */
export interface SemaphoreKeys {
  readonly prefix: string;
  readonly limit: string;
  readonly permits: string;
}

/** Makes sense of everything below a semaphore's prefix. `initial` is the limit when none was set. @throws DecodeError */
export function readQueue(seen: RangeResult<string>, keys: SemaphoreKeys, initial: number): Queue {
  const limit = seen.kvs.find((kv) => kv.key === keys.limit);
  const places: Place[] = [];
  let upTo = 0;
  const byAge = seen.kvs.filter((kv) => isParticipant(kv, keys.permits)).sort(older);
  for (const kv of byAge) {
    const value = parse(kv.value);
    if (value === undefined) continue;
    upTo += value.permits;
    places.push({ key: kv.key, token: kv.createRevision, ...value, upTo, owner: parseOwner(kv.value) });
  }
  return {
    limit: limit === undefined ? initial : parseLimit(limit),
    limitRevision: limit?.modRevision ?? 0n,
    places,
    revision: seen.revision,
  };
}

/** How many permits are left, by the rule: less than 0 when some wait, or the limit was lowered. */
export function available({ limit, places }: Queue): number {
  return limit - (places.at(-1)?.upTo ?? 0);
}

/** Whether the place holds by the rule. */
export function fits(place: Place, { limit }: Queue): boolean {
  return place.upTo <= limit;
}

/**
 * The nearest older place that certainly waits, and so will mark its key or leave. None when
 * the place is the first that waits. One that came before the limit was last set may hold
 * without a mark: it is not waited for, at the price of one more that watches the holders.
 */
export function waiterAhead(place: Place, queue: Queue): Place | undefined {
  return queue.places.findLast(
    (other) => other.token < place.token && !other.marked && !fits(other, queue) && other.token > queue.limitRevision,
  );
}

function older(a: KeyValue<string>, b: KeyValue<string>): number {
  return a.createRevision < b.createRevision ? -1 : 1;
}

function parse(value: string): { permits: number; marked: boolean } | undefined {
  try {
    const parsed = JSON.parse(value) as { readonly permits?: unknown; readonly granted?: unknown } | null;
    const permits = parsed?.permits;
    if (typeof permits !== 'number' || !Number.isSafeInteger(permits) || permits < 1) return undefined;
    return { permits, marked: parsed?.granted === true };
  } catch {
    return undefined;
  }
}

function parseLimit(kv: KeyValue<string>): number {
  const limit = /^[0-9]{1,15}$/.test(kv.value.trim()) ? Number(kv.value) : 0;
  if (limit < 1) throw new DecodeError('the limit of a semaphore is not a positive whole number');
  return limit;
}

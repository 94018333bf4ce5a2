/**
 * Sizes of entries, as limits count them.
 *
 * Two measures: the payload (what the proposer brought, and what quotas and in-flight limits count; an empty entry
 * costs nothing, so that a new leader's first entry and the way out of a joint configuration are never refused), and
 * the encoded size (what paging of messages and of applied entries counts).
 *
 * @module
 */
import type { Entry } from './types.ts';

/** No limit. */
export const NO_LIMIT: number = Number.POSITIVE_INFINITY;

/** Bytes that the entry brings with it. */
export function payloadSize(entry: Entry): number {
  return entry.data.length;
}

/** Sum of {@link payloadSize}. */
export function payloadsSize(entries: readonly Entry[]): number {
  let sum = 0;
  for (const entry of entries) sum += entry.data.length;
  return sum;
}

/** Bytes of the entry as etcd encodes it: type, term and index always there. */
export function entrySize({ term, index, data }: Entry): number {
  const dataSize = data.length === 0 ? 0 : 1 + varintSize(data.length) + data.length;
  return 2 + 1 + varintSize(term) + 1 + varintSize(index) + dataSize;
}

/** Sum of {@link entrySize}. */
export function entriesSize(entries: readonly Entry[]): number {
  let sum = 0;
  for (const entry of entries) sum += entrySize(entry);
  return sum;
}

/** The longest beginning within `maxBytes`; the first entry comes along whatever its size. */
export function limitSize(entries: readonly Entry[], maxBytes: number): readonly Entry[] {
  if (maxBytes === NO_LIMIT) return entries;
  let size = 0;
  for (const [position, entry] of entries.entries()) {
    size += entrySize(entry);
    if (position > 0 && size > maxBytes) return entries.slice(0, position);
  }
  return entries;
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size += 1;
  return size;
}

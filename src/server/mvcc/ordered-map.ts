/**
 * The one place that knows which B-tree the index is.
 *
 * `sorted-btree` was chosen for its speed with strings; see docs/decisions.md.
 *
 * @module
 */
import sortedBTree from 'sorted-btree';
import type { KeyString } from './record.ts';

/**
 * Keys in the order of their bytes: what the store uses of a B-tree.
 *
 * Written out, since the library's class has one name for those who compile with the module resolution of Node and another
 * for those who compile with a bundler's, and our declarations are compiled by both.
 */
export interface OrderedMap<V> {
  readonly size: number;
  get(key: KeyString): V | undefined;
  set(key: KeyString, value: V): boolean;
  delete(key: KeyString): boolean;
  forEach(visit: (value: V, key: KeyString) => void): unknown;
  /** Visits keys from `low` on and below `high`, or up to it if `includeHigh`; an answer with `break` ends the walk. */
  forRange(
    low: KeyString,
    high: KeyString,
    includeHigh: boolean,
    visit: (key: KeyString, value: V) => { readonly break?: unknown } | undefined,
  ): unknown;
}

/** Sorts after every key: keys have no characters above 0xff. */
export const AFTER_ALL_KEYS: KeyString = '\u0100';

export function orderedMap<V>(): OrderedMap<V> {
  return new sortedBTree.default<KeyString, V>(undefined, sortedBTree.simpleComparator);
}

/**
 * The one place that knows which B-tree the index is.
 *
 * `sorted-btree` was chosen for its speed with strings, and since it can be copied in no time: a snapshot walks a copy
 * while writes go on. See docs/decisions.md.
 *
 * @module
 */
import sortedBTree from 'sorted-btree';
import type { KeyString } from './record.ts';

/** Keys in the order of their bytes. */
export type OrderedMap<V> = sortedBTree.default<KeyString, V>;

/** Sorts after every key: keys have no characters above 0xff. */
export const AFTER_ALL_KEYS: KeyString = '\u0100';

export function orderedMap<V>(): OrderedMap<V> {
  return new sortedBTree.default<KeyString, V>(undefined, sortedBTree.simpleComparator);
}

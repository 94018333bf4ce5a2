/**
 * Finds who watches a key.
 *
 * Watches of one key and of a prefix, which is what nearly all are, cost a lookup each, however many there are: a
 * prefix is looked up once for every length that a watched prefix has. Other ranges are compared one after the other.
 *
 * @module
 */
import { fromLatin1, prefixEnd, toLatin1 } from '../../protocol/keys.ts';
import type { KeyString } from './record.ts';
import type { KeyRange } from './store.ts';

/** Anything with a range of keys. */
export interface Ranged {
  readonly range: KeyRange;
}

export class Matcher<T extends Ranged> {
  readonly #keys = new Map<KeyString, Set<T>>();
  readonly #prefixes = new Map<KeyString, Set<T>>();
  /** How many different prefixes of each length there are. */
  readonly #lengths = new Map<number, number>();
  readonly #ranges = new Set<T>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(item: T): void {
    this.#size += 1;
    const { key, end } = item.range;
    if (end === '') addTo(this.#keys, key, item);
    else if (isPrefix(item.range)) {
      const prefix = prefixOf(item.range);
      if (addTo(this.#prefixes, prefix, item)) {
        this.#lengths.set(prefix.length, (this.#lengths.get(prefix.length) ?? 0) + 1);
      }
    } else this.#ranges.add(item);
  }

  delete(item: T): void {
    if (this.#remove(item)) this.#size -= 1;
  }

  /** Calls `found` with everything whose range has the key. */
  match(key: KeyString, found: (item: T) => void): void {
    for (const item of this.#keys.get(key) ?? []) found(item);
    for (const length of this.#lengths.keys()) {
      if (length > key.length) continue;
      for (const item of this.#prefixes.get(key.slice(0, length)) ?? []) found(item);
    }
    for (const item of this.#ranges) if (contains(item.range, key)) found(item);
  }

  /** Everything that is in it. */
  *[Symbol.iterator](): Iterator<T> {
    for (const set of this.#keys.values()) yield* set;
    for (const set of this.#prefixes.values()) yield* set;
    yield* this.#ranges;
  }

  #remove(item: T): boolean {
    const { key, end } = item.range;
    if (end === '') return removeFrom(this.#keys, key, item) !== undefined;
    if (!isPrefix(item.range)) return this.#ranges.delete(item);
    const prefix = prefixOf(item.range);
    const left = removeFrom(this.#prefixes, prefix, item);
    if (left === 0) {
      const others = (this.#lengths.get(prefix.length) ?? 1) - 1;
      if (others === 0) this.#lengths.delete(prefix.length);
      else this.#lengths.set(prefix.length, others);
    }
    return left !== undefined;
  }
}

/** Whether a range has a key. */
export function contains({ key, end }: KeyRange, wanted: KeyString): boolean {
  if (end === '') return wanted === key;
  return wanted >= key && (end === '\0' || wanted < end);
}

/** All keys, or all that begin with its first one. */
function isPrefix(range: KeyRange): boolean {
  return range.end === '\0' ? range.key === '\0' : toLatin1(prefixEnd(fromLatin1(range.key))) === range.end;
}

function prefixOf({ key, end }: KeyRange): KeyString {
  return end === '\0' ? '' : key;
}

/** @returns Whether it is the first under its key. */
function addTo<T>(map: Map<KeyString, Set<T>>, key: KeyString, item: T): boolean {
  const set = map.get(key);
  if (set) set.add(item);
  else map.set(key, new Set([item]));
  return !set;
}

/** @returns How many are left under its key, or undefined if it was not there. */
function removeFrom<T>(map: Map<KeyString, Set<T>>, key: KeyString, item: T): number | undefined {
  const set = map.get(key);
  if (!set?.delete(item)) return undefined;
  if (set.size === 0) map.delete(key);
  return set.size;
}

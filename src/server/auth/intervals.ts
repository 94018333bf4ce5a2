/**
 * Sets of keys that permissions allow.
 *
 * Permissions add up: a range is allowed if every key in it is, by whichever of them. So overlapping and touching
 * intervals become one, and a range is allowed if one of what is left contains it.
 *
 * Invariants: the pieces are in order, none is empty and none touches the next.
 *
 * @module
 */
import type { KeyString } from '../mvcc/record.ts';
import type { KeyRange } from '../mvcc/store.ts';

/** Comes after every key, whose characters are bytes. */
const NO_BOUND: KeyString = '\u0100';

/** The keys from `begin` on, before `end`. */
interface Interval {
  readonly begin: KeyString;
  readonly end: KeyString;
}

/** The same range with its end always given. */
function toInterval({ key, end }: KeyRange): Interval {
  if (end === '') return { begin: key, end: `${key}\0` };
  return { begin: key, end: end === '\0' ? NO_BOUND : end };
}

export class IntervalSet {
  readonly #pieces: readonly Interval[];

  /** The union of some ranges. */
  constructor(ranges: Iterable<KeyRange>) {
    const intervals = Array.from(ranges, toInterval).filter(({ begin, end }) => begin < end);
    intervals.sort((a, b) => (a.begin < b.begin ? -1 : a.begin > b.begin ? 1 : 0));
    const pieces: Interval[] = [];
    for (const interval of intervals) {
      const last = pieces.at(-1);
      if (!last || last.end < interval.begin) pieces.push(interval);
      else if (last.end < interval.end) pieces[pieces.length - 1] = { begin: last.begin, end: interval.end };
    }
    this.#pieces = pieces;
  }

  /**
   * Whether all keys of a range are in the set. A range that ends before it begins has none; as with etcd, what lies
   * between has to be in the set then.
   */
  covers(range: KeyRange): boolean {
    const { begin, end } = toInterval(range);
    const piece = this.#pieceAt(begin);
    if (!piece) return false;
    return begin < end ? end <= piece.end : piece.begin < end && begin < piece.end;
  }

  /** The last piece that does not begin after a key. */
  #pieceAt(key: KeyString): Interval | undefined {
    let low = 0;
    for (let high = this.#pieces.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if ((this.#pieces[middle] as Interval).begin <= key) low = middle + 1;
      else high = middle;
    }
    return this.#pieces[low - 1];
  }
}

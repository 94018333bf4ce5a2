/**
 * Builds a B+ tree of pages from entries that come in order, from the bottom up.
 *
 * It keeps one page for each level, whatever the number of entries: a page goes to the sink when the next entry has no
 * room in it, and its first key goes to the level above. So pages are numbered in the order in which they are full, and
 * the same entries make the same pages: one run over a sink that only counts tells where everything will lie.
 *
 * An entry that is larger than a page has a page of its own that runs on. A branch has at least two children, also the
 * last one of its level: bbolt panics when it thins out the only child of a branch. To that end a full branch keeps its
 * last child back for the next one.
 *
 * @module
 */
import { ELEMENT_BYTES, HEAD_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, PAGE_BYTES } from './format.ts';

/** Takes full pages and numbers them. It may keep neither of the arrays. */
export interface PageSink {
  /** @returns The page's number. */
  leaf(keys: readonly Uint8Array[], values: readonly Uint8Array[], flags: number, bytes: number): number;
  /** @returns The page's number. */
  branch(keys: readonly Uint8Array[], children: readonly number[], bytes: number): number;
}

/** A branch with fewer children than this is never full: it needs two besides the one that it keeps back. */
const MIN_FULL_BRANCH = 3;

export class TreeBuilder {
  readonly #sink: PageSink;
  /** Flags of all entries of its leaves. */
  readonly #flags: number;
  #keys: Uint8Array[] = [];
  #values: Uint8Array[] = [];
  #bytes = HEAD_BYTES;
  #lastKey: Uint8Array | undefined;
  readonly #branches: Branch[] = [];

  constructor(sink: PageSink, flags = 0) {
    this.#sink = sink;
    this.#flags = flags;
  }

  /**
   * Adds an entry; its bytes must not change before its page is full.
   *
   * @throws RangeError on a key that is not above the one before, or a key or value of a length that bbolt refuses.
   */
  add(key: Uint8Array, value: Uint8Array): void {
    if (key.length === 0 || key.length > MAX_KEY_BYTES)
      throw new RangeError(`bbolt takes no key of ${key.length} bytes`);
    if (value.length > MAX_VALUE_BYTES) throw new RangeError(`bbolt takes no value of ${value.length} bytes`);
    if (this.#lastKey && Buffer.compare(this.#lastKey, key) >= 0) throw new RangeError('keys must ascend');
    this.#lastKey = key;
    const size = ELEMENT_BYTES + key.length + value.length;
    if (this.#keys.length > 0 && this.#bytes + size > PAGE_BYTES) this.#raise(0, ...this.#endLeaf());
    this.#keys.push(key);
    this.#values.push(value);
    this.#bytes += size;
  }

  /** Ends the tree. @returns The number of its root page; without entries that is an empty leaf. */
  finish(): number {
    if (this.#branches.length === 0) return this.#sink.leaf(this.#keys, this.#values, this.#flags, this.#bytes);
    this.#raise(0, ...this.#endLeaf());
    for (let level = 0; ; level += 1) {
      const branch = this.#branches[level] as Branch;
      const page = this.#sink.branch(branch.keys, branch.children, branch.bytes);
      // Raising may have added a level, so this is asked anew each time.
      if (level === this.#branches.length - 1) return page;
      this.#raise(level + 1, branch.keys[0] as Uint8Array, page);
    }
  }

  #endLeaf(): [firstKey: Uint8Array, page: number] {
    const page = this.#sink.leaf(this.#keys, this.#values, this.#flags, this.#bytes);
    const first = this.#keys[0] as Uint8Array;
    this.#keys = [];
    this.#values = [];
    this.#bytes = HEAD_BYTES;
    return [first, page];
  }

  /** Makes a page the child of a branch of this level. */
  #raise(level: number, key: Uint8Array, page: number): void {
    let branch = this.#branches[level] ?? new Branch();
    this.#branches[level] = branch;
    if (branch.children.length >= MIN_FULL_BRANCH && branch.bytes + ELEMENT_BYTES + key.length > PAGE_BYTES) {
      const next = branch.splitLast();
      this.#branches[level] = next;
      const full = this.#sink.branch(branch.keys, branch.children, branch.bytes);
      this.#raise(level + 1, branch.keys[0] as Uint8Array, full);
      branch = next;
    }
    branch.add(key, page);
  }
}

class Branch {
  readonly keys: Uint8Array[] = [];
  readonly children: number[] = [];
  bytes = HEAD_BYTES;

  add(key: Uint8Array, child: number): void {
    this.keys.push(key);
    this.children.push(child);
    this.bytes += ELEMENT_BYTES + key.length;
  }

  /** Takes the last child out, into a branch of its own. */
  splitLast(): Branch {
    const key = this.keys.pop() as Uint8Array;
    this.bytes -= ELEMENT_BYTES + key.length;
    const next = new Branch();
    next.add(key, this.children.pop() as number);
    return next;
  }
}

/**
 * Writes bbolt files from beginning to end, without ever holding one.
 *
 * The meta pages come first and name the root, which comes last. So the entries are gone through twice: once to count
 * pages, once to write them. They must be the same both times; a view that changed is noticed by its page numbers at
 * the latest, and never ends as a file that looks whole.
 *
 * What is kept in memory is one page for each level of one bucket's tree, one chunk, and what a single large value
 * needs. Between steps it calls `pause`, where the caller lets its event loop go on.
 *
 * Layout: both meta pages, an empty list of free pages, the buckets' pages in the order of the buckets, the tree of
 * buckets. Each bucket has pages of its own, also a small one (bbolt would put that inline).
 *
 * @module
 */
import {
  BRANCH_PAGE,
  BUCKET_BYTES,
  BUCKET_ELEMENT,
  ELEMENT_BYTES,
  FREELIST_PAGE,
  HEAD_BYTES,
  LEAF_PAGE,
  PAGE_BYTES,
  writeHead,
  writeMeta,
} from './format.ts';
import { type PageSink, TreeBuilder } from './tree.ts';

/** A key and its value. */
export type BoltEntry = readonly [key: Uint8Array, value: Uint8Array];

/** A bucket to write. */
export interface BoltBucket {
  readonly name: string;
  /** Its entries, in the order of their keys' bytes; iterated twice, and the same both times. */
  readonly entries: Iterable<BoltEntry>;
}

export interface BoltWriteOptions {
  /** Is awaited after each step of work, a chunk's worth: the event loop's chance. */
  readonly pause: () => Promise<void>;
  /** Bytes of a chunk; 32 KiB by default, as etcd sends them. Only the last one is shorter. */
  readonly chunkBytes?: number | undefined;
}

/** A file that is ready to be written. */
export interface BoltImage {
  readonly sizeBytes: number;
  /** Its bytes; to be iterated once. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

const DEFAULT_CHUNK_BYTES = 32 * 1024;
/** Both meta pages and the list of free pages. */
const FIXED_PAGES = 3;
const FREELIST_AT = 2;
/** What an entry costs besides its bytes, in steps of work. */
const ENTRY_EFFORT = 64;

/**
 * Lays out a file.
 *
 * @param buckets In the order of their names, each name once.
 * @throws RangeError if names or keys don't ascend, or bbolt refuses the length of a key or value.
 */
export async function writeBolt(buckets: readonly BoltBucket[], options: BoltWriteOptions): Promise<BoltImage> {
  const { pause, chunkBytes = DEFAULT_CHUNK_BYTES } = options;
  const counter = new PageCounter();
  const build = buildFile(buckets, counter, chunkBytes);
  let step = build.next();
  for (; !step.done; step = build.next()) await pause();
  const file = { root: step.value, pageCount: counter.next };
  return { sizeBytes: file.pageCount * PAGE_BYTES, chunks: writePages(buckets, file, pause, chunkBytes) };
}

async function* writePages(
  buckets: readonly BoltBucket[],
  file: { readonly root: number; readonly pageCount: number },
  pause: () => Promise<void>,
  chunkBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const writer = new PageWriter(chunkBytes, file.pageCount);
  writer.fixed(file.root);
  const build = buildFile(buckets, writer, chunkBytes);
  for (;;) {
    const step = build.next();
    if (step.done && (step.value !== file.root || writer.next !== file.pageCount)) throw changed();
    yield* writer.take(step.done === true);
    if (step.done) return;
    await pause();
  }
}

function changed(): Error {
  return new Error('the entries of a bbolt file changed while it was written');
}

/** Builds all pages of a file. Yields after each step of work. @returns The root page. */
function* buildFile(buckets: readonly BoltBucket[], sink: PageSink, stepBytes: number): Generator<void, number> {
  const root = new TreeBuilder(sink, BUCKET_ELEMENT);
  let effort = 0;
  for (const { name, entries } of buckets) {
    const tree = new TreeBuilder(sink);
    for (const [key, value] of entries) {
      tree.add(key, value);
      effort += key.length + value.length + ENTRY_EFFORT;
      if (effort < stepBytes) continue;
      yield;
      effort = 0;
    }
    const bucket = Buffer.alloc(BUCKET_BYTES);
    bucket.writeBigUInt64LE(BigInt(tree.finish()));
    root.add(Buffer.from(name), bucket);
  }
  return root.finish();
}

/** Numbers pages and forgets them. */
class PageCounter implements PageSink {
  next = FIXED_PAGES;

  leaf(_keys: readonly Uint8Array[], _values: readonly Uint8Array[], _flags: number, bytes: number): number {
    return this.#count(bytes);
  }

  branch(_keys: readonly Uint8Array[], _children: readonly number[], bytes: number): number {
    return this.#count(bytes);
  }

  #count(bytes: number): number {
    const page = this.next;
    this.next += Math.ceil(bytes / PAGE_BYTES);
    return page;
  }
}

/** Puts pages one behind the other, into chunks of one size. */
class PageWriter implements PageSink {
  next = FIXED_PAGES;
  readonly #chunkBytes: number;
  readonly #pageCount: number;
  #full: Uint8Array[] = [];
  #chunk: Buffer;
  #at = 0;

  constructor(chunkBytes: number, pageCount: number) {
    this.#chunkBytes = chunkBytes;
    this.#pageCount = pageCount;
    this.#chunk = Buffer.alloc(chunkBytes);
  }

  /** The pages that every file begins with. */
  fixed(root: number): void {
    const pages = Buffer.alloc(FIXED_PAGES * PAGE_BYTES);
    const meta = { pageBytes: PAGE_BYTES, root, freelist: FREELIST_AT, pageCount: this.#pageCount };
    // The page of an even transaction is 0, and the other one is one transaction older.
    writeMeta(pages, 0, 0, { ...meta, txid: 2n });
    writeMeta(pages, PAGE_BYTES, 1, { ...meta, txid: 1n });
    const free = { page: FREELIST_AT, flags: FREELIST_PAGE, count: 0, overflow: 0 };
    writeHead(pages, FREELIST_AT * PAGE_BYTES, free);
    this.#put(pages);
  }

  leaf(keys: readonly Uint8Array[], values: readonly Uint8Array[], flags: number, bytes: number): number {
    return this.#page(LEAF_PAGE, keys.length, bytes, (page) => {
      let data = HEAD_BYTES + keys.length * ELEMENT_BYTES;
      for (let i = 0, at = HEAD_BYTES; i < keys.length; i += 1, at += ELEMENT_BYTES) {
        const key = keys[i] as Uint8Array;
        const value = values[i] as Uint8Array;
        page.writeUInt32LE(flags, at);
        page.writeUInt32LE(data - at, at + 4);
        page.writeUInt32LE(key.length, at + 8);
        page.writeUInt32LE(value.length, at + 12);
        page.set(key, data);
        page.set(value, data + key.length);
        data += key.length + value.length;
      }
    });
  }

  branch(keys: readonly Uint8Array[], children: readonly number[], bytes: number): number {
    return this.#page(BRANCH_PAGE, keys.length, bytes, (page) => {
      let data = HEAD_BYTES + keys.length * ELEMENT_BYTES;
      for (let i = 0, at = HEAD_BYTES; i < keys.length; i += 1, at += ELEMENT_BYTES) {
        const key = keys[i] as Uint8Array;
        page.writeUInt32LE(data - at, at);
        page.writeUInt32LE(key.length, at + 4);
        page.writeBigUInt64LE(BigInt(children[i] as number), at + 8);
        page.set(key, data);
        data += key.length;
      }
    });
  }

  /** The chunks that are full; at the end also the one that is not. */
  take(end: boolean): readonly Uint8Array[] {
    const full = this.#full;
    this.#full = [];
    if (end && this.#at > 0) full.push(this.#chunk.subarray(0, this.#at));
    return full;
  }

  #page(flags: number, count: number, bytes: number, fill: (page: Buffer) => void): number {
    const pages = Math.ceil(bytes / PAGE_BYTES);
    const number = this.next;
    this.next += pages;
    if (this.next > this.#pageCount) throw changed();
    const size = pages * PAGE_BYTES;
    // Most pages are made where they go.
    const inPlace = this.#at + size <= this.#chunkBytes;
    const page = inPlace ? this.#chunk.subarray(this.#at, this.#at + size) : Buffer.alloc(size);
    writeHead(page, 0, { page: number, flags, count, overflow: pages - 1 });
    fill(page);
    if (inPlace) this.#advance(size);
    else this.#put(page);
    return number;
  }

  #put(bytes: Buffer): void {
    for (let from = 0; from < bytes.length; ) {
      const size = bytes.copy(this.#chunk, this.#at, from);
      from += size;
      this.#advance(size);
    }
  }

  #advance(size: number): void {
    this.#at += size;
    if (this.#at < this.#chunkBytes) return;
    this.#full.push(this.#chunk);
    this.#chunk = Buffer.alloc(this.#chunkBytes);
    this.#at = 0;
  }
}

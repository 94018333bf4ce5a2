/**
 * Reads bbolt files, real etcd's and ours, a page at a time.
 *
 * Nothing in a file is believed: every page must have its own number and a kind that fits its place, every key and
 * value must lie within its page, keys must ascend over a whole bucket, and a walk may not see more pages than there
 * are. What breaks a rule is a {@link BoltFileError}; no length or number in a file can make the reader loop, read
 * outside the file, or reserve more than the file's size.
 *
 * Pages of our own files lie in the order in which they are read, so a read that goes on where the last one ended takes
 * more than it was asked for. Keys and values that are handed out are views: copy what has to stay.
 *
 * @module
 */
import {
  BoltFileError,
  BRANCH_PAGE,
  BUCKET_BYTES,
  BUCKET_ELEMENT,
  ELEMENT_BYTES,
  HEAD_BYTES,
  LEAF_PAGE,
  META_BYTES,
  type Meta,
  type PageHead,
  readHead,
  readMeta,
  readPageNumber,
} from './format.ts';
import type { BoltSource } from './source.ts';
import type { BoltEntry } from './writer.ts';

const READ_AHEAD_BYTES = 256 * 1024;
/** Page sizes that processors have: where the second meta page may lie when the first one is lost. */
const PAGE_SIZES = [1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];
/** Deeper than any tree of pages: each level has at least twice those of the one above. */
const MAX_DEPTH = 64;

/** A page, or the page inside an inline bucket. */
interface Page {
  readonly number: number;
  readonly head: PageHead;
  readonly bytes: Buffer;
}

interface Element {
  readonly flags: number;
  readonly key: Buffer;
  readonly value: Buffer;
}

/** An open file. It does not own its source. */
export class BoltFile {
  readonly #pages: PageReader;
  readonly #meta: Meta;

  private constructor(source: BoltSource, meta: Meta) {
    this.#meta = meta;
    this.#pages = new PageReader(source, meta);
  }

  /** @throws {@link BoltFileError} if it is no bbolt file, or one that has been cut off. */
  static async open(source: BoltSource): Promise<BoltFile> {
    const meta = await findMeta(source);
    if (meta.pageCount * meta.pageBytes > source.sizeBytes) {
      throw new BoltFileError('torn', `${source.sizeBytes} bytes instead of ${meta.pageCount * meta.pageBytes}`);
    }
    return new BoltFile(source, meta);
  }

  /** Bytes of its pages, without anything that may follow them. */
  get sizeBytes(): number {
    return this.#meta.pageCount * this.#meta.pageBytes;
  }

  /** The names of its buckets, in order. */
  async bucketNames(): Promise<string[]> {
    const names: string[] = [];
    for await (const elements of this.#walk(await this.#root())) {
      for (const { flags, key } of elements) if (flags & BUCKET_ELEMENT) names.push(key.toString());
    }
    return names;
  }

  /**
   * A bucket's entries in order, those of a leaf page at a time: an `await` for each of a million would take its time.
   * Nothing for a bucket that is not there.
   *
   * @throws {@link BoltFileError} on a page that breaks the rules, or on a bucket within the bucket: etcd has none.
   */
  async *entries(name: string): AsyncGenerator<readonly BoltEntry[], void, undefined> {
    const root = await this.#find(Buffer.from(name));
    if (!root) return;
    for await (const elements of this.#walk(root)) {
      if (elements.some(({ flags }) => flags & BUCKET_ELEMENT)) {
        throw new BoltFileError('foreign', `a bucket within the bucket ${name}`);
      }
      yield elements.map(({ key, value }): BoltEntry => [key, value]);
    }
  }

  #root(): Promise<Page> {
    return this.#pages.read(this.#meta.root);
  }

  /** The root page of a bucket. */
  async #find(name: Buffer): Promise<Page | undefined> {
    for await (const elements of this.#walk(await this.#root())) {
      for (const { flags, key, value } of elements) {
        if (!(flags & BUCKET_ELEMENT) || !key.equals(name)) continue;
        if (value.length < BUCKET_BYTES) throw new BoltFileError('corrupt', 'a bucket without a root');
        const page = readPageNumber(value, 0);
        return page === 0 ? inlinePage(value) : this.#pages.read(page);
      }
    }
    return undefined;
  }

  /** The elements of all leaves below a page, checked to ascend. */
  async *#walk(root: Page): AsyncGenerator<readonly Element[], void, undefined> {
    const walk: Walk = { pagesLeft: this.#meta.pageCount, lastKey: undefined };
    yield* this.#below(root, walk, 0);
  }

  async *#below(page: Page, walk: Walk, depth: number): AsyncGenerator<readonly Element[], void, undefined> {
    walk.pagesLeft -= 1;
    if (walk.pagesLeft < 0 || depth > MAX_DEPTH) throw new BoltFileError('corrupt', `page ${page.number} is in a loop`);
    if (page.head.flags === LEAF_PAGE) {
      const elements = leafElements(page);
      for (const { key } of elements) {
        if (walk.lastKey && walk.lastKey.compare(key) >= 0) {
          throw new BoltFileError('corrupt', `keys of page ${page.number} are not in order`);
        }
        walk.lastKey = key;
      }
      yield elements;
    } else if (page.head.flags === BRANCH_PAGE) {
      for (const child of branchChildren(page)) yield* this.#below(await this.#pages.read(child), walk, depth + 1);
    } else {
      throw new BoltFileError('corrupt', `page ${page.number} is neither leaf nor branch`);
    }
  }
}

interface Walk {
  pagesLeft: number;
  lastKey: Buffer | undefined;
}

/** Reads pages, ahead where it pays. */
class PageReader {
  readonly #source: BoltSource;
  readonly #meta: Meta;
  #window: Buffer = Buffer.alloc(0);
  #windowAt = 0;

  constructor(source: BoltSource, meta: Meta) {
    this.#source = source;
    this.#meta = meta;
  }

  async read(number: number): Promise<Page> {
    const { pageBytes, pageCount } = this.#meta;
    // Pages 0 and 1 are the meta pages.
    if (number < 2 || number >= pageCount) throw new BoltFileError('corrupt', `there is no page ${number}`);
    const first = await this.#bytes(number * pageBytes, pageBytes);
    const head = readHead(first, 0);
    if (head.page !== number) throw new BoltFileError('corrupt', `page ${number} has another number`);
    if (number + head.overflow >= pageCount) throw new BoltFileError('torn', `page ${number} runs past the end`);
    const size = (1 + head.overflow) * pageBytes;
    return { number, head, bytes: head.overflow === 0 ? first : await this.#bytes(number * pageBytes, size) };
  }

  async #bytes(at: number, size: number): Promise<Buffer> {
    const end = this.#windowAt + this.#window.length;
    if (at < this.#windowAt || at + size > end) {
      const fileBytes = this.#meta.pageCount * this.#meta.pageBytes;
      const goesOn = at >= this.#windowAt && at <= end;
      const wanted = goesOn ? Math.max(size, READ_AHEAD_BYTES) : size;
      this.#window = await this.#source.read(at, Math.min(wanted, fileBytes - at));
      this.#windowAt = at;
      if (this.#window.length < size) throw new BoltFileError('torn', `it ends at ${at + this.#window.length}`);
    }
    return this.#window.subarray(at - this.#windowAt, at - this.#windowAt + size);
  }
}

/** The valid meta page with the higher transaction number. */
async function findMeta(source: BoltSource): Promise<Meta> {
  const start = await source.read(0, Math.min(source.sizeBytes, 2 * (PAGE_SIZES.at(-1) as number)));
  const first = readMeta(start, 0);
  const sizes = typeof first === 'string' ? PAGE_SIZES : [first.pageBytes];
  const found = sizes.map((size) => readMeta(start, size)).find((meta) => typeof meta !== 'string');
  const metas = [first, found].filter((meta) => meta !== undefined && typeof meta !== 'string');
  metas.sort((a, b) => (a.txid > b.txid ? -1 : 1));
  const [best] = metas;
  if (!best) {
    const lost = first === 'torn' || start.length < HEAD_BYTES + META_BYTES;
    throw new BoltFileError(lost ? 'torn' : 'foreign', 'no meta page');
  }
  if (!PAGE_SIZES.includes(best.pageBytes)) throw new BoltFileError('foreign', `pages of ${best.pageBytes} bytes`);
  return best;
}

/** The page that an inline bucket has behind its own value. */
function inlinePage(bucket: Buffer): Page {
  const bytes = bucket.subarray(BUCKET_BYTES);
  if (bytes.length < HEAD_BYTES) throw new BoltFileError('corrupt', 'an inline bucket without a page');
  const head = readHead(bytes, 0);
  if (head.flags !== LEAF_PAGE) throw new BoltFileError('corrupt', 'an inline bucket that is no leaf');
  return { number: 0, head, bytes };
}

function leafElements({ number, head, bytes }: Page): Element[] {
  const elements: Element[] = [];
  const end = endOfElements(number, head, bytes);
  for (let at = HEAD_BYTES; at < end; at += ELEMENT_BYTES) {
    const from = at + bytes.readUInt32LE(at + 4);
    const middle = from + bytes.readUInt32LE(at + 8);
    const to = middle + bytes.readUInt32LE(at + 12);
    if (from < end || to > bytes.length) throw new BoltFileError('corrupt', `an entry outside its page ${number}`);
    const key = bytes.subarray(from, middle);
    elements.push({ flags: bytes.readUInt32LE(at), key, value: bytes.subarray(middle, to) });
  }
  return elements;
}

function branchChildren({ number, head, bytes }: Page): number[] {
  const children: number[] = [];
  const end = endOfElements(number, head, bytes);
  for (let at = HEAD_BYTES; at < end; at += ELEMENT_BYTES) children.push(readPageNumber(bytes, at + 8));
  return children;
}

function endOfElements(number: number, head: PageHead, bytes: Buffer): number {
  const end = HEAD_BYTES + head.count * ELEMENT_BYTES;
  if (end > bytes.length) throw new BoltFileError('corrupt', `page ${number} has more entries than room`);
  return end;
}

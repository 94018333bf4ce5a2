/**
 * The parts that bbolt files are made of, as bytes: the head of a page, and the meta page.
 *
 * A file is a row of pages of one size. Each begins with its number, its kind, how many elements it has, and how many
 * further pages it runs on for. Pages 0 and 1 are meta pages: each names the root of the tree of buckets, and the one
 * with the higher transaction number whose checksum holds is valid. An element of a leaf or branch page says how far
 * behind its own start its key lies; a value follows its key. All numbers are little-endian.
 *
 * Whoever changes a layout here changes it against real files: `etcdutl snapshot status` checks a whole file.
 *
 * Source: the bbolt file format (go.etcd.io/bbolt), checked on files of etcd 3.4 and 3.5; FNV-1a as in RFC 9923.
 *
 * @module
 */

/** Bytes of a page as we write them; files that we read may have others. */
export const PAGE_BYTES = 4096;
/** Bytes of a page's head. */
export const HEAD_BYTES = 16;
/** Bytes of an element of a leaf or a branch, without its key and value. */
export const ELEMENT_BYTES = 16;
/** Bytes of a bucket's own value: the number of its root page, 0 if it is inline, and a sequence that etcd never uses. */
export const BUCKET_BYTES = 16;
/** Bytes of a meta page that mean something, its head not counted. */
export const META_BYTES = 64;

/** Kinds of page. */
export const BRANCH_PAGE = 0x01;
export const LEAF_PAGE = 0x02;
export const META_PAGE = 0x04;
export const FREELIST_PAGE = 0x10;

/** Flag of a leaf's element that is a bucket. */
export const BUCKET_ELEMENT = 0x01;

/** The longest key that bbolt takes; the shortest has one byte. */
export const MAX_KEY_BYTES = 32_768;
/** The longest value that bbolt takes, less room for key and heads. */
export const MAX_VALUE_BYTES = 2 ** 31 - 2 - 2 * MAX_KEY_BYTES;

const MAGIC = 0xed0cdaed;
const VERSION = 2;
const CHECKSUM_AT = 56;

/**
 * What is wrong with a file: `foreign`: it is no bbolt file, or of another version; `torn`: it ends too early, or
 * neither meta page is whole; `corrupt`: its pages contradict each other.
 */
export type BoltFault = 'foreign' | 'torn' | 'corrupt';

/** A file that can't be read as a bbolt file. Messages name pages, never keys or values. */
export class BoltFileError extends Error {
  override name = 'BoltFileError';
  readonly code: BoltFault;

  constructor(code: BoltFault, message: string) {
    super(`${code} bbolt file: ${message}`);
    this.code = code;
  }
}

/** The head of a page. */
export interface PageHead {
  readonly page: number;
  readonly flags: number;
  /** Number of its elements. */
  readonly count: number;
  /** Number of pages behind it that belong to it. */
  readonly overflow: number;
}

/** A meta page. Pages are numbers, since a file of 2^53 pages does not fit anywhere. */
export interface Meta {
  readonly pageBytes: number;
  /** Root page of the tree of buckets. */
  readonly root: number;
  /** Page of the list of free pages; undefined if the file has none. */
  readonly freelist: number | undefined;
  /** Number of pages in use: the file is at least as long. */
  readonly pageCount: number;
  /** Number of the transaction that wrote it. */
  readonly txid: bigint;
}

/** Where a file says that it has no list of free pages. */
const NO_FREELIST = 0xffff_ffff_ffff_ffffn;

export function writeHead(into: Buffer, at: number, head: PageHead): void {
  into.writeBigUInt64LE(BigInt(head.page), at);
  into.writeUInt16LE(head.flags, at + 8);
  into.writeUInt16LE(head.count, at + 10);
  into.writeUInt32LE(head.overflow, at + 12);
}

export function readHead(from: Buffer, at: number): PageHead {
  return {
    page: readPageNumber(from, at),
    flags: from.readUInt16LE(at + 8),
    count: from.readUInt16LE(at + 10),
    overflow: from.readUInt32LE(at + 12),
  };
}

/** Writes a meta page, 0 or 1, with its head. */
export function writeMeta(into: Buffer, at: number, page: 0 | 1, meta: Meta): void {
  writeHead(into, at, { page, flags: META_PAGE, count: 0, overflow: 0 });
  const body = into.subarray(at + HEAD_BYTES, at + HEAD_BYTES + META_BYTES);
  body.writeUInt32LE(MAGIC, 0);
  body.writeUInt32LE(VERSION, 4);
  body.writeUInt32LE(meta.pageBytes, 8);
  body.writeBigUInt64LE(BigInt(meta.root), 16);
  body.writeBigUInt64LE(meta.freelist === undefined ? NO_FREELIST : BigInt(meta.freelist), 32);
  body.writeBigUInt64LE(BigInt(meta.pageCount), 40);
  body.writeBigUInt64LE(meta.txid, 48);
  body.writeBigUInt64LE(fnv1a64(body.subarray(0, CHECKSUM_AT)), CHECKSUM_AT);
}

/** Reads a meta page. `foreign` if there is none, `torn` if its checksum does not hold. */
export function readMeta(from: Buffer, at: number): Meta | 'foreign' | 'torn' {
  if (from.length < at + HEAD_BYTES + META_BYTES) return 'torn';
  const body = from.subarray(at + HEAD_BYTES, at + HEAD_BYTES + META_BYTES);
  if (body.readUInt32LE(0) !== MAGIC || body.readUInt32LE(4) !== VERSION) return 'foreign';
  if (body.readBigUInt64LE(CHECKSUM_AT) !== fnv1a64(body.subarray(0, CHECKSUM_AT))) return 'torn';
  return {
    pageBytes: body.readUInt32LE(8),
    root: readPageNumber(body, 16),
    freelist: body.readBigUInt64LE(32) === NO_FREELIST ? undefined : readPageNumber(body, 32),
    pageCount: readPageNumber(body, 40),
    txid: body.readBigUInt64LE(48),
  };
}

/** A page number; one beyond all files loses digits, and stays beyond all files. */
export function readPageNumber(from: Buffer, at: number): number {
  return from.readUInt32LE(at + 4) * 2 ** 32 + from.readUInt32LE(at);
}

const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;

/** FNV-1a of 64 bits. For a few bytes: it computes with bigints. */
export function fnv1a64(bytes: Uint8Array): bigint {
  let hash = FNV_OFFSET;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * FNV_PRIME);
  return hash;
}

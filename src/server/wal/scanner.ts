/**
 * Walks through the records of a log and tells three things apart: the end, a tail that a crash tore, and damage.
 *
 * A write that was not synced may be on the disk in part, sector by sector, and what is not there is zeros, because
 * files are made of zeros. So a record is torn, as with etcd, if it is in the last file and one of its sectors is all
 * zeros or the file ends within it. It and what follows was never acknowledged and may be cut off. Whatever else does
 * not fit is damage: it is reported with its place, and cutting it off could lose what was acknowledged.
 *
 * Stricter than etcd, since one flipped bit must not look like a torn tail:
 *
 * - What is there of a torn record must agree with its length.
 * - Where a length is 0, so is the rest of its sector. If it was the last of its sector, the record behind it may
 *   still be whole, by the checksum: then it counts, and the length is to be written anew.
 *
 * What can't be told: a record in the last file that has a sector of zeros in it by right, with a bit flipped elsewhere
 * in its data, looks torn. etcd has this too.
 *
 * @module
 */
import { crc32c } from '@node-rs/crc32';
import { type Disk, type DiskFile, SECTOR_BYTES } from '../storage/disk.ts';
import { WalError } from './errors.ts';
import { HEAD_BYTES, LENGTH_BYTES, paddingOf, type RecordHead, RecordType, readHead, readLength } from './frame.ts';
import type { Segment } from './segments.ts';

/** Bytes that are read at a time. */
const READ_BYTES = 1024 * 1024;

/** What each file begins with. */
const HEAD = [RecordType.crc, RecordType.metadata];

/** One record whose checksum is right. */
export interface ScannedRecord {
  readonly type: number;
  /** A view into a large buffer. */
  readonly data: Uint8Array;
  readonly file: string;
  /** Where its frame begins. */
  readonly offset: number;
}

/** A length that is to be written anew. */
export interface LostLength {
  readonly offset: number;
  readonly recordBytes: number;
}

/** Reads files in order, each record once. */
export class Scanner {
  /** Checksum of the data of all records so far. */
  crc = 0;
  /** Where the last whole record of the file ends. */
  offset = 0;
  /** Whether something that a crash tore lies behind the end. Known at the end. */
  torn = false;
  /** Lengths in the last file that a crash tore off records that are whole. */
  readonly lostLengths: LostLength[] = [];
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #segments: readonly Segment[];
  #current = 0;
  /** How many records of the file were read. */
  #records = 0;
  #window: Window | undefined;

  constructor(disk: Disk, directory: string, segments: readonly Segment[]) {
    this.#disk = disk;
    this.#directory = directory;
    this.#segments = segments;
  }

  /** Path of the file that is read. */
  get file(): string {
    return `${this.#directory}/${this.#segments[this.#current]?.name}`;
  }

  get #inLastFile(): boolean {
    return this.#current === this.#segments.length - 1;
  }

  /**
   * The next record, or undefined at the end of the log.
   *
   * @throws WalError `corrupt`.
   */
  async next(): Promise<ScannedRecord | undefined> {
    for (;;) {
      this.#window ??= await Window.open(this.#disk, this.file);
      const record = await this.#frame(this.#window);
      if (record !== undefined) {
        const head = HEAD[this.#records++];
        if (head !== undefined && record.type !== head) throw this.#corrupt(record.start, 'not how a file begins');
        this.offset = record.end;
        return { type: record.type, data: record.data, file: this.file, offset: record.start };
      }
      // A file has its name only since its head is durable: no crash can have torn that.
      if (this.#records < HEAD.length) throw this.#corrupt(this.offset, 'the head of the file is missing');
      if (this.#inLastFile) return undefined;
      await this.close();
      this.#current++;
      this.#records = 0;
      this.offset = 0;
    }
  }

  async close(): Promise<void> {
    const window = this.#window;
    this.#window = undefined;
    await window?.close();
  }

  /** The record at `offset`, if there is a whole one. */
  async #frame(window: Window): Promise<{ type: number; data: Uint8Array; start: number; end: number } | undefined> {
    const start = this.offset;
    const length = await window.read(start, LENGTH_BYTES);
    if (length.length < LENGTH_BYTES || isZero(length)) return this.#atEnd(window, start, length);
    const recordBytes = readLength(length, 0);
    if (recordBytes === undefined) throw this.#corrupt(start, 'no length');
    const frameBytes = recordBytes + paddingOf(recordBytes);
    const body = await window.read(start + LENGTH_BYTES, frameBytes);
    const head = readHead(body.subarray(0, recordBytes));
    // Zeros behind a record that the file's end cut off are no loss.
    if (typeof head === 'object' && head.bytes === recordBytes && body.length >= recordBytes) {
      const data = body.subarray(head.dataAt, recordBytes);
      if (this.#accept(head, data)) return { type: head.type, data, start, end: start + LENGTH_BYTES + frameBytes };
    }
    if (!this.#inLastFile || !isTorn(body, start + LENGTH_BYTES, recordBytes)) {
      throw this.#corrupt(start, typeof head === 'object' && head.bytes === recordBytes ? 'checksum' : 'no record');
    }
    this.torn = true;
    return undefined;
  }

  /** Whether the checksum is right; if so, goes on with it. The first one in the log is believed. */
  #accept(head: RecordHead, data: Buffer): boolean {
    const first = this.#current === 0 && this.offset === 0 && head.type === RecordType.crc;
    const crc = data.length === 0 ? this.crc : crc32c(data, this.crc);
    if (!first && crc !== head.crc) return false;
    this.crc = head.crc;
    return true;
  }

  /** Looks at a place where no length is. */
  async #atEnd(window: Window, start: number, length: Buffer) {
    if (length.length > 0 && length.length < LENGTH_BYTES) {
      if (!this.#inLastFile) throw this.#corrupt(start, 'half a length');
      this.torn = true;
      return undefined;
    }
    const inSector = SECTOR_BYTES - (start % SECTOR_BYTES);
    if (!isZero(await window.read(start, inSector))) throw this.#corrupt(start, 'no length');
    if (!this.#inLastFile || inSector !== LENGTH_BYTES) return undefined;
    const head = readHead(await window.read(start + LENGTH_BYTES, HEAD_BYTES));
    if (typeof head !== 'object') return undefined;
    const body = await window.read(start + LENGTH_BYTES, head.bytes);
    const data = body.subarray(head.dataAt);
    if (body.length < head.bytes || !this.#accept(head, data)) return undefined;
    this.lostLengths.push({ offset: start, recordBytes: head.bytes });
    return { type: head.type, data, start, end: start + LENGTH_BYTES + head.bytes + paddingOf(head.bytes) };
  }

  #corrupt(offset: number, reason: string): WalError {
    return new WalError('corrupt', `damaged: ${reason}`, { file: this.file, offset });
  }
}

/** Whether a crash can have left a record so: a sector of zeros in it, or an end, and before that what fits. */
function isTorn(body: Buffer, at: number, recordBytes: number): boolean {
  const there = body.subarray(0, firstZeroSector(body, at));
  if (there.length >= recordBytes) return false;
  const head = readHead(there);
  return head === 'short' || (head !== 'malformed' && head.bytes === recordBytes);
}

/** Where, in bytes that lie at `at` in a file, the first piece of a sector begins that is all zeros; or their end. */
function firstZeroSector(body: Buffer, at: number): number {
  for (let start = 0; start < body.length; ) {
    const end = Math.min(body.length, start + SECTOR_BYTES - ((at + start) % SECTOR_BYTES));
    if (isZero(body.subarray(start, end))) return start;
    start = end;
  }
  return body.length;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** Reads a file front to back in large pieces. */
class Window {
  readonly #file: DiskFile;
  readonly #fileBytes: number;
  #bytes: Buffer = Buffer.alloc(0);
  #start = 0;

  private constructor(file: DiskFile, fileBytes: number) {
    this.#file = file;
    this.#fileBytes = fileBytes;
  }

  static async open(disk: Disk, path: string): Promise<Window> {
    const file = await disk.open(path);
    return new Window(file, await file.size());
  }

  /** A view of the bytes from `offset` on; fewer at the end of the file. */
  async read(offset: number, length: number): Promise<Buffer> {
    const wanted = Math.max(0, Math.min(length, this.#fileBytes - offset));
    if (offset < this.#start || offset + wanted > this.#start + this.#bytes.length) {
      const bytes = await this.#file.read(offset, Math.max(wanted, Math.min(READ_BYTES, this.#fileBytes - offset)));
      this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      this.#start = offset;
    }
    return this.#bytes.subarray(offset - this.#start, offset - this.#start + wanted);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

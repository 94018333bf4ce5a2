/**
 * The write-ahead log: what a member has to remember, in etcd's format, so that etcd's tools read it.
 *
 * What it promises: once `append` has resolved, the entries, the term, the vote and the snapshot record are on the disk
 * and every later start reads them. What it asks: nothing that depends on them leaves the member before. A hard state
 * in which only the commit index is new needs no sync, since a member finds that out again; it goes along with the next
 * write that does.
 *
 * All that waits is written in one write and one sync ("group commit"). Records are made when `append` is called, so
 * their order is that of the calls. When a file has its length, the next record goes to a new one: it gets its head and
 * the first records under a temporary name, and its own name once it is durable and the file before it is.
 *
 * After a failed write or sync nothing is tried again: what reached the disk is not known, and the system may call a
 * repeated sync a success although it dropped the bytes. From then on everything rejects with `failed`.
 *
 * @module
 */

import { EMPTY } from '../../protocol/wire.ts';
import type { Entry, EntryId, HardState } from '../raft/types.ts';
import { EMPTY_HARD_STATE, isEmptyHardState } from '../raft/types.ts';
import type { Disk, DiskFile } from '../storage/disk.ts';
import { parentOf } from '../storage/paths.ts';
import { WalError } from './errors.ts';
import { FrameEncoder, RecordType } from './frame.ts';
import { FROM_START, readWal, sameOwner, type WalContents } from './reader.ts';
import {
  encodeEntry,
  encodeHardState,
  encodeMetadata,
  encodeSnapshot,
  type WalMetadata,
  type WalSnapshot,
} from './records.ts';
import { repairTail, type WalRepair } from './repair.ts';
import { listSegments, needless, type Segment, segment, TEMPORARY } from './segments.ts';
import { Tail } from './tail.ts';

/** Length of a file, as etcd has it. */
export const SEGMENT_BYTES = 64_000_000;

export interface WalOptions {
  /** Length at which a new file is begun, in bytes; by default 64,000,000. Files are a little longer than that. */
  readonly segmentBytes?: number | undefined;
}

/** What to append, in the order in which it is written. */
export interface WalBatch {
  /** That a snapshot was saved, durably. Entries may follow it at once, even if the log is behind it. */
  readonly snapshot?: WalSnapshot | undefined;
  /** Without gaps; they replace those from the first one's index on. */
  readonly entries?: readonly Entry[] | undefined;
  readonly hardState?: HardState | undefined;
}

/** Records for one file. */
interface Part {
  /** The file that they begin; undefined if they go on in the one that is written to. */
  readonly begins: Segment | undefined;
  readonly bytes: Buffer;
}

/** One write and sync, and those who wait for it. */
interface Round {
  readonly done: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: WalError) => void;
}

/** See the head of this file. */
export class Wal {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #metadata: WalMetadata;
  readonly #segmentBytes: number;
  readonly #encoder: FrameEncoder;
  readonly #tail: Tail;
  /** Files of the log, those to come included. */
  readonly #segments: Segment[];
  /** What is not written yet, but for what is in the encoder. */
  #parts: Part[] = [];
  /** The file that the encoder's records begin, if they do. */
  #begins: Segment | undefined;
  /** Where in its file the next record will begin. */
  #offset: number;
  #hardState: HardState;
  #lastIndex: number;
  #writtenBytes = 0;
  /** What waits for the round after the one that runs. */
  #waiting: Round | undefined;
  #running: Promise<void> | undefined;
  #failure: WalError | undefined;
  #closed: Promise<void> | undefined;

  private constructor(fields: {
    disk: Disk;
    directory: string;
    metadata: WalMetadata;
    segmentBytes: number;
    segments: Segment[];
    file: DiskFile;
    offset: number;
    crc: number;
    hardState: HardState;
    lastIndex: number;
  }) {
    this.#disk = fields.disk;
    this.#directory = fields.directory;
    this.#metadata = fields.metadata;
    this.#segmentBytes = fields.segmentBytes;
    this.#segments = fields.segments;
    this.#tail = new Tail(fields);
    this.#encoder = new FrameEncoder(fields.crc);
    this.#offset = fields.offset;
    this.#hardState = fields.hardState;
    this.#lastIndex = fields.lastIndex;
  }

  /**
   * Makes an empty log: all of it or none, whenever the machine dies.
   *
   * @param directory is made, in one that is there.
   * @throws WalError `exists`, `foreign`.
   */
  static async create(disk: Disk, directory: string, metadata: WalMetadata, options: WalOptions = {}): Promise<Wal> {
    const names = await disk.list(directory);
    if (names !== undefined && names.length > 0) {
      const code = names.some((name) => name.endsWith('.wal')) ? 'exists' : 'foreign';
      throw new WalError(code, `${directory} is not empty`);
    }
    const { segmentBytes = SEGMENT_BYTES } = options;
    const first = segment(0, 0);
    const made = directory + TEMPORARY;
    await disk.remove(made);
    await disk.makeDirectory(made);
    const encoder = new FrameEncoder(0);
    addHead(encoder, metadata, EMPTY_HARD_STATE);
    encoder.add(RecordType.snapshot, encodeSnapshot({ ...FROM_START, confState: EMPTY }));
    const head = encoder.take();
    const file = await disk.open(`${made}/${first.name}`, { mode: 'create' });
    try {
      await lock(file, directory);
      await file.resize(segmentBytes);
      await file.write(0, head);
      await file.sync();
      await disk.syncDirectory(made);
      if (names !== undefined) await disk.remove(directory);
      await disk.rename(made, directory);
      await disk.syncDirectory(parentOf(directory));
    } catch (error) {
      await file.close();
      throw error;
    }
    const { crc } = encoder;
    const state = { offset: head.length, crc, hardState: EMPTY_HARD_STATE, lastIndex: 0 };
    return new Wal({ disk, directory, metadata, segmentBytes, segments: [first], file, ...state });
  }

  /**
   * Opens a log to go on with it, and says what is in it. A tail that a crash tore is cut off, after a copy was made.
   * All else that is wrong is an error and leaves everything as it is.
   *
   * @param from the snapshot that the state machine was loaded from; by default there is none.
   * @param owner whose log it has to be; by default anybody's.
   * @throws WalError `missing`, `foreign`, `locked`, `corrupt`, `gap`, `no-snapshot`.
   */
  static async open(
    disk: Disk,
    directory: string,
    options: WalOptions & { readonly from?: EntryId | undefined; readonly owner?: WalMetadata | undefined } = {},
  ): Promise<{ wal: Wal; contents: WalContents; repaired: WalRepair | undefined }> {
    const { from = FROM_START, owner, segmentBytes = SEGMENT_BYTES } = options;
    const { file, segments } = await takeLast(disk, directory);
    try {
      const { contents, tail } = await readWal(disk, directory, from);
      const { metadata, hardState, entries } = contents;
      if (owner !== undefined && !sameOwner(owner, metadata)) {
        throw new WalError('foreign', `${directory} is the log of another member`);
      }
      const repaired = await repairTail(disk, directory, file, tail, segmentBytes);
      const state = { offset: tail.offset, crc: tail.crc, hardState, lastIndex: from.index + entries.length };
      const wal = new Wal({ disk, directory, metadata, segmentBytes, segments, file, ...state });
      return { wal, contents, repaired };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Bytes of records that were written since it was opened; whether they are synced, `append` says. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Whose log it is. */
  get metadata(): WalMetadata {
    return this.#metadata;
  }

  /**
   * Appends. Resolves when all of it is durable; if nothing but the commit index is new, at once.
   *
   * @throws WalError `gap` and then nothing was appended; `closed`; `failed`.
   */
  append({ snapshot, entries = [], hardState }: WalBatch): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#closed !== undefined) return Promise.reject(new WalError('closed', 'closed'));
    const gap = gapIn(entries, Math.max(this.#lastIndex, snapshot?.index ?? 0));
    if (gap !== undefined) return Promise.reject(gap);
    const before = this.#hardState;
    const length = this.#encoder.length;
    if (snapshot !== undefined) {
      this.#encoder.add(RecordType.snapshot, encodeSnapshot(snapshot));
      this.#lastIndex = Math.max(this.#lastIndex, snapshot.index);
    }
    for (const entry of entries) this.#encoder.add(RecordType.entry, encodeEntry(entry));
    this.#lastIndex = entries.at(-1)?.index ?? this.#lastIndex;
    if (hardState !== undefined && !isEmptyHardState(hardState)) {
      this.#encoder.add(RecordType.state, encodeHardState(hardState));
      this.#hardState = hardState;
    }
    this.#offset += this.#encoder.length - length;
    if (this.#offset >= this.#segmentBytes) this.#beginSegment();
    const { term, vote } = this.#hardState;
    const nothingPromised =
      snapshot === undefined && entries.length === 0 && term === before.term && vote === before.vote;
    return nothingPromised ? Promise.resolve() : this.#nextRound();
  }

  /**
   * Removes the files that nobody needs who has the snapshot at `index`, oldest first. That snapshot, and the record of
   * it, must be durable. Files that are needless to those who go back further (etcd keeps five) are the caller's to
   * keep: he passes an older index.
   */
  async release(index: number): Promise<void> {
    const count = Math.min(needless(this.#segments, index), this.#segments.indexOf(this.#tail.segment));
    if (count <= 0) return;
    for (const { name } of this.#segments.splice(0, count)) await this.#disk.remove(`${this.#directory}/${name}`);
    await this.#disk.syncDirectory(this.#directory);
  }

  /** Writes what is left, and lets go of the directory. Idempotent; rejects if that write fails or an earlier one did. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    try {
      if (this.#failure === undefined) await this.#nextRound();
      await this.#running;
      if (this.#failure !== undefined) throw this.#failure;
    } finally {
      await this.#tail.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** All records from here on go to a new file, once it is their turn. */
  #beginSegment(): void {
    this.#parts.push({ begins: this.#begins, bytes: this.#encoder.take() });
    const last = this.#segments.at(-1) as Segment;
    this.#begins = segment(last.number + 1, this.#lastIndex + 1);
    this.#segments.push(this.#begins);
    addHead(this.#encoder, this.#metadata, this.#hardState);
    this.#offset = this.#encoder.length;
  }

  /** Resolves when all that was appended until now is durable. */
  #nextRound(): Promise<void> {
    this.#waiting ??= newRound();
    const { done } = this.#waiting;
    this.#running ??= this.#runRounds();
    return done;
  }

  async #runRounds(): Promise<void> {
    // A turn later, so that all who append in one go share a round.
    await Promise.resolve();
    while (this.#waiting !== undefined && this.#failure === undefined) {
      const round = this.#waiting;
      this.#waiting = undefined;
      const parts = this.#takeParts();
      try {
        for (const { begins, bytes } of parts) {
          if (begins === undefined) await this.#tail.write(bytes);
          else await this.#tail.begin(begins, bytes);
          this.#writtenBytes += bytes.length;
        }
        await this.#tail.sync();
        round.resolve();
      } catch (cause) {
        this.#fail(round, cause);
      }
      // Those who waited append again now: let them share the next round.
      await Promise.resolve();
    }
    this.#running = undefined;
  }

  #takeParts(): Part[] {
    const parts = this.#parts;
    if (this.#encoder.length > 0) parts.push({ begins: this.#begins, bytes: this.#encoder.take() });
    this.#parts = [];
    this.#begins = undefined;
    return parts;
  }

  #fail(round: Round, cause: unknown): void {
    const { code } = cause as NodeJS.ErrnoException;
    const why = code === undefined ? '' : `: ${code}`;
    this.#failure = new WalError('failed', `a write or a sync failed${why}`, { file: this.#tail.path, cause });
    round.reject(this.#failure);
    this.#waiting?.reject(this.#failure);
    this.#waiting = undefined;
    this.#parts = [];
    this.#encoder.take();
  }
}

/** What each file begins with: the checksum of what was before it, whose log it is, the hard state. */
function addHead(encoder: FrameEncoder, metadata: WalMetadata, hardState: HardState): void {
  encoder.add(RecordType.crc, EMPTY);
  encoder.add(RecordType.metadata, encodeMetadata(metadata));
  if (!isEmptyHardState(hardState)) encoder.add(RecordType.state, encodeHardState(hardState));
}

async function lock(file: DiskFile, directory: string): Promise<void> {
  if (!(await file.tryLock())) throw inUse(directory);
}

function inUse(directory: string): WalError {
  return new WalError('locked', `${directory} is in use by another server`);
}

/**
 * Makes sure that nobody has a log open, for whoever has to read in it before {@link Wal.open}: what is being written
 * looks like damage.
 *
 * @throws WalError `missing`, `foreign`, `locked`.
 */
export async function refuseInUse(disk: Disk, directory: string): Promise<void> {
  await (await takeLast(disk, directory)).file.close();
}

/** Locks the last file: whoever has that has the log. */
async function takeLast(disk: Disk, directory: string): Promise<{ file: DiskFile; segments: Segment[] }> {
  const segments = await listSegments(disk, directory);
  const { name } = segments.at(-1) as Segment;
  const file = await disk.open(`${directory}/${name}`, { mode: 'write' });
  try {
    await lock(file, directory);
    // Its writer may have gone on to another file meanwhile, and let go of this one.
    if ((await listSegments(disk, directory)).at(-1)?.name !== name) throw inUse(directory);
    return { file, segments };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function gapIn(entries: readonly Entry[], lastIndex: number): WalError | undefined {
  const first = entries[0]?.index ?? 1;
  const wrong = first < 1 || first > lastIndex + 1 || entries.some(({ index }, i) => index !== first + i);
  return wrong ? new WalError('gap', `entries from ${first} on do not follow entry ${lastIndex}`) : undefined;
}

function newRound(): Round {
  let resolve = () => {};
  let reject: (error: WalError) => void = () => {};
  const done = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  // Whoever does not wait hears of it at the next append.
  done.catch(() => {});
  return { done, resolve, reject };
}

/**
 * What a log says, from a snapshot on.
 *
 * Entries that come again replace those from their index on: a new leader has other ones. What is read is checked
 * against the rules that every writer keeps (the same owner in each file, terms that don't go back, no gap between
 * entries), for the checksums say nothing of the types of the records.
 *
 * Reading changes nothing on the disk; `repair.ts` does.
 *
 * @module
 */
import { EMPTY_HARD_STATE, type Entry, type EntryId, type HardState } from '../raft/types.ts';
import type { Disk } from '../storage/disk.ts';
import { WalError } from './errors.ts';
import { RecordType } from './frame.ts';
import {
  decodeEntry,
  decodeHardState,
  decodeMetadata,
  decodeSnapshot,
  type WalMetadata,
  type WalSnapshot,
} from './records.ts';
import { type LostLength, type ScannedRecord, Scanner } from './scanner.ts';
import { listSegments, needless, type Segment } from './segments.ts';

/** Where to read from: nothing before it is wanted. Term and index 0 are the start. */
export const FROM_START: EntryId = { term: 0, index: 0 };

/** What a log says. */
export interface WalContents {
  readonly metadata: WalMetadata;
  /** The last one; all 0 if there is none. */
  readonly hardState: HardState;
  /** Those after the snapshot, without gaps. */
  readonly entries: readonly Entry[];
}

/** Where a log ends, for whoever goes on with it. */
export interface WalTail {
  /** The last file. */
  readonly segment: Segment;
  /** Where its last whole record ends. */
  readonly offset: number;
  /** Checksum of all that is before. */
  readonly crc: number;
  /** Whether something that a crash tore lies behind. */
  readonly torn: boolean;
  readonly lostLengths: readonly LostLength[];
}

/**
 * Reads a log and leaves it as it is. Nobody may write to it meanwhile.
 *
 * @param from the snapshot that the state machine was loaded from.
 * @throws WalError `missing`, `foreign`, `corrupt`, `gap`, `no-snapshot`.
 */
export async function readWal(
  disk: Disk,
  directory: string,
  from: EntryId = FROM_START,
): Promise<{ contents: WalContents; tail: WalTail }> {
  const all = await listSegments(disk, directory);
  const contents = new Collector(from);
  const tail = await scan(disk, directory, all.slice(needless(all, from.index)), (record) => contents.add(record));
  return { contents: contents.finish(directory), tail };
}

/**
 * The snapshots that a log knows of and that are safe to start from: none is beyond what is known to be committed.
 * Oldest first. A snapshot file without such a record may stem from a crash halfway and is not to be used.
 *
 * @throws WalError `missing`, `foreign`, `corrupt`.
 */
export async function readSnapshots(disk: Disk, directory: string): Promise<WalSnapshot[]> {
  const snapshots: WalSnapshot[] = [];
  let commit = 0;
  await scan(disk, directory, await listSegments(disk, directory), (record) => {
    if (record.type === RecordType.snapshot) snapshots.push(decoded(record, decodeSnapshot));
    if (record.type === RecordType.state) commit = decoded(record, decodeHardState).commit;
  });
  return snapshots.filter(({ index }) => index <= commit);
}

async function scan(
  disk: Disk,
  directory: string,
  segments: readonly Segment[],
  onRecord: (record: ScannedRecord) => void,
): Promise<WalTail> {
  const segment = segments.at(-1);
  if (segment === undefined) throw new WalError('missing', `no log in ${directory}`);
  const scanner = new Scanner(disk, directory, segments);
  try {
    for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) onRecord(record);
    const { offset, crc, torn, lostLengths } = scanner;
    return { segment, offset, crc, torn, lostLengths };
  } finally {
    await scanner.close();
  }
}

/** Puts the records together. */
class Collector {
  readonly #from: EntryId;
  readonly #entries: Entry[] = [];
  #metadata: WalMetadata | undefined;
  #hardState = EMPTY_HARD_STATE;
  #found = false;

  constructor(from: EntryId) {
    this.#from = from;
  }

  add(record: ScannedRecord): void {
    switch (record.type) {
      case RecordType.metadata:
        return this.#addMetadata(record);
      case RecordType.entry:
        return this.#addEntry(record);
      case RecordType.state:
        return this.#addState(record);
      case RecordType.snapshot:
        return this.#addSnapshot(record);
      case RecordType.crc:
        return;
      default:
        throw damaged(record, `no such type of record: ${record.type}`);
    }
  }

  finish(directory: string): WalContents {
    if (this.#metadata === undefined) throw new WalError('corrupt', `nothing says whose log it is, in ${directory}`);
    if (!this.#found) {
      throw new WalError('no-snapshot', `no record of the snapshot at index ${this.#from.index}, in ${directory}`);
    }
    const last = this.#from.index + this.#entries.length;
    const { commit } = this.#hardState;
    if (commit > last)
      throw new WalError('gap', `committed up to ${commit}, and the log ends at ${last}, in ${directory}`);
    return { metadata: this.#metadata, hardState: this.#hardState, entries: this.#entries };
  }

  #addMetadata(record: ScannedRecord): void {
    const metadata = decoded(record, decodeMetadata);
    this.#metadata ??= metadata;
    if (!sameOwner(metadata, this.#metadata)) throw damaged(record, 'another owner than before');
  }

  #addEntry(record: ScannedRecord): void {
    const entry = decoded(record, decodeEntry);
    const { index } = this.#from;
    const place = entry.index - index - 1;
    if (place < 0) return;
    if (place > this.#entries.length) {
      throw new WalError('gap', `no entry ${index + this.#entries.length + 1} before entry ${entry.index}`, record);
    }
    if (entry.term < (this.#entries[place - 1]?.term ?? 0)) throw damaged(record, 'the term of an entry goes back');
    this.#entries.length = place;
    this.#entries.push(entry);
  }

  #addState(record: ScannedRecord): void {
    const state = decoded(record, decodeHardState);
    if (state.term < this.#hardState.term) throw damaged(record, 'the term goes back');
    this.#hardState = state;
  }

  #addSnapshot(record: ScannedRecord): void {
    const { term, index } = decoded(record, decodeSnapshot);
    if (index !== this.#from.index) return;
    if (term !== this.#from.term) {
      throw new WalError('no-snapshot', `the snapshot at index ${index} has term ${term}`, record);
    }
    this.#found = true;
  }
}

export function sameOwner(a: WalMetadata, b: WalMetadata): boolean {
  return a.memberId === b.memberId && a.clusterId === b.clusterId;
}

function decoded<T>(record: ScannedRecord, decode: (data: Uint8Array) => T): T {
  try {
    return decode(record.data);
  } catch (cause) {
    throw new WalError('corrupt', 'damaged: no such record', { ...place(record), cause });
  }
}

function damaged(record: ScannedRecord, reason: string): WalError {
  return new WalError('corrupt', `damaged: ${reason}`, place(record));
}

function place({ file, offset }: ScannedRecord): { file: string; offset: number } {
  return { file, offset };
}

/**
 * The file that the log is written to.
 *
 * A file has its full length from the start, but no room: taking room is what makes a sync slow, since the file
 * system's own log must then be written too. So whenever a write reaches new ground it takes a stretch of zeros along,
 * and the syncs after it find the room taken.
 *
 * @module
 */
import type { Disk, DiskFile } from '../storage/disk.ts';
import { WalError } from './errors.ts';
import { type Segment, TEMPORARY } from './segments.ts';

/** Room that is taken at a time, in bytes. */
const ROOM_BYTES = 1024 * 1024;
const ZEROS = new Uint8Array(ROOM_BYTES);

/** Writes where the last write ended, and goes on in another file when it is told to. Calls must not overlap. */
export class Tail {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #segmentBytes: number;
  #segment: Segment;
  #file: DiskFile;
  #offset: number;
  /** Up to there the file has room. */
  #room: number;

  constructor(fields: {
    disk: Disk;
    directory: string;
    segmentBytes: number;
    segments: readonly Segment[];
    file: DiskFile;
    offset: number;
  }) {
    this.#disk = fields.disk;
    this.#directory = fields.directory;
    this.#segmentBytes = fields.segmentBytes;
    this.#segment = fields.segments.at(-1) as Segment;
    this.#file = fields.file;
    this.#offset = fields.offset;
    this.#room = fields.offset;
  }

  /** The file; while another one is begun, still the old one. */
  get segment(): Segment {
    return this.#segment;
  }

  get path(): string {
    return `${this.#directory}/${this.#segment.name}`;
  }

  async write(bytes: Uint8Array): Promise<void> {
    const end = this.#offset + bytes.length;
    const more = end <= this.#room ? 0 : Math.max(0, Math.min(ROOM_BYTES, this.#segmentBytes - end));
    const all = more === 0 ? bytes : Buffer.concat([bytes, ZEROS.subarray(0, more)]);
    await this.#file.write(this.#offset, all);
    this.#offset = end;
    this.#room = Math.max(this.#room, end + more);
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  /**
   * Goes on in a new file, which begins with `bytes`. The old one is durable before the new one has its name, or a
   * crash would leave a torn record within the log, where it counts as damage.
   */
  async begin(segment: Segment, bytes: Uint8Array): Promise<void> {
    await this.#file.resize(this.#offset);
    await this.#file.sync();
    const temporary = `${this.#directory}/${segment.number}${TEMPORARY}`;
    const file = await this.#disk.open(temporary, { mode: 'create' });
    const old = this.#file;
    this.#file = file;
    this.#offset = 0;
    this.#room = 0;
    try {
      if (!(await file.tryLock())) throw new WalError('locked', 'another server has the new file', { file: temporary });
      await file.resize(this.#segmentBytes);
      await this.write(bytes);
      await file.sync();
      await this.#disk.rename(temporary, `${this.#directory}/${segment.name}`);
      await this.#disk.syncDirectory(this.#directory);
    } finally {
      // Not before: whoever finds a log takes it by the lock of its last file.
      await old.close();
    }
    this.#segment = segment;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

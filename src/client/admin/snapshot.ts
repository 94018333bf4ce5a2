/**
 * Backups as a stream.
 *
 * The server sends the bytes of its database, saying with each piece how many are still to
 * come, and then their SHA-256. The stream yields both, which is the file that `etcdctl
 * snapshot save` writes and `etcdutl snapshot restore` reads. Invariant: the last 32 bytes
 * are yielded, and the stream ends, only if they are the digest of all bytes before them.
 * So a backup that is damaged is found while it is made, and one that ended is whole.
 *
 * One message is asked for when the reader wants more and holds none: a slow reader slows
 * the server, and memory stays flat.
 *
 * Source: etcd `server/etcdserver/api/v3rpc/maintenance.go`; `client/v3/snapshot` for the file.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { SnapshotResponse } from '../../protocol/generated/etcdserverpb.ts';
import type { Caller } from '../connection/caller.ts';
import { EtcdError } from '../errors.ts';
import { type SnapshotOptions, SnapshotSource } from './snapshot-source.ts';

export type { SnapshotOptions } from './snapshot-source.ts';

/** The length of a SHA-256. */
const DIGEST_BYTES = 32;

/** bbolt's pages are a multiple of this, and tools look for it. */
const SECTOR_BYTES = 512;

/**
 * A backup on its way: a `Readable` of bytes. Read it with `for await`, or with `pipeline`
 * of `node:stream/promises`, which passes failures on as a bare `pipe` does not.
 *
 * It is destroyed with an EtcdError: code `checksum-mismatch` when the bytes are not what
 * the server's digest says or not as many as it announced, `unavailable` when the
 * connection broke, `aborted`, `deadline`. An error that nobody listens for ends no process.
 *
 * While it is open the server keeps a read transaction open and its database grows, so
 * destroy it when you do not want the rest (leaving a `for await` does).
 */
export class SnapshotStream extends Readable {
  /** How many bytes it yields in all, the digest included. */
  readonly totalBytes: number;
  /** The version of the member that made it, the right one to restore it with. Undefined before 3.6. */
  readonly version: string | undefined;
  readonly #source: SnapshotSource;
  readonly #databaseBytes: number;
  readonly #hash = createHash('sha256');
  #first: SnapshotResponse | undefined;
  #received = 0;
  #digest = Buffer.alloc(0);
  #sha256Hex: string | undefined;

  /** @internal */
  constructor(source: SnapshotSource, first: SnapshotResponse) {
    // With a mark of one byte, one message is held at most.
    super({ highWaterMark: 1 });
    this.#source = source;
    this.#first = first;
    this.#databaseBytes = Number(first.remainingBytes) + first.blob.length;
    this.totalBytes = this.#databaseBytes + DIGEST_BYTES;
    this.version = first.version === '' ? undefined : first.version;
    source.onStopped = (reason) => this.destroy(reason);
    this.on('error', () => {});
  }

  /** The SHA-256 of the database, in hexadecimal: of all bytes but the last 32. Undefined until it was checked. */
  get sha256Hex(): string | undefined {
    return this.#sha256Hex;
  }

  /** @internal */
  override _read(): void {
    this.#advance().catch((error: Error) => this.destroy(error));
  }

  async #advance(): Promise<void> {
    for (;;) {
      const message = this.#first ?? (await this.#source.next());
      this.#first = undefined;
      if (this.destroyed) return;
      if (message === undefined) return this.#finish();
      const bytes = this.#take(message);
      if (bytes.length === 0) continue;
      this.push(bytes);
      return;
    }
  }

  /** Splits a message into database and digest, by position; what belongs to the database is hashed and returned. */
  #take({ blob, remainingBytes }: SnapshotResponse): Uint8Array {
    const bytes = blob.subarray(0, this.#databaseBytes - this.#received);
    const rest = blob.subarray(bytes.length);
    this.#received += bytes.length;
    this.#hash.update(bytes);
    if (Number(remainingBytes) !== this.#databaseBytes - this.#received) {
      throw mismatch(
        `the server counts ${remainingBytes} bytes to come where ${this.#databaseBytes - this.#received} are`,
      );
    }
    if (rest.length > 0) this.#digest = Buffer.concat([this.#digest, rest]);
    if (this.#digest.length > DIGEST_BYTES) throw mismatch('it is longer than the server announced');
    return bytes;
  }

  #finish(): void {
    const missing = this.#databaseBytes - this.#received;
    if (missing > 0) throw mismatch(`it ended ${missing} bytes early`);
    if (this.#digest.length !== DIGEST_BYTES) throw mismatch('it ended without its checksum');
    if (this.#databaseBytes % SECTOR_BYTES !== 0) throw mismatch(`${this.#databaseBytes} bytes are no database`);
    const own = this.#hash.digest();
    if (!own.equals(this.#digest)) throw mismatch('its bytes do not have the checksum that the server sent');
    this.#sha256Hex = own.toString('hex');
    this.push(this.#digest);
    this.push(null);
  }

  /** @internal */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#source.onStopped = undefined;
    this.#source.close();
    callback(error);
  }
}

/** Opens a snapshot of any voting member, or of the one at `endpoint`: since 3.5 that may be a learner. */
export async function openSnapshot(caller: Caller, options: SnapshotOptions): Promise<SnapshotStream> {
  const { source, first } = await SnapshotSource.open(caller, options);
  if (first !== undefined) return new SnapshotStream(source, first);
  source.close();
  throw mismatch('it ended before it began');
}

function mismatch(why: string): EtcdError {
  return new EtcdError('checksum-mismatch', `the snapshot is damaged: ${why}`);
}

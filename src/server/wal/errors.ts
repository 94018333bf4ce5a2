/**
 * What the log says when it can't.
 *
 * No message has a byte of a record in it: those are what users keep.
 *
 * @module
 */

/**
 * Why.
 *
 * - `missing`: there is no log in that directory.
 * - `exists`: there is one already.
 * - `foreign`: what is there is no log, or that of another member or cluster.
 * - `locked`: another process, or another part of this one, has it open.
 * - `corrupt`: the bytes are not those that were written. Nothing was changed; the member has to be replaced, since
 *   what it voted and acknowledged may be gone.
 * - `no-snapshot`: the log has no record of the snapshot that it was to be read from.
 * - `failed`: a write or a sync failed, now or earlier. It is not known what of it is on the disk, and nobody may try
 *   again: close the log and start anew from what can be read.
 * - `closed`: it was closed.
 * - `gap`: entries do not follow those that are there. When a log is read: it is damaged, or the snapshot is too old.
 */
export type WalErrorCode =
  | 'missing'
  | 'exists'
  | 'foreign'
  | 'locked'
  | 'corrupt'
  | 'no-snapshot'
  | 'failed'
  | 'closed'
  | 'gap';

/** Any failure of the write-ahead log. */
export class WalError extends Error {
  override readonly name = 'WalError';
  readonly code: WalErrorCode;
  /** The file, where one is to blame. */
  readonly file: string | undefined;
  /** Where in the file the record begins that is to blame, in bytes. */
  readonly offset: number | undefined;

  constructor(
    code: WalErrorCode,
    reason: string,
    details: { file?: string | undefined; offset?: number | undefined; cause?: unknown } = {},
  ) {
    const { file, offset, cause } = details;
    const where = file === undefined ? '' : ` (${file}${offset === undefined ? '' : ` at byte ${offset}`})`;
    super(`wal: ${reason}${where}`, cause === undefined ? undefined : { cause });
    this.code = code;
    this.file = file;
    this.offset = offset;
  }
}

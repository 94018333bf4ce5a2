/**
 * The write-ahead log, in etcd's format.
 *
 * `wal.ts` is the way in, to write; `reader.ts` reads a log and leaves it alone. Beside them: `frame.ts` how records
 * lie in a file, `records.ts` what is in them, `segments.ts` the files, `scanner.ts` end, torn tail or damage,
 * `repair.ts` the end made fit for writing, `tail.ts` the file that is written to.
 *
 * @module
 */
export { WalError, type WalErrorCode } from './errors.ts';
export { FROM_START, readSnapshots, readWal, type WalContents, type WalTail } from './reader.ts';
export type { WalMetadata, WalSnapshot } from './records.ts';
export type { WalRepair } from './repair.ts';
export { refuseInUse, SEGMENT_BYTES, Wal, type WalBatch, type WalOptions } from './wal.ts';

/**
 * What the parts of one client share.
 *
 * @module
 */

import type { Caller } from './connection/caller.ts';
import type { GetCoalescer, PutCoalescer } from './kv/coalesce.ts';
import type { LastCounts } from './kv/last-counts.ts';
import type { Reader } from './kv/reads.ts';
import type { LeaseKeeper } from './lease/keeper.ts';
import type { WatchHub } from './watch/hub.ts';

/** Limits that are checked before anything is sent. */
export interface ClientLimits {
  /** The most operations in one list of a transaction: the server's `--max-txn-ops`, 128 unless configured. */
  readonly maxTxnOps: number;
}

/** The inside of an open client. */
export interface ClientContext {
  readonly caller: Caller;
  readonly reader: Reader;
  /** Present when gets of one tick are to be sent together. */
  readonly gets: GetCoalescer | undefined;
  /** Present when puts of one tick are to be sent together. */
  readonly puts: PutCoalescer | undefined;
  /** What `increment` guesses from. */
  readonly lastCounts: LastCounts;
  readonly watches: WatchHub;
  readonly leases: LeaseKeeper;
  readonly limits: ClientLimits;
}

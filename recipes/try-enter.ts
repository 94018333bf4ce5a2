/**
 * Entering a queue only if nobody is in the way: the `try` of every lock.
 *
 * One round trip, and no write, when somebody is. That no key below the prefix hangs on a
 * lease is a condition of the transaction itself (a compare of a range). Only where keys
 * have strayed there that do hang on one, yet are nobody's place, a second transaction is
 * needed: its condition is that nothing has been put there since they were looked at.
 *
 * @module
 */

import type { Compare, KeyValue, Revision } from '../src/index.ts';
import { Contender } from './contender.ts';
import type { Session } from './session.ts';

/** Whom to give way to. */
export interface TryEnterOptions {
  /** Where the own key goes. */
  readonly prefix: string;
  /** Where those stand whom to give way to. */
  readonly queue: string;
  /** Which of the keys there count. */
  readonly blocks: (kv: KeyValue<string>) => boolean;
  /** What the key holds. Default: who we are. */
  readonly value?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How it went: in, or who is in the way: the oldest of them. */
export type TryEnterResult =
  | { readonly entered: true; readonly contender: Contender }
  | { readonly entered: false; readonly holder: KeyValue<string> };

/** Enters if nobody is in the way. @throws what {@link Contender.enter} throws. */
export async function tryEnter(session: Session, options: TryEnterOptions): Promise<TryEnterResult> {
  const { etcd } = session;
  const { prefix, queue, blocks, value, signal } = options;
  const keys = etcd.keys({ prefix: queue });
  let free: Compare = keys.lease.equals(0n);
  // Nearly always the first key is the one; the whole queue is read only if it has to be.
  let limit: number | undefined = FIRST_LOOK;
  for (;;) {
    const range = etcd.op.range({ prefix: queue }, { sort: { by: 'createRevision' }, limit });
    const entry = await Contender.enter(session, { prefix, value, signal, if: [free], look: () => range });
    if (entry.entered) return entry;
    const { kvs, more, revision } = entry.seen;
    const holder = kvs.find(blocks);
    if (holder !== undefined) return { entered: false, holder };
    if (!more) free = keys.modRevision.lessThan((revision + 1n) as Revision);
    limit = undefined;
  }
}

const FIRST_LOOK = 10;

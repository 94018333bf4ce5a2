/**
 * Waiting for one's turn in a queue of keys.
 *
 * A contender watches one key, the nearest of those ahead that stand in its way, so one
 * release wakes one waiter; and its own, so that it does not wait on when its place is
 * gone, or counts no more. A wake-up decides nothing: one transaction then looks, and
 * compares the own key.
 *
 * @module
 */

import type { KeyValue, RangeResult, Revision } from '../src/index.ts';
import { type Contender, untilChanged } from './contender.ts';

/** Whom to wait for. */
export interface TurnOptions {
  /** Where those stand whom to wait for. */
  readonly prefix: string;
  /** Which of the keys there stand in the way, if they are older than the own. */
  readonly blocks: (kv: KeyValue<string>) => boolean;
  /** Which kind of change of a key may clear the way. Default: its deletion only. */
  readonly on?: 'delete' | 'any' | undefined;
}

/** What to read on entering, so that often no second look is needed: the own key, if it is in there, and the one ahead. */
export const NEWEST_TWO = { sort: { by: 'createRevision', order: 'descending' }, limit: 2 } as const;

/**
 * Waits until no older key stands in the way. `entered` is what was seen on entering with
 * {@link NEWEST_TWO}, if that is known.
 *
 * @throws what {@link Contender.confirm} throws.
 */
export async function untilTurn(
  contender: Contender,
  { prefix, blocks, on = 'delete' }: TurnOptions,
  entered: RangeResult<string> | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { session, token, key } = contender;
  const { etcd } = session;
  const older = { sort: NEWEST_TWO.sort, maxCreateRevision: (token - 1n) as Revision };
  const nearest = etcd.op.range({ prefix }, { ...older, limit: 1 });
  const all = etcd.op.range({ prefix }, older);
  const ahead = ({ kvs }: RangeResult<string>): KeyValue<string> | undefined =>
    kvs.find((kv) => kv.createRevision < token && blocks(kv));
  let seen = entered ?? (await contender.confirm(nearest, signal));
  for (;;) {
    let next = ahead(seen);
    // The nearest may be one that blocks nobody: then look at all of them.
    if (next === undefined && seen.more) {
      seen = await contender.confirm(all, signal);
      next = ahead(seen);
    }
    if (next === undefined) return;
    const awaited = [{ target: next.key, only: on === 'delete' ? 'delete' : undefined }, { target: key }] as const;
    await untilChanged(session, awaited, (seen.revision + 1n) as Revision, signal);
    seen = await contender.confirm(nearest, signal);
  }
}

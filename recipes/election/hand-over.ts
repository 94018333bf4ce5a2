/**
 * Handing over to a named candidate.
 *
 * The oldest key leads, for Go's programs too, and no key can be made older. So those who
 * are ahead of the successor have to step back: they delete their key and enter anew,
 * behind it, in one transaction each. They do so while the leader still leads; when it then
 * resigns, the successor is next, and nothing was vacant for longer than in any election.
 *
 * The leader writes its order to `<name>%hand-over`, outside the queue, under its own lease.
 * Then it rewrites the keys of those who are ahead, value and lease unchanged: they watch
 * their own keys, look, and find the order. Nobody else is woken. An order whose successor
 * has left moves nobody; who does not step back is waited for, for as long as the caller
 * likes; then the order is taken back, and the leader leads on.
 *
 * Terms keep growing: who steps back gets a new place, with a greater token than the
 * successor's.
 *
 * @module
 */

import { type KeyValue, type Op, type RangeResult, type Revision, revision } from '../../src/index.ts';
import { Contender, mayPass, untilChanged } from '../contender.ts';
import { LostError } from '../errors.ts';
import { isParticipant } from '../names.ts';
import { NEWEST_TWO } from '../turn.ts';
import { pause } from '../waiting.ts';
import type { ElectionCandidate } from './view.ts';

/** Who is to lead next. */
interface Order {
  readonly key: string;
  /** As decimal text. */
  readonly token: string;
}

type Successor = Pick<ElectionCandidate, 'key' | 'token'>;

/** Keys woken in one transaction: the server takes 128 operations by default, and each counts with its condition. */
const WAKE_BATCH = 50;

/** Where the leader writes its order. */
export function orderKey(prefix: string): string {
  return `${prefix.slice(0, -1)}%hand-over`;
}

/**
 * For the leader: has all between itself and the successor step back. Resolves with true
 * when nobody is left there, with false when the successor is gone.
 *
 * @throws LostError when the leader is none any more, and what ended the wait.
 */
export async function clearWay(
  leader: Contender,
  prefix: string,
  successor: Successor,
  signal: AbortSignal,
): Promise<boolean> {
  const { session } = leader;
  const { etcd } = session;
  const order: Order = { key: successor.key, token: String(successor.token) };
  const put = etcd.op.put(orderKey(prefix), JSON.stringify(order), { lease: session.lease });
  const ahead = etcd.op.range(
    { prefix },
    { sort: { by: 'createRevision' }, maxCreateRevision: (successor.token - 1n) as Revision },
  );
  const waits = etcd.key(successor.key).createRevision.equals(successor.token);
  const woken = new Set<string>();
  let first: readonly Op<unknown>[] = [put];
  for (;;) {
    const done = await leader.tryWhileHeld([waits], [ahead, ...first], [etcd.op.get(leader.key)], signal);
    if (!done.succeeded) {
      if (done.results[0]?.createRevision === leader.token) return false;
      throw new LostError('the leadership', 'key-gone');
    }
    first = [];
    const [seen] = done.results as readonly [RangeResult<string>];
    const between = seen.kvs.filter((kv) => isParticipant(kv, prefix) && kv.key !== leader.key);
    if (between.length === 0) return true;
    const asleep = between.filter((kv) => !woken.has(kv.key));
    for (let from = 0; from < asleep.length; from += WAKE_BATCH) {
      await wake(leader, asleep.slice(from, from + WAKE_BATCH), signal);
    }
    for (const kv of asleep) woken.add(kv.key);
    await untilChanged(session, [{ target: { prefix }, only: 'delete' }], (seen.revision + 1n) as Revision, signal);
  }
}

/** Rewrites keys as they are, so that their owners look. */
async function wake(leader: Contender, kvs: readonly KeyValue<string>[], signal: AbortSignal): Promise<void> {
  const { etcd } = leader.session;
  const ops = kvs.map((kv) =>
    etcd.op.txn({
      if: [etcd.key(kv.key).unchangedSince(kv)],
      then: [etcd.op.put(kv.key, kv.valueBytes, { ignoreLease: true })],
    }),
  );
  await leader.whileHeld(ops, signal);
}

/** For the leader: deletes its order, if it is still its own, until that is certain or its session is over. */
export async function takeBackOrder(leader: Contender, prefix: string): Promise<void> {
  const { session } = leader;
  const { etcd } = session;
  const key = orderKey(prefix);
  for (let tries = 0; session.lease.alive; tries++) {
    try {
      await etcd.txn({ if: [etcd.key(key).lease.equals(session.lease)], then: [etcd.op.delete(key)] });
      return;
    } catch (error) {
      if (!mayPass(error)) return;
      await pause(session, tries, undefined);
    }
  }
}

/**
 * For a candidate: steps back, if an order asks for that. Resolves with its new place;
 * undefined when there is nothing to do, or the order does not stand any more.
 *
 * @throws what {@link Contender.enter} throws.
 */
export async function stepBack(
  candidate: Contender,
  prefix: string,
  value: string,
  order: KeyValue<string> | undefined,
  signal: AbortSignal,
): Promise<{ readonly contender: Contender; readonly seen: RangeResult<string> | undefined } | undefined> {
  const successor = order && parseOrder(order);
  if (order === undefined || successor === undefined || successor.token <= candidate.token) return undefined;
  const { session } = candidate;
  const { etcd } = session;
  const entry = await Contender.enter(session, {
    prefix,
    value,
    signal,
    if: [
      ...candidate.conditions,
      etcd.key(order.key).unchangedSince(order),
      etcd.key(successor.key).createRevision.equals(successor.token),
    ],
    also: [etcd.op.delete(candidate.key)],
    look: () => etcd.op.range({ prefix }, NEWEST_TWO),
  });
  if (!entry.entered) return undefined;
  candidate.left();
  return entry;
}

function parseOrder(kv: KeyValue<string>): Successor | undefined {
  try {
    const { key, token } = JSON.parse(kv.value) as Order;
    return typeof key === 'string' ? { key, token: revision(BigInt(token)) } : undefined;
  } catch {
    return undefined;
  }
}

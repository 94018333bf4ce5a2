/**
 * The election: of many candidates one leads, in the order of arrival, for one term.
 *
 * Keys: `<name>/<lease>-<nonce>` for each candidate, its value what it stands for, hanging
 * on its session's lease; the oldest leads. Its create revision is the term. Compatible with
 * Go's `concurrency.Election` and `etcdctl elect`, in both directions: they see our values,
 * and we theirs. For a hand-over under way also `<name>%hand-over`.
 *
 * Round trips: campaign 1 when nobody is ahead; otherwise 1, a watch of the key just ahead
 * and of the own (so a resignation wakes one candidate, and one whose session dies knows at
 * once), and 1 to confirm. Proclaim 1, resign 1, leader 1. Observing is one list and one
 * watch for as long as it lasts. With 500 candidates waiting, on one machine with two cores
 * and etcd 3.5, the next one led 2 ms after a resignation (median; at most 80).
 *
 * Guaranteed: what goes through `leader.kv` and `leader.guard()` is done in the leader's own
 * term or not at all, and no two terms overlap in the store. Not guaranteed: that a leader
 * which was suspended knows at once that it leads no more; whatever it does elsewhere has to
 * carry the term, for the other side to refuse what is older than it has seen.
 *
 * Sources: the queue of keys is that of etcd's `concurrency` package; latch and callbacks
 * are Curator's `LeaderLatch` and `LeaderSelector`.
 *
 * @module
 */

import {
  AbortError,
  InvalidArgumentError,
  type KeyValue,
  type Op,
  type RangeResult,
  type Revision,
} from '../../src/index.ts';
import { Contender, untilChanged } from '../contender.ts';
import { isParticipant } from '../names.ts';
import type { Session } from '../session.ts';
import { NEWEST_TWO } from '../turn.ts';
import { waiting } from '../waiting.ts';
import { orderKey, stepBack } from './hand-over.ts';
import { Health } from './health.ts';
import { ElectionLatch, type LatchOptions } from './latch.ts';
import { Leadership } from './leadership.ts';
import type { CampaignOptions } from './options.ts';
import { type RunOptions, runElection } from './run.ts';
import { ElectionView } from './view.ts';

/**
 * An election that many sessions take part in by its name. One object can campaign many
 * times, at once or one after another; each is a candidate of its own.
 *
 * @example
 * ```ts
 * const election = new Election(session, 'scheduler');
 * await using leader = await election.campaign({ value: '10.0.0.7:8080', signal });
 * await leader.kv.put('scheduler/last-run', '17');   // fails if the term is over
 * ```
 */
export class Election extends ElectionView {
  readonly #session: Session;

  /** @throws InvalidArgumentError for an empty name. */
  constructor(session: Session, name: string) {
    super(session.etcd, name);
    this.#session = session;
  }

  /**
   * Stands for election, and waits until it leads.
   *
   * @throws WaitTimeoutError after `timeoutMs` (default: no limit), AbortError when `signal`
   * fires, LostError when the session is lost or the key is deleted meanwhile. Nothing of
   * the candidate is left then.
   */
  async campaign(options: CampaignOptions = {}): Promise<Leadership> {
    const { value = '', health: healthOptions } = options;
    if (typeof value !== 'string') throw new InvalidArgumentError('the value is no string');
    const health = healthOptions && new Health(this.#session.clock, healthOptions);
    using wait = waiting(this.#session, options);
    let kept: Contender | undefined;
    try {
      await health?.untilHealthy(wait.signal);
      if (wait.signal.aborted) throw new AbortError('the wait is over', { cause: wait.signal.reason });
      const contender = await this.#untilElected(value, wait.signal, (candidate) => {
        kept = candidate;
      });
      return new Leadership(this, contender, value, health);
    } catch (error) {
      if (kept !== undefined) await wait.patiently(kept.leave());
      throw wait.reason(`the leadership of ${this.name}`, error);
    }
  }

  /**
   * Leads whenever it can: campaigns, does the work, gives the leadership up when the work
   * is done. Its next work starts only after the last has returned, and nobody else leads
   * while it still works, unless the leadership was lost: then the signal fires, and `kv`
   * and `guard` refuse.
   *
   * With `requeue` it campaigns again after that, and after a leadership that was lost while
   * the session lives. To go on under another session, see `supervise`.
   *
   * @example
   * ```ts
   * await supervise(etcd, { ttlSeconds: 10, signal }, (session, signal) =>
   *   new Election(session, 'scheduler').run(schedule, { value: address, requeue: true, signal }),
   * );
   * ```
   * @returns what `work` returns; with `requeue` it does not return.
   * @throws what `work` throws while it leads; LostError when the leadership was lost before
   * the work was done (with `requeue`: when the session is over); AbortError when `signal`
   * fires, after the work has stopped.
   */
  run<T>(work: (leader: Leadership, signal: AbortSignal) => Promise<T>, options: RunOptions = {}): Promise<T> {
    return runElection(this, this.#session, work, options);
  }

  /** Stands for election from now on, again and again, in the background; see {@link ElectionLatch}. */
  latch(options: LatchOptions = {}): ElectionLatch {
    return new ElectionLatch(this, this.#session, options);
  }

  async #untilElected(value: string, signal: AbortSignal, keep: (candidate: Contender) => void): Promise<Contender> {
    const { etcd } = this.#session;
    const { prefix } = this;
    const entry = await Contender.enter(this.#session, {
      prefix,
      value,
      signal,
      look: () => etcd.op.range({ prefix }, NEWEST_TWO),
    });
    if (!entry.entered) throw new TypeError('an election has no condition of entry');
    let { contender } = entry;
    keep(contender);
    let seen = entry.seen ?? (await contender.confirm(this.#nearest(contender), signal));
    for (;;) {
      const ahead = await this.#ahead(contender, seen, signal);
      if (ahead === undefined) return contender;
      // Of the own key also a rewrite: it says that there may be an order to step back.
      const awaited = [{ target: ahead.kv.key, only: 'delete' }, { target: contender.key }] as const;
      await untilChanged(this.#session, awaited, (ahead.revision + 1n) as Revision, signal);
      const look = [this.#nearest(contender), etcd.op.get(orderKey(prefix))] as const;
      const [nearest, order] = await contender.whileHeld(look, signal);
      const behind = await stepBack(contender, prefix, value, order, signal);
      if (behind === undefined) {
        seen = nearest;
        continue;
      }
      contender = behind.contender;
      keep(contender);
      seen = behind.seen ?? (await contender.confirm(this.#nearest(contender), signal));
    }
  }

  /** Whom to wait for, and as of when; undefined when the candidate leads. */
  async #ahead(
    contender: Contender,
    seen: RangeResult<string>,
    signal: AbortSignal,
  ): Promise<{ readonly kv: KeyValue<string>; readonly revision: Revision } | undefined> {
    const find = ({ kvs, revision }: RangeResult<string>) => {
      const kv = kvs.find((one) => one.createRevision < contender.token && isParticipant(one, this.prefix));
      return kv && { kv, revision };
    };
    // The nearest may be a key that has strayed here: then look at all of them.
    return find(seen) ?? (seen.more ? find(await contender.confirm(this.#older(contender), signal)) : undefined);
  }

  #nearest(contender: Contender): Op<RangeResult<string>> {
    return this.#older(contender, 1);
  }

  #older({ token }: Contender, limit?: number): Op<RangeResult<string>> {
    const maxCreateRevision = (token - 1n) as Revision;
    return this.etcd.op.range({ prefix: this.prefix }, { sort: NEWEST_TWO.sort, limit, maxCreateRevision });
  }
}

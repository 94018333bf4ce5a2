/**
 * The election: of many candidates one leads, in the order of arrival, for one term.
 *
 * Keys: `<name>/<lease>-<nonce>` for each candidate, its value what it stands for, hanging
 * on its session's lease; the oldest leads. Its create revision is the term. Compatible with
 * Go's `concurrency.Election` and `etcdctl elect`, in both directions: they see our values,
 * and we theirs; where the name has a slash, with `rawName` (names.ts). For a hand-over under
 * way also `<name>%hand-over`.
 *
 * Round trips: campaign 1 when nobody is ahead; otherwise 1, a watch of the key just ahead
 * and of the own (so a resignation wakes one candidate, and one whose session dies knows at
 * once), and 1 to confirm. `tryCampaign` 1, `resume` 1. Proclaim 1, resign 1, leader 1.
 * Observing is one list and one watch for as long as it lasts. With 500 candidates waiting,
 * on one machine with two cores and etcd 3.5, the next one led 2 ms after a resignation
 * (median; at most 80).
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
import { type Asking, acquiring } from '../../src/telemetry/recipes.ts';
import { Contender, untilChanged } from '../contender.ts';
import { isParticipant, isParticipantKey, type NameOptions } from '../names.ts';
import type { Session } from '../session.ts';
import { tryEnter } from '../try-enter.ts';
import { NEWEST_TWO } from '../turn.ts';
import { waiting } from '../waiting.ts';
import { orderKey, stepBack } from './hand-over.ts';
import { Health } from './health.ts';
import { ElectionLatch, type LatchOptions } from './latch.ts';
import { Leadership } from './leadership.ts';
import type { CampaignOptions, LeadershipRecord, ResumeOptions, TryCampaignResult } from './options.ts';
import { type RunOptions, runElection } from './run.ts';
import { type ElectionLeader, ElectionView, toLeader } from './view.ts';

/** A candidate that leads, and what it stands for. */
interface Elected {
  readonly contender: Contender;
  readonly value: string;
}

/** Gets a place and waits until it leads; `keep` notes whose key is to go if that fails. */
type Take<T> = (
  wait: AbortSignal,
  health: Health | undefined,
  keep: (candidate: Contender) => void,
  asking: Asking,
) => Promise<T>;

type Settled<T> = T extends undefined ? undefined : Leadership;

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

  /**
   * @param name With a `/` or `%` it is another election than etcdctl's and Go's of that name, unless `rawName` is true.
   * @throws InvalidArgumentError for an empty name.
   */
  constructor(session: Session, name: string, options: NameOptions = {}) {
    super(session.etcd, name, options);
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
    const { value = '' } = options;
    assertText(value);
    return this.#settle('campaign', options, async (wait, health, keep, asking) => {
      await health?.untilHealthy(wait);
      if (wait.aborted) throw new AbortError('the wait is over', { cause: wait.reason });
      const entry = await Contender.enter(this.#session, {
        prefix: this.prefix,
        value,
        signal: wait,
        look: () => this.etcd.op.range({ prefix: this.prefix }, NEWEST_TWO),
      });
      if (!entry.entered) throw new TypeError('an election has no condition of entry');
      keep(entry.contender);
      if (entry.seen !== undefined) asking.position(entry.seen.count - 1);
      return { contender: await this.#untilElected(entry.contender, entry.seen, value, wait, keep), value };
    });
  }

  /**
   * Stands for election only if nobody leads: one round trip, which writes nothing when
   * somebody does, and says who. With `health` the candidate is checked once, before that.
   *
   * @throws UnhealthyError when it is not healthy; WaitTimeoutError after `timeoutMs`
   * (default: no limit), AbortError and LostError like {@link Election.campaign}.
   */
  async tryCampaign(options: CampaignOptions = {}): Promise<TryCampaignResult> {
    const { value = '' } = options;
    assertText(value);
    let leader: ElectionLeader | undefined;
    const leadership = await this.#settle('tryCampaign', options, async (wait, health, keep) => {
      await health?.assertHealthy(wait);
      const { prefix } = this;
      const blocks = (kv: KeyValue<string>): boolean => isParticipant(kv, prefix);
      const entry = await tryEnter(this.#session, { prefix, queue: prefix, blocks, value, signal: wait });
      if (!entry.entered) {
        leader = toLeader(entry.holder);
        return undefined;
      }
      keep(entry.contender);
      return { contender: entry.contender, value };
    });
    if (leadership !== undefined) return { elected: true, leadership };
    if (leader === undefined) throw new TypeError('neither elected nor refused');
    return { elected: false, leader };
  }

  /**
   * Leads on where an object that is gone has led: after a restart with the same lease
   * ({@link Session.resume}), or in another part of the program. One round trip, a
   * transaction that demands the key, its create revision and this session's lease; the term
   * stays. One that did not lead yet waits on in its place.
   *
   * The former object must be gone. It has the same term, so nothing fences one off from the
   * other.
   *
   * @example
   * ```ts
   * const session = await Session.resume(etcd, saved.lease);
   * const leader = await new Election(session, 'scheduler').resume(saved);
   * ```
   * @throws LostError when there is no such candidate any more, or it is another session's;
   * InvalidArgumentError for a key that is none of this election's. These leave the key as it
   * is. Later, WaitTimeoutError, AbortError and LostError like {@link Election.campaign}.
   */
  async resume({ key, term }: LeadershipRecord, options: ResumeOptions = {}): Promise<Leadership> {
    if (!isParticipantKey(key, this.prefix)) {
      throw new InvalidArgumentError('the key is not one of a candidate in this election');
    }
    return this.#settle('resume', options, async (wait, _health, keep) => {
      const look = (): Op<RangeResult<string>> => this.#older(term, 1);
      const { value, seen, ...own } = await Contender.resume(this.#session, key, term, { signal: wait, look });
      keep(own.contender);
      return { contender: await this.#untilElected(own.contender, seen, value, wait, keep), value };
    });
  }

  /**
   * Leads whenever it can: campaigns, does the work, gives the leadership up when the work
   * is done. Its next work starts only after the last has returned, and nobody else leads
   * while it still works, unless the leadership was lost: then the signal fires, and `kv`
   * and `guard` refuse.
   *
   * With `requeue` it campaigns again after that, and after a leadership or a place in the
   * queue that was lost while the session lives. To go on under another session, see `supervise`.
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

  /** Has `take` get a place, and makes a leadership out of it; whatever fails, the place that was kept goes. */
  #settle<T extends Elected | undefined>(verb: string, options: ResumeOptions, take: Take<T>): Promise<Settled<T>> {
    const which = { recipe: 'Election', name: this.name, verb, holding: 'lead' };
    return acquiring(this.etcd, which, (asking) => this.#stand(options, take, asking));
  }

  async #stand<T extends Elected | undefined>(
    options: ResumeOptions,
    take: Take<T>,
    asking: Asking,
  ): Promise<Settled<T>> {
    const health = options.health && new Health(this.#session.clock, options.health);
    using wait = waiting(this.#session, options);
    let kept: Contender | undefined;
    try {
      const keep = (candidate: Contender): void => {
        kept = candidate;
      };
      const elected = await take(wait.signal, health, keep, asking);
      return (elected && new Leadership(this, elected.contender, elected.value, health)) as Settled<T>;
    } catch (error) {
      if (kept !== undefined) await wait.patiently(kept.leave());
      throw wait.reason(`the leadership of ${this.name}`, error);
    }
  }

  async #untilElected(
    candidate: Contender,
    entered: RangeResult<string> | undefined,
    value: string,
    signal: AbortSignal,
    keep: (candidate: Contender) => void,
  ): Promise<Contender> {
    const { prefix, etcd } = this;
    let contender = candidate;
    let seen = entered ?? (await contender.confirm(this.#nearest(contender), signal));
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
    return find(seen) ?? (seen.more ? find(await contender.confirm(this.#older(contender.token), signal)) : undefined);
  }

  #nearest({ token }: Contender): Op<RangeResult<string>> {
    return this.#older(token, 1);
  }

  #older(token: Revision, limit?: number): Op<RangeResult<string>> {
    const maxCreateRevision = (token - 1n) as Revision;
    return this.etcd.op.range({ prefix: this.prefix }, { sort: NEWEST_TWO.sort, limit, maxCreateRevision });
  }
}

function assertText(value: unknown): void {
  if (typeof value !== 'string') throw new InvalidArgumentError('the value is no string');
}

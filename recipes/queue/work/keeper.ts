/**
 * Looks after the jobs that nobody else moves: it gives back those whose worker is gone or
 * whose time is over, and those whose delay is over.
 *
 * Every process that takes jobs has a keeper; they stand in line, and only the first works.
 * It follows the claims by one watch: a claim that is deleted without its record was not
 * settled, so the job is given back, or buried after its last attempt. The time that a claim
 * may last (`visibilityMs`) runs by the keeper's monotonic clock from the moment it sees the
 * claim made or extended, which is later than when the worker asked for it; so a worker that
 * counts from its asking stops in time. A new keeper begins to count anew.
 *
 * Nothing depends on there being only one keeper: each move is on condition that the record,
 * and the claim or its absence, are as they were seen, and that the keeper's own key is
 * still there. Two keepers would do the work twice, and succeed once.
 *
 * @module
 */

import {
  CompactedError,
  type Keyspace,
  type KeyValue,
  type Revision,
  type Timer,
  type WatchBatch,
} from '../../../src/index.ts';
import { detached } from '../../../src/telemetry/recipes.ts';
import { Contender } from '../../contender.ts';
import { type Awaited, untilAwaited } from '../../line.ts';
import { isParticipant } from '../../names.ts';
import { patiently } from '../../patience.ts';
import type { SessionUser } from '../../session.ts';
import { NEWEST_TWO, untilTurn } from '../../turn.ts';
import { pause } from '../../waiting.ts';
import { type Board, CLAIMS, claimedOf, DELAYED_AT, delayedOf, INFLIGHT, jobIdOf, readRecord, STATE } from './board.ts';

/** How many delayed jobs are moved at once: two operations and a condition each. */
const BATCH = 32;

/** A claim that counts no more, though its key is there; and why, for people to read. */
interface VoidClaim {
  readonly claim: KeyValue;
  readonly why: string;
}

/** Somebody has written to the claim without a lease: it would never go, and its worker's transactions fail. */
const UNLEASED = 'the claim lost its lease';

/** One process's keeper; works while it is the first of all. @internal */
export class Keeper implements SessionUser {
  readonly #board: Board<unknown, never>;
  readonly #stop = new AbortController();
  readonly #timers = new Map<string, Timer>();
  #running: Promise<void> | undefined;

  constructor(board: Board<unknown, never>) {
    this.#board = board;
  }

  /** Starts to stand in line; once. */
  start(): void {
    if (this.#running !== undefined) return;
    const { session } = this.#board;
    const leaveSession = session.use(this);
    const onSession = (): void => this.#stop.abort();
    session.signal.addEventListener('abort', onSession, { once: true });
    // It goes on when the claim that began it is over, and is no part of that.
    this.#running = detached(() => this.#run()).finally(() => {
      session.signal.removeEventListener('abort', onSession);
      leaveSession();
    });
  }

  /** Stops. */
  async release(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { session, keepers } = this.#board;
    const { signal } = this.#stop;
    for (let tries = 0; !signal.aborted; tries++) {
      let place: Contender | undefined;
      try {
        const look = () => session.etcd.op.range({ prefix: keepers }, NEWEST_TWO);
        const entry = await Contender.enter(session, { prefix: keepers, signal, look });
        if (!entry.entered) continue;
        place = entry.contender;
        await untilTurn(place, { prefix: keepers, blocks: (kv) => isParticipant(kv, keepers) }, entry.seen, signal);
        tries = 0;
        await this.#keep(place);
      } catch {
        // Whatever it was: the next try, or the next process, finds what is left to do.
      } finally {
        this.#disarmAll();
        if (place !== undefined) await patiently(session.clock, place.leave());
      }
      if (!signal.aborted) await pause(session, tries, signal);
    }
  }

  /** Does the work until something fails. */
  async #keep(place: Contender): Promise<void> {
    const stop = new AbortController();
    const onStop = (): void => stop.abort();
    this.#stop.signal.addEventListener('abort', onStop, { once: true });
    const works = [this.#followClaims(place, stop.signal), this.#followDelayed(place, stop.signal)];
    try {
      await Promise.race(works);
    } finally {
      stop.abort();
      this.#stop.signal.removeEventListener('abort', onStop);
      await Promise.allSettled(works);
    }
  }

  async #followClaims(place: Contender, signal: AbortSignal): Promise<void> {
    for (;;) {
      const from = ((await this.#sweep(place, signal)) + 1n) as Revision;
      const watcher = this.#board.keys.watch({ prefix: INFLIGHT }, { from, signal });
      try {
        for await (const batch of watcher.batches()) await this.#take(place, batch, signal);
        return;
      } catch (error) {
        if (!(error instanceof CompactedError)) throw error;
        this.#disarmAll();
      } finally {
        watcher.close();
      }
    }
  }

  /** Looks at all claimed jobs. Returns the revision as of which all is in order. */
  async #sweep(place: Contender, signal: AbortSignal): Promise<Revision> {
    const { op } = this.#board.keys;
    const [states, claims] = await place.whileHeld([op.range({ prefix: STATE }), op.range({ prefix: CLAIMS })], signal);
    const claimed = new Map(claims.kvs.map((kv) => [kv.key, kv]));
    for (const kv of claims.kvs) this.#arm(place, kv, signal);
    for (const kv of states.kvs) {
      const claim = claimed.get(readRecord(kv).claim ?? '');
      if (claim?.lease === undefined) await this.#giveBack(place, kv, signal, claim && { claim, why: UNLEASED });
    }
    return states.revision;
  }

  async #take(place: Contender, { events }: WatchBatch, signal: AbortSignal): Promise<void> {
    const gone = new Map<string, string>();
    const unleased = new Map<string, KeyValue>();
    for (const { type, kv } of events) {
      const id = claimedOf(kv.key);
      if (id !== undefined && type === 'put') {
        this.#arm(place, kv, signal);
        if (kv.lease === undefined) unleased.set(id, kv);
      }
      if (id !== undefined && type === 'delete') {
        this.#disarm(kv.key);
        gone.set(id, kv.key);
      }
      // Whatever settles a job deletes both in one transaction, whose events come together, the claim's first.
      if (id === undefined && type === 'delete') gone.delete(jobIdOf(kv.key, STATE) ?? '');
    }
    for (const [id, claim] of gone) {
      const [state] = await place.whileHeld([this.#board.keys.op.get(STATE + id)], signal);
      if (state !== undefined && readRecord(state).claim === claim) await this.#giveBack(place, state, signal);
    }
    for (const [id, claim] of unleased) await this.#takeFrom(place, id, { claim, why: UNLEASED }, signal);
  }

  /** Takes a job away from a claim that counts no more, unless that is over already. */
  async #takeFrom(place: Contender, id: string, revoked: VoidClaim, signal: AbortSignal): Promise<void> {
    const [state] = await place.whileHeld([this.#board.keys.op.get(STATE + id)], signal);
    // What is written below the claims by hand is not every job's.
    if (state !== undefined && readRecord(state).claim === revoked.claim.key) {
      await this.#giveBack(place, state, signal, revoked);
    }
  }

  /** Gives a claimed job to others; with a claim, one that is there but counts no more. */
  async #giveBack(place: Contender, state: KeyValue, signal: AbortSignal, revoked?: VoidClaim): Promise<void> {
    const { keys } = this.#board;
    const id = jobIdOf(state.key, STATE);
    if (id === undefined) return;
    const record = readRecord(state);
    const { claim: claimKey = '', ...rest } = record;
    const conditions = [keys.key(state.key).unchangedSince(state)];
    const { claim, why } = revoked ?? { claim: undefined, why: 'the worker was lost' };
    if (claim !== undefined) conditions.push(keys.key(claim.key).unchangedSince(claim));
    else if (claimKey !== '') conditions.push(keys.key(claimKey).missing);
    const moves = [keys.op.delete(state.key), this.#board.afterFailure(id, rest, why, 0)];
    if (claim !== undefined) moves.push(keys.op.delete(claim.key));
    await place.tryWhileHeld(conditions, moves, [], signal);
  }

  /** Lets a claim's time run from now. */
  #arm(place: Contender, claim: KeyValue, signal: AbortSignal): void {
    this.#disarm(claim.key);
    const id = claimedOf(claim.key);
    const visibilityMs = visibilityOf(claim);
    if (id === undefined || visibilityMs === undefined || signal.aborted) return;
    const over = async (): Promise<void> => {
      this.#timers.delete(claim.key);
      await this.#takeFrom(place, id, { claim, why: 'the time for the attempt was over' }, signal);
    };
    const { clock } = this.#board.session;
    // What fails here ends with the keeper's place; the next keeper counts anew.
    const timer = clock.after(visibilityMs, () => void over().catch(() => {}), { background: true });
    this.#timers.set(claim.key, timer);
  }

  #disarm(key: string): void {
    this.#timers.get(key)?.cancel();
    this.#timers.delete(key);
  }

  #disarmAll(): void {
    for (const key of [...this.#timers.keys()]) this.#disarm(key);
  }

  async #followDelayed(place: Contender, signal: AbortSignal): Promise<void> {
    const { keys, session, rules } = this.#board;
    for (let limit = BATCH; ; ) {
      const look = keys.op.range({ prefix: DELAYED_AT }, { limit });
      const [seen] = await place.whileHeld([look], signal);
      const jobs = seen.kvs.flatMap((kv) => {
        const delayed = delayedOf(kv.key);
        return delayed === undefined ? [] : [{ kv, ...delayed }];
      });
      if (jobs.length === 0 && seen.more) {
        // Nothing but keys that have strayed here.
        limit *= 8;
        continue;
      }
      const dueInMs = (dueMs: number): number => dueMs + rules.maxClockSkewMs - rules.wallClock();
      const due = jobs.slice(0, BATCH).filter(({ dueMs }) => dueInMs(dueMs) <= 0);
      if (due.length > 0) {
        const conditions = due.map(({ kv }) => keys.key(kv.key).unchangedSince(kv));
        const moves = due.flatMap(({ kv, id }) => [keys.op.delete(kv.key), this.#board.offer(id, readRecord(kv))]);
        await place.tryWhileHeld(conditions, moves, [], signal);
        continue;
      }
      const from = (seen.revision + 1n) as Revision;
      const [next] = jobs;
      const awaited: Awaited =
        next === undefined
          ? { target: { prefix: DELAYED_AT }, from }
          : { target: { from: DELAYED_AT, to: next.kv.key }, from, dueInMs: () => dueInMs(next.dueMs) };
      await untilAwaited(session, keys as unknown as Keyspace<string, never>, awaited, place, signal);
    }
  }
}

function visibilityOf(claim: KeyValue): number | undefined {
  try {
    const { visibilityMs } = JSON.parse(claim.value) as { visibilityMs?: unknown };
    return typeof visibilityMs === 'number' && visibilityMs >= 0 ? visibilityMs : undefined;
  } catch {
    return undefined;
  }
}

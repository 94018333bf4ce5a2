/**
 * Transactions that are done exactly once, whatever becomes of their answers.
 *
 * A compare of the item itself is not enough for that. Who put an item, lost the answer and
 * no longer finds the item cannot tell "never applied" from "applied, and taken by somebody
 * since": to put it again would double it. So each transaction also writes a receipt, a key
 * of our own, and demands that this key has been written exactly as often as we know of:
 *
 * 1. Sent twice, it is applied at most once, since the first time changes the version.
 * 2. Asked afterwards, the version says whether it was applied, and the value says which of
 *    several tries it was.
 * 3. A try that nobody waits for any more is voided by writing the receipt without it. A
 *    request that is delayed somewhere can then never be applied.
 *
 * Receipts hang on the session's lease. There is one for each transaction under way at the
 * same time; they are used again, and go with the session. They cost one small write in the
 * same transaction, and no round trip.
 *
 * Source: the idempotent producer of Kafka (KIP-98), whose sequence number is here the
 * version that etcd counts anyway.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import {
  AbortError,
  type Compare,
  EtcdError,
  formatId,
  type KeyValue,
  type Op,
  type OpResults,
  type Revision,
} from '../src/index.ts';
import { isFull, mayPass } from './contender.ts';
import { LostError, UnknownOutcomeError } from './errors.ts';
import { elapsed, patiently } from './patience.ts';
import type { Session } from './session.ts';
import { sessionEnd } from './waiting.ts';

/** One way to do it: conditions and operations, and what the receipt is to say if this was it. */
export interface Attempt {
  readonly receipt: string;
  readonly if: readonly Compare[];
  readonly then: readonly Op<unknown>[];
}

/** Something to be done once. */
export interface Task<Look extends readonly Op<unknown>[]> {
  /** What is to be done, for messages. */
  readonly what: string;
  /** What to read when an attempt is refused, so that the next can be made. Reads only. */
  readonly look: Look;
  /** The first attempt; without it, `look` is read first. */
  readonly first?: Attempt | undefined;
  /** Makes an attempt of what was seen, at once or later; `undefined` ends the task with nothing done. Never rejects. */
  next(seen: OpResults<Look>, revision: Revision): Attempt | undefined | Promise<Attempt | undefined>;
  /** Goes on while the cluster cannot be reached, and not only when an answer was lost. Default false. */
  readonly patient?: boolean | undefined;
  /** Reads `look` also after an attempt that was done. Default false. */
  readonly lookAfter?: boolean | undefined;
  /** Told in the background that it was done after all, when the caller had been told that nobody knows. */
  late?(receipt: string, revision: Revision): Promise<void>;
}

/** How it went. */
export type Done<Look extends readonly Op<unknown>[]> =
  | {
      readonly done: true;
      /** Which attempt it was. */
      readonly receipt: string;
      /** The revision that did it. */
      readonly revision: Revision;
      /** The results of its operations; undefined when the answer was lost. */
      readonly results: readonly unknown[] | undefined;
      /** What `look` saw afterwards, if it was asked to and the answer came. */
      readonly seen: OpResults<Look> | undefined;
    }
  | ({ readonly done: false } & Looked<Look>);

/** What a look has shown. */
export interface Looked<Look extends readonly Op<unknown>[]> {
  readonly seen: OpResults<Look>;
  readonly revision: Revision;
}

/** What became of a try that was given up. */
type Fate =
  | { readonly fate: 'done'; readonly receipt: string; readonly revision: Revision }
  | { readonly fate: 'void' }
  | { readonly fate: 'unknown' };

const RETRY_MS = { first: 20, max: 1_000 };

/** What a receipt says that voids a try; no attempt is called so. */
const VOID = 'void';

class Slot {
  readonly key: string;
  /** How often it has been written. */
  uses = 0n;
  constructor(key: string) {
    this.key = key;
  }
}

/** The receipts of one user of a queue. */
export class Receipts {
  readonly #session: Session;
  readonly #prefix: string;
  readonly #free: Slot[] = [];
  #slots = 0;

  /** `prefix`: where the receipts' keys go. */
  constructor(session: Session, prefix: string) {
    this.#session = session;
    this.#prefix = `${prefix}${formatId(session.id)}-${randomBytes(6).toString('hex')}`;
  }

  /**
   * Does something once, attempt after attempt until one is done or there is none left to
   * make. Goes on while no answer comes.
   *
   * @throws LostError when the session is over, AbortError when the signal has fired, EtcdError
   * when the cluster refuses: nothing is done then, nor will be. UnknownOutcomeError when that
   * could not be made sure of within two seconds.
   */
  async run<const Look extends readonly Op<unknown>[]>(task: Task<Look>, signal: AbortSignal): Promise<Done<Look>> {
    let attempt = task.first;
    let seen: Looked<Look> | undefined;
    if (attempt === undefined) {
      seen = await this.look(task.look, signal);
      attempt = await task.next(seen.seen, seen.revision);
      if (attempt === undefined) return { done: false, ...seen };
    }
    return new Run(this.#session, this.#take(), task, signal, (slot) => this.#free.push(slot)).from(attempt);
  }

  /** Reads something in one round trip. @throws LostError, AbortError, EtcdError */
  async look<const Look extends readonly Op<unknown>[]>(look: Look, signal: AbortSignal): Promise<Looked<Look>> {
    for (let tries = 0; ; tries++) {
      assertSession(this.#session);
      try {
        const { results, revision } = await this.#session.etcd.txn<readonly Op<unknown>[]>({ then: look }, { signal });
        return { seen: results as OpResults<Look>, revision };
      } catch (error) {
        if (signal.aborted || !mayPass(error)) throw error;
        await pause(this.#session, tries, signal);
      }
    }
  }

  #take(): Slot {
    return this.#free.pop() ?? new Slot(`${this.#prefix}-${this.#slots++}`);
  }
}

/** One task under way. */
class Run<Look extends readonly Op<unknown>[]> {
  readonly #session: Session;
  readonly #task: Task<Look>;
  readonly #signal: AbortSignal;
  readonly #giveBack: (slot: Slot) => void;
  #slot: Slot;
  /** Whether a try was sent of which nobody knows whether it was applied. */
  #unsure = false;
  /** Whether one of those was not answered, and so may be applied yet. */
  #straggling = false;

  constructor(session: Session, slot: Slot, task: Task<Look>, signal: AbortSignal, giveBack: (slot: Slot) => void) {
    this.#session = session;
    this.#slot = slot;
    this.#task = task;
    this.#signal = signal;
    this.#giveBack = giveBack;
  }

  async from(first: Attempt): Promise<Done<Look>> {
    let attempt: Attempt | undefined = first;
    let refused: Looked<Look> | undefined;
    for (let tries = 0; attempt !== undefined; tries++) {
      try {
        const answer: Done<Look> | undefined = await this.#send(attempt);
        if (answer === undefined) continue;
        if (answer.done) return answer;
        refused = answer;
        attempt = await this.#task.next(answer.seen, answer.revision);
        tries = -1;
      } catch (error) {
        if (error instanceof UnknownOutcomeError) throw error;
        const unknown = error instanceof EtcdError && error.applied === 'maybe';
        this.#unsure ||= unknown;
        this.#straggling ||= unknown && !isFull(error);
        const asksAgain = this.#unsure && !isFull(error);
        const goesOn = (asksAgain || this.#task.patient === true) && mayPass(error);
        if (!goesOn || this.#signal.aborted || !this.#session.alive) return this.#giveUp(error);
        await pause(this.#session, tries, this.#signal);
      }
    }
    if (refused === undefined) throw new TypeError('a task without an attempt');
    // A try that was refused now may be applied later, when what stood in its way is gone.
    const fate = await this.#settle();
    if (fate?.fate === 'done') return { ...fate, done: true, results: undefined, seen: undefined };
    if (fate?.fate === 'unknown') throw new UnknownOutcomeError(this.#task.what);
    return { done: false, ...refused };
  }

  /** Sends one attempt. Nothing is returned when it has to be sent again, with another receipt. */
  async #send({ if: conditions, then, receipt }: Attempt): Promise<Done<Look> | undefined> {
    assertSession(this.#session);
    const { etcd, lease } = this.#session;
    const slot = this.#slot;
    const { look, lookAfter } = this.#task;
    const done = await etcd.txn<readonly Op<unknown>[], readonly [Op<KeyValue | undefined>, ...Op<unknown>[]]>(
      {
        if: [etcd.key(slot.key).version.equals(slot.uses), ...conditions],
        then: [...then, etcd.op.put(slot.key, receipt, { lease }), ...(lookAfter ? look : [])],
        else: [etcd.op.get(slot.key), ...look],
      },
      { signal: this.#signal },
    );
    const { revision } = done;
    if (done.succeeded) {
      this.#used();
      const seen = lookAfter ? (done.results.slice(then.length + 1) as OpResults<Look>) : undefined;
      return { done: true, receipt, revision, results: done.results.slice(0, then.length), seen };
    }
    const [kv, ...looked] = done.results;
    const seen = looked as OpResults<Look>;
    const uses = kv?.version ?? 0n;
    if (uses === slot.uses) return { done: false, seen, revision };
    if (kv !== undefined && uses === slot.uses + 1n) {
      this.#used();
      return { done: true, receipt: kv.value, revision: kv.modRevision, results: undefined, seen };
    }
    // Somebody has deleted the receipt, so it tells nothing any more.
    if (this.#unsure) throw new UnknownOutcomeError(this.#task.what);
    this.#slot = new Slot(`${slot.key}-${randomBytes(3).toString('hex')}`);
    return undefined;
  }

  #used(): void {
    this.#slot.uses += 1n;
    this.#giveBack(this.#slot);
  }

  /** Ends the task after a failure: with certainty, if that can be had in time. */
  async #giveUp(error: unknown): Promise<Done<Look>> {
    const fate = await this.#settle();
    if (fate?.fate === 'done') return { ...fate, done: true, results: undefined, seen: undefined };
    if (fate?.fate === 'unknown') throw new UnknownOutcomeError(this.#task.what, { cause: error });
    // Asking for the lease makes the session itself notice, and all who stand on it.
    const noLease = error instanceof EtcdError && error.code === 'lease-not-found';
    if (noLease && this.#session.lease.alive) await this.#session.lease.keepAliveOnce().catch(() => {});
    assertSession(this.#session);
    const { aborted, reason } = this.#signal;
    throw aborted ? new AbortError('the signal has fired', { cause: reason }) : error;
  }

  /** Makes sure that no try of ours is applied from now on, and finds out whether one was. */
  async #settle(): Promise<Fate | undefined> {
    if (!this.#unsure) {
      this.#giveBack(this.#slot);
      return undefined;
    }
    if (!this.#straggling) return this.#readReceipt();
    let fate: Fate = { fate: 'unknown' };
    let waiting = true;
    const settled = voidSlot(this.#session, this.#slot).then((known) => {
      if (known.fate !== 'unknown') this.#used();
      if (waiting) fate = known;
      else if (known.fate === 'done') return this.#task.late?.(known.receipt, known.revision);
      return undefined;
    });
    // A failure in the background leaves it as the caller was told: unknown.
    settled.catch(() => {});
    await patiently(this.#session.clock, settled);
    waiting = false;
    return fate;
  }

  /** Finds out whether a try was applied when all were answered: then the receipt stays as it is. */
  async #readReceipt(): Promise<Fate | undefined> {
    const slot = this.#slot;
    try {
      const kv = await this.#session.etcd.get(slot.key);
      const uses = kv?.version ?? 0n;
      if (uses === slot.uses) {
        this.#giveBack(slot);
        return undefined;
      }
      if (kv === undefined || uses !== slot.uses + 1n) return { fate: 'unknown' };
      this.#used();
      return { fate: 'done', receipt: kv.value, revision: kv.modRevision };
    } catch {
      return { fate: 'unknown' };
    }
  }
}

/** Writes a receipt without anything else, so that no try that was to write it can be applied any more. */
async function voidSlot(session: Session, slot: Slot): Promise<Fate> {
  const { etcd, lease } = session;
  for (let tries = 0; lease.alive; tries++) {
    try {
      const done = await etcd.txn({
        if: [etcd.key(slot.key).version.equals(slot.uses)],
        then: [etcd.op.put(slot.key, VOID, { lease })],
        else: [etcd.op.get(slot.key)],
      });
      if (done.succeeded) return { fate: 'void' };
      const [kv] = done.results;
      if (kv?.version !== slot.uses + 1n) return { fate: 'unknown' };
      return kv.value === VOID ? { fate: 'void' } : { fate: 'done', receipt: kv.value, revision: kv.modRevision };
    } catch (error) {
      if (!mayPass(error)) return { fate: 'unknown' };
      await pause(session, tries, undefined);
    }
  }
  return { fate: 'unknown' };
}

function assertSession(session: Session): void {
  if (!session.alive) throw new LostError('the session', 'session', { cause: sessionEnd(session) });
}

/** Waits between two tries: longer from try to try, and never past the signal, or the session's end without one. */
export async function pause(session: Session, tries: number, signal: AbortSignal | undefined): Promise<void> {
  const bound = Math.min(RETRY_MS.max, RETRY_MS.first * 2 ** Math.min(tries, 16));
  await elapsed(session.clock, bound * (0.5 + session.etcd.random() / 2), signal ?? session.lease.signal);
}

/**
 * What is to be in the store is there, or on its way: for ever, whatever becomes of the lease, the key and the cluster.
 *
 * One loop: have a session, write what is wished for, wait until something has changed; on a failure, wait a while and
 * begin again. It has no other paths, so a return after an hour's outage is the first registration once more. It ends by
 * the signal, or with the client; no failure ends it.
 *
 * - A lease that is lost by our clock may live on at the servers: a leader that takes over gives every lease its whole time
 *   again. So it is asked for first. If it lives, nothing needs to be written, and nobody sees the record go.
 * - If it does not, the instances of a whole cluster come back at the same moment: each waits for a moment of its own.
 * - The own key is watched. What is there is settled by the write's compare, not by the watch: it only says when to look.
 * - Whoever deletes the key again and again is answered more and more slowly.
 *
 * @module
 */

import { type Etcd, EtcdError, type LeaseId, type Revision } from '../../../src/index.ts';
import { elapsed } from '../../patience.ts';
import { Session } from '../../session.ts';
import type { OwnRecord } from './own-record.ts';
import { Pulse, untilAny } from './pulse.ts';

/** What is to be in the store. */
export interface Wish {
  readonly value: Uint8Array;
  /** Whether there is to be a record. If not, one that is there is written once more, to say why, and deleted. */
  readonly present: boolean;
  /** Grows with each change. */
  readonly version: number;
}

/** Whose wish it is; told how it goes. Nothing of it may throw. */
export interface Wisher {
  readonly wish: Wish;
  /** The wish of this version is fulfilled. */
  onFulfilled(version: number): void;
  /** It is not, for now, or was and is no more. */
  onTrouble(error: unknown): void;
}

/** How to go about it. */
export interface ReconcilerOptions {
  readonly ttlSeconds: number;
  readonly rejoinJitterMs: number;
}

/** Pauses that double from the first up to the most, with jitter down to half. */
interface Pauses {
  readonly first: number;
  readonly max: number;
}

/** Between two tries after a failure; but at most a third of the time to live, so that a lease is asked for in time. */
const RETRY_MS: Pauses = { first: 100, max: 5_000 };
/** The same after a deletion, for those that come soon after a write. */
const REWRITE_MS: Pauses = { first: 50, max: 5_000 };
/** What has gone well for so long makes the next pause a short one. */
const CALM_MS = 10_000;

/** See the head of this file. */
export class Reconciler<M> {
  readonly #etcd: Etcd;
  readonly #record: OwnRecord<M>;
  readonly #wisher: Wisher;
  readonly #options: ReconcilerOptions;
  readonly #retryMs: Pauses;
  readonly #wake = new Pulse();
  #session: Session | undefined;
  /** What was written last, and under which lease. */
  #written: { readonly version: number; readonly lease: LeaseId; readonly at: number } | undefined;
  /** The newest change of the own key that the watch has told. */
  #changedAt = 0n as Revision;
  /** Whether a change of the own key may have been missed. */
  #inDoubt = false;
  #watch: { readonly stop: AbortController; readonly done: Promise<void> } | undefined;
  #rewrites = 0;

  constructor(etcd: Etcd, record: OwnRecord<M>, wisher: Wisher, options: ReconcilerOptions) {
    this.#etcd = etcd;
    this.#record = record;
    this.#wisher = wisher;
    this.#options = options;
    this.#retryMs = { ...RETRY_MS, max: Math.min(RETRY_MS.max, (options.ttlSeconds * 1_000) / 3) };
  }

  /** The session that the record hangs on, or hung on last; to be closed by who ends the registration. */
  get session(): Session | undefined {
    return this.#session;
  }

  /** There is another wish. */
  wake(): void {
    this.#wake.beat();
  }

  /** Runs until the signal fires; resolves when nothing of it goes on. With the client's end it ends too. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#etcd;
    for (let failures = 0; !signal.aborted; ) {
      const wake = this.#wake.next;
      try {
        const session = await this.#alive(signal);
        await this.#fulfil(session, signal);
        this.#startWatch();
        failures = 0;
        await untilAny(signal, wake, session.signal);
      } catch (error) {
        if (signal.aborted) break;
        this.#wisher.onTrouble(error);
        if (isClosed(error)) break;
        // Somebody else's key: the watch tells when it goes.
        if (this.#record.asOf > 0n) this.#startWatch();
        await elapsed(clock, this.#pauseMs(this.#retryMs, failures++), signal, wake);
      }
    }
    await this.#stopWatch();
  }

  /** A session that is alive: the one there is, the same lease again, or a new one. */
  async #alive(signal: AbortSignal): Promise<Session> {
    const former = this.#session;
    if (former?.alive) return former;
    if (former !== undefined) {
      this.#wisher.onTrouble(former.signal.reason);
      if (former.lease.lossReason !== 'expired' && (await this.#resume(former, signal)))
        return this.#session as Session;
      await elapsed(this.#etcd.clock, this.#options.rejoinJitterMs * this.#etcd.random(), signal);
      signal.throwIfAborted();
    }
    this.#session = await Session.open(this.#etcd, { ttlSeconds: this.#options.ttlSeconds, signal });
    // It may be another store than before, restored from a backup, with lower revisions: nothing from before counts.
    await this.#stopWatch();
    this.#changedAt = 0n as Revision;
    return this.#session;
  }

  async #resume(former: Session, signal: AbortSignal): Promise<boolean> {
    try {
      this.#session = await Session.resume(this.#etcd, former.id, { signal });
      return true;
    } catch (error) {
      if (error instanceof EtcdError && error.code === 'lease-not-found') return false;
      throw error;
    }
  }

  async #fulfil(session: Session, signal: AbortSignal): Promise<void> {
    const { value, present, version } = this.#wisher.wish;
    const { clock } = this.#etcd;
    const disturbed = this.#inDoubt || this.#changedAt > this.#record.asOf;
    const written = this.#written;
    if (written?.version === version && written.lease === session.id && !disturbed) {
      this.#wisher.onFulfilled(version);
      return;
    }
    if (disturbed && present && written?.version === version) await this.#slowDown(written.at, signal);
    this.#inDoubt = false;
    if (!present && !this.#record.present) await this.#record.look(session, signal);
    if (present || this.#record.present) await this.#record.put(session, value, signal);
    if (!present) await this.#record.withdraw(session, signal);
    this.#written = { version, lease: session.id, at: clock.now() };
    this.#wisher.onFulfilled(version);
  }

  /** Before a key that was deleted, or changed, is written again: the sooner that happened, the longer. */
  async #slowDown(writtenAt: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#etcd;
    if (clock.now() - writtenAt > CALM_MS) this.#rewrites = 0;
    // Once may be an accident: that is mended at once.
    if (this.#rewrites++ > 0) await elapsed(clock, this.#pauseMs(REWRITE_MS, this.#rewrites - 2), signal);
    signal.throwIfAborted();
  }

  #startWatch(): void {
    if (this.#watch !== undefined) return;
    const stop = new AbortController();
    this.#watch = { stop, done: this.#watchOwnKey(stop.signal) };
  }

  async #stopWatch(): Promise<void> {
    this.#watch?.stop.abort();
    await this.#watch?.done;
    this.#watch = undefined;
  }

  /** Tells of the changes of the own key that others make, for as long as the signal lets it. */
  async #watchOwnKey(signal: AbortSignal): Promise<void> {
    const { clock } = this.#etcd;
    for (let failures = 0; !signal.aborted; failures++) {
      const startedAt = clock.now();
      const from = (this.#record.asOf + 1n) as Revision;
      try {
        // With `resync` lost history is no end: what can't be told as events is told as a mark.
        for await (const event of this.#etcd.watch(this.#record.key, { from, resync: true, signal })) {
          if (event.type === 'resync') this.#inDoubt ||= event.phase === 'end';
          else if (event.revision > this.#changedAt) this.#changedAt = event.revision;
          if (this.#inDoubt || this.#changedAt > this.#record.asOf) this.#wake.beat();
        }
      } catch (error) {
        if (signal.aborted || isClosed(error)) return;
        this.#inDoubt = true;
        if (clock.now() - startedAt > CALM_MS) failures = 0;
        await elapsed(clock, this.#pauseMs(this.#retryMs, failures), signal);
        this.#wake.beat();
      }
    }
  }

  #pauseMs({ first, max }: Pauses, tries: number): number {
    return Math.min(max, first * 2 ** Math.min(tries, 16)) * (0.5 + this.#etcd.random() / 2);
  }
}

function isClosed(error: unknown): boolean {
  return error instanceof EtcdError && error.code === 'closed';
}

/**
 * Linearizable reads: readers wait until everything is applied here that anybody could know of when they came.
 *
 * Readers that come together share a round: one position is asked for, from the leader and its quorum. Those that come
 * while a round is underway must not join it, since its position may have been noted before they came: they share the
 * next one. A round asks again every {@link RETRY_MS} and when the member has a new leader with a committed entry; each
 * time under another name, so that what was asked for first is recognized too: it is as good, for it is later than all
 * of its readers. No other member ever uses these names, nor this one in an earlier life: an answer to what was asked
 * then is still on its way, perhaps, and tells of an older position.
 *
 * Where one member decides alone the answer is there at once, and then there is no timer at all.
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014), §6.4; etcd's errors as observed.
 *
 * @module
 */
import type { Clock, Timer } from '../../support/clock.ts';
import { type Cancellation, onAbort } from '../../support/signals.ts';
import type { ReadState } from '../raft/index.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import { AppliedWaits } from './applied-waits.ts';

/** How often a round asks again, in ms. */
const RETRY_MS = 500;

export interface ReadsOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Index of the last applied entry. */
  readonly applied: () => number;
  /** A number of 64 bits that no member ever gave or gives again. */
  readonly nextId: () => bigint;
  /** Asks the core for a position. The answer may never come. */
  readonly ask: (context: Uint8Array) => void;
  /** Asks for {@link Reads.gather}. */
  readonly wake: () => void;
}

interface Reader {
  readonly resolve: () => void;
  readonly reject: (error: RpcError) => void;
}

/** Readers who share a position. */
interface Round {
  readonly readers: ReadonlySet<Reader>;
  /** What was asked for. */
  readonly asks: Set<bigint>;
  readonly startedAt: number;
  timer: Timer | undefined;
}

/** See the head of this file. */
export class Reads {
  readonly #options: ReadsOptions;
  readonly waits: AppliedWaits;
  /** Who waits for the next round. */
  #waiting = new Set<Reader>();
  #round: Round | undefined;
  #stopped = false;
  /** Rounds that ended without a position. */
  failed = 0;
  /** Rounds that had to ask again. */
  slow = 0;

  constructor(options: ReadsOptions) {
    this.#options = options;
    this.waits = new AppliedWaits(options);
  }

  /** @throws RpcError `Timeout`, `TimeoutAppliedIndex`, `LeaderChanged`, `Stopped`, `Canceled`. */
  linearize(signal?: AbortSignal | Cancellation): Promise<void> {
    if (this.#stopped) return Promise.reject(new RpcError(Refusals.Stopped));
    if (signal?.aborted) return Promise.reject(new RpcError(Refusals.Canceled));
    return new Promise((resolve, reject) => {
      const reader: Reader = { resolve, reject };
      const readers = this.#waiting;
      if (signal) {
        const unlisten = onAbort(signal, () => {
          readers.delete(reader);
          reject(new RpcError(Refusals.Canceled));
        });
        const listening: Reader = {
          resolve: () => {
            unlisten();
            resolve();
          },
          reject: (error) => {
            unlisten();
            reject(error);
          },
        };
        Object.assign(reader, listening);
      }
      readers.add(reader);
      if (this.#round === undefined) this.#options.wake();
    });
  }

  /** Begins a round, if somebody waits for one and none is underway. */
  gather(): void {
    if (this.#round !== undefined || this.#waiting.size === 0) return;
    const readers = this.#waiting;
    this.#waiting = new Set();
    this.#round = {
      readers,
      asks: new Set(),
      startedAt: this.#options.clock.now(),
      timer: undefined,
    };
    this.#ask(this.#round);
  }

  /** A turn is over: a round that has no position yet has to wait for other members. */
  settle(): void {
    const round = this.#round;
    if (round === undefined || round.timer !== undefined) return;
    round.timer = this.#options.clock.after(RETRY_MS, () => this.#retry(round), { background: true });
  }

  /** Positions have come. */
  answered(states: readonly ReadState[]): void {
    for (const { context, index } of states) {
      const round = this.#round;
      const ask = decodeAsk(context);
      if (round === undefined || ask === undefined || !round.asks.has(ask)) continue;
      this.#finish(round);
      if (index <= this.#options.applied()) for (const { resolve } of round.readers) resolve();
      else this.#waitApplied(round.readers, index);
    }
  }

  /** The leader has committed an entry of its own term: what was asked of it before may have been dropped. */
  committedInTerm(): void {
    if (this.#round) this.#ask(this.#round);
  }

  /** There is another leader than before. */
  leaderChanged(): void {
    if (this.#round) this.#fail(this.#round, Refusals.LeaderChanged);
  }

  /** Ends all waiting, now and from now on. */
  stop(): void {
    this.#stopped = true;
    if (this.#round) this.#fail(this.#round, Refusals.Stopped);
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const { reject } of waiting) reject(new RpcError(Refusals.Stopped));
    this.waits.stop();
  }

  #ask(round: Round): void {
    const ask = this.#options.nextId();
    round.asks.add(ask);
    this.#options.ask(encodeAsk(ask));
  }

  #retry(round: Round): void {
    round.timer = undefined;
    if (this.#round !== round) return;
    if (this.#options.clock.now() - round.startedAt >= this.#options.timeoutMs) {
      this.#fail(round, Refusals.Timeout);
      return;
    }
    if (round.asks.size === 1) this.slow += 1;
    this.#ask(round);
    this.#options.wake();
  }

  #fail(round: Round, refusal: Refusal): void {
    this.failed += 1;
    this.#finish(round);
    for (const { reject } of round.readers) reject(new RpcError(refusal));
  }

  #finish(round: Round): void {
    round.timer?.cancel();
    this.#round = undefined;
    if (this.#waiting.size > 0) this.#options.wake();
  }

  #waitApplied(readers: ReadonlySet<Reader>, index: number): void {
    this.waits.until(index, this.#options.timeoutMs).then(
      (outcome) => {
        const refusal = outcome === 'stopped' ? Refusals.Stopped : Refusals.TimeoutAppliedIndex;
        for (const { resolve, reject } of readers) {
          if (outcome === 'applied') resolve();
          else reject(new RpcError(refusal));
        }
      },
      () => {},
    );
  }
}

function encodeAsk(ask: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, ask);
  return bytes;
}

function decodeAsk(context: Uint8Array): bigint | undefined {
  if (context.length !== 8) return undefined;
  return new DataView(context.buffer, context.byteOffset, 8).getBigUint64(0);
}

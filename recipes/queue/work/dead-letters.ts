/**
 * The jobs that were given up.
 *
 * @module
 */

import type { CallOptions, KeyValue, Op } from '../../../src/index.ts';
import { failure } from '../../line.ts';
import { type WaitOptions, waiting } from '../../waiting.ts';
import { type Board, DEAD, jobIdOf, readRecord } from './board.ts';

/** A job that was given up. */
export interface DeadLetter<V> {
  readonly id: string;
  readonly attempts: number;
  /** Why its last attempt failed. */
  readonly reason: string;
  /** When it was put, by its producer's wall clock. */
  readonly enqueuedAt: Date;
  /** When it was given up, by the clock of who gave it up. */
  readonly diedAt: Date;
  /** What was put: reading `value` may throw a DecodeError. Undefined when somebody has deleted it. */
  readonly payload: KeyValue<V> | undefined;
}

/** Payloads that are read by one transaction. */
const PAGE = 50;

/** What can be done about jobs that were given up. */
export class DeadLetters<V> {
  readonly #board: Board<V, never>;

  /** @internal */
  constructor(board: Board<V, never>) {
    this.#board = board;
  }

  /** All of them, oldest first: two round trips for each fifty. */
  async *list(options: CallOptions = {}): AsyncGenerator<DeadLetter<V>, void, void> {
    const { keys, jobs, session } = this.#board;
    let page: KeyValue[] = [];
    const read = async (): Promise<DeadLetter<V>[]> => {
      const ids = page.map(({ key }) => key.slice(DEAD.length));
      const payloads = await session.etcd.txn<readonly Op<KeyValue<V> | undefined>[]>(
        { then: ids.map((id) => jobs.op.get(id)) },
        options,
      );
      return page.map((kv, index) => letter(kv, payloads.results[index]));
    };
    for await (const kv of keys.scan({ prefix: DEAD }, { ...options, pageSize: PAGE })) {
      if (jobIdOf(kv.key, DEAD) === undefined) continue;
      page.push(kv);
      if (page.length < PAGE) continue;
      yield* await read();
      page = [];
    }
    if (page.length > 0) yield* await read();
  }

  /**
   * Gives one of them a new life, with all its attempts. Two round trips. Resolves with
   * whether it was there.
   *
   * @throws LostError, AbortError, WaitTimeoutError, EtcdError: nothing was done then;
   * UnknownOutcomeError when nobody knows.
   */
  requeue(id: string, options: WaitOptions = {}): Promise<boolean> {
    return this.#move('requeue', id, options, (kv) => {
      const { reason: _reason, diedAt: _diedAt, ...record } = readRecord(kv);
      return [this.#board.offer(id, { ...record, attempts: 0 })];
    });
  }

  /** Deletes one of them. Two round trips. @throws as {@link DeadLetters.requeue}. */
  discard(id: string, options: WaitOptions = {}): Promise<boolean> {
    return this.#move('discard', id, options, (kv) => this.#board.erase(id, readRecord(kv)));
  }

  async #move(
    what: string,
    id: string,
    options: WaitOptions,
    moves: (kv: KeyValue) => readonly Op<unknown>[],
  ): Promise<boolean> {
    const { keys, session, receipts } = this.#board;
    const key = DEAD + id;
    using wait = waiting(session, options);
    try {
      const done = await receipts.run(
        {
          what: `${what} of the job ${id}`,
          look: [keys.op.get(key)],
          next: ([kv]) =>
            kv && { receipt: what, if: [keys.key(key).unchangedSince(kv)], then: [keys.op.delete(key), ...moves(kv)] },
        },
        wait.signal,
      );
      return done.done;
    } catch (error) {
      throw failure(wait, `the job ${id}`, error);
    }
  }
}

function letter<V>(kv: KeyValue, payload: KeyValue<V> | undefined): DeadLetter<V> {
  const { attempts, enqueuedAt, reason = 'unknown', diedAt = 0 } = readRecord(kv);
  return {
    id: kv.key.slice(DEAD.length),
    attempts,
    reason,
    enqueuedAt: new Date(enqueuedAt),
    diedAt: new Date(diedAt),
    payload,
  };
}

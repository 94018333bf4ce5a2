/**
 * Questions that only the leader can answer: it is asked wherever it is, until it answers or time is over.
 *
 * Leaders change while they are asked. One that says it leads no more, or does not answer, is asked again as soon as
 * something is different, or a new one instead. A question that came from another member is never passed on: two that
 * take each other for the leader would pass it round for ever.
 *
 * @module
 */
import type { Clock } from '../../support/clock.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import type { Changes } from './changes.ts';
import type { PeerAnswer } from './peers.ts';
import type { RaftPosition } from './serving.ts';

/** How long to wait before asking a leader again that could not be reached, in ms. */
const RETRY_MS = 50;

export interface AtLeaderOptions {
  readonly id: bigint;
  readonly clock: Clock;
  readonly changes: Changes;
  readonly position: () => RaftPosition;
  /** As long as a request may take, in ms. */
  readonly timeoutMs: number;
}

/** Where a question is answered. */
export interface Question<T> {
  /**
   * Answers it here, where the leader is.
   *
   * @returns Undefined: it can't be answered yet.
   */
  readonly here: (leftMs: number) => Promise<T | undefined>;
  /** Asks the leader. Undefined: the question came from another member. */
  readonly there?: ((leader: bigint) => Promise<PeerAnswer<T>>) | undefined;
}

/** See the head of this file. */
export class AtLeader {
  readonly #options: AtLeaderOptions;
  #stopped = false;

  constructor(options: AtLeaderOptions) {
    this.#options = options;
  }

  /** @throws RpcError the leader's refusal; `NotLeader` (to another member), `NoLeader`, `Timeout`, `Stopped`, `Canceled`. */
  async ask<T>({ here, there }: Question<T>, signal: AbortSignal | undefined): Promise<T> {
    const { id, clock, changes, position, timeoutMs } = this.#options;
    const endsAt = clock.now() + timeoutMs;
    for (;;) {
      if (this.#stopped) throw new RpcError(Refusals.Stopped);
      if (signal?.aborted) throw new RpcError(Refusals.Canceled);
      const { leader } = position();
      if (leader !== id && !there) throw new RpcError(Refusals.NotLeader);
      const left = endsAt - clock.now();
      if (left <= 0) throw new RpcError(leader === 0n ? Refusals.NoLeader : Refusals.Timeout);
      if (leader === id) {
        const found = await here(left);
        if (found !== undefined) return found;
        await changes.next(left, signal);
      } else if (leader === 0n || !there) await changes.next(left, signal);
      else {
        const answer = await there(leader);
        if (answer.type === 'answer') return answer.value;
        if (answer.type === 'refused' && !leadsNoMore(answer.refusal)) throw new RpcError(answer.refusal);
        await changes.next(Math.min(left, RETRY_MS), signal);
      }
    }
  }

  /** Ends all asking. Who waits has to be woken besides. */
  stop(): void {
    this.#stopped = true;
  }
}

function leadsNoMore({ text }: Refusal): boolean {
  return text === Refusals.NotLeader.text || text === Refusals.NotPrimaryLessor.text;
}

/**
 * The life of leases: the leader's lessor lets them end, through the log; renewals go to it, wherever it is.
 *
 * A lessor becomes the primary when its member applies the first entry of its own term: then everything that earlier
 * leaders granted is applied. It stops being it as soon as the member leads no more.
 *
 * A renewal is answered only when nothing can take it back: what takes back a checkpoint is applied first, and one that
 * came too late waits until the lease is gone or has another primary.
 *
 * @module
 */
import { fromLatin1 } from '../../protocol/keys.ts';
import type { Clock, Timer } from '../../support/clock.ts';
import type { AppliedState } from '../apply/state.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import type { AppliedWaits } from './applied-waits.ts';
import type { Changes } from './changes.ts';
import type { LeaseTimes, PeerAnswer, Peers } from './peers.ts';
import type { Proposals } from './proposals.ts';
import type { RaftPosition } from './serving.ts';

/** How often the leader looks for leases that have run out, in ms. */
const SCAN_MS = 500;

/** How many ends of leases are in the log at a time. */
const MAX_REVOKES = 16;

/** How long to wait before asking a leader again that could not be reached, in ms. */
const FORWARD_RETRY_MS = 50;

export interface LeaseKeeperOptions {
  readonly id: bigint;
  readonly clock: Clock;
  readonly state: AppliedState;
  readonly proposals: Proposals;
  readonly peers: Peers;
  readonly changes: Changes;
  readonly waits: AppliedWaits;
  readonly position: () => RaftPosition;
  /** As long as a request may take, in ms. */
  readonly timeoutMs: number;
  /** Added to the time of all leases by a new leader, in ms. */
  readonly extendMs: number;
}

/** See the head of this file. */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  #timer: Timer | undefined;
  /** Ended leases whose end is to be proposed. */
  readonly #due = new Set<bigint>();
  #revoking = 0;
  #stopped = false;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
  }

  /** This member leads, and has applied all that its predecessors did. */
  promote(): void {
    const { clock, state, extendMs } = this.#options;
    state.lessor.promote(clock.now(), extendMs);
    this.#timer?.cancel();
    this.#planScan();
  }

  /** This member does not lead. */
  demote(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#due.clear();
    this.#options.state.lessor.demote();
  }

  /** Ends all waiting. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#due.clear();
  }

  /** @returns The lease's TTL in seconds; 0 if it is gone. @throws RpcError */
  renew(id: bigint, signal?: AbortSignal): Promise<number> {
    const { state, clock, peers } = this.#options;
    const here = async (): Promise<number | undefined> => {
      const renewed = state.lessor.renew(id, clock.now());
      if (renewed === 'lease-not-found') return 0;
      if (typeof renewed === 'string') return undefined;
      if (renewed.checkpoint) await this.#propose({ leaseCheckpoint: { checkpoints: [renewed.checkpoint] } });
      return renewed.ttlSeconds;
    };
    return this.#atPrimary(here, (leader) => peers.renewLease(leader, id, signal), signal);
  }

  /** What is left of a lease. @throws RpcError */
  timeToLive(id: bigint, signal?: AbortSignal): Promise<LeaseTimes> {
    const { state, clock, peers } = this.#options;
    const here = async (): Promise<LeaseTimes | undefined> => {
      const { lessor } = state;
      const times = lessor.timeToLive(id, clock.now());
      if (times === 'lease-not-found') return { remainingSeconds: -1, grantedSeconds: 0, keys: [] };
      if (typeof times === 'string') return undefined;
      return { ...times, keys: Array.from(lessor.keysOf(id), fromLatin1) };
    };
    return this.#atPrimary(here, (leader) => peers.timeToLive(leader, id, signal), signal);
  }

  /**
   * Asks the primary, wherever it is.
   *
   * @param here Asks the own one; undefined: it can't say yet.
   */
  async #atPrimary<T>(
    here: () => Promise<T | undefined>,
    there: (leader: bigint) => Promise<PeerAnswer<T>>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const { id, clock, changes, waits, position, timeoutMs } = this.#options;
    const endsAt = clock.now() + timeoutMs;
    for (;;) {
      if (this.#stopped) throw new RpcError(Refusals.Stopped);
      if (signal?.aborted) throw new RpcError(Refusals.Canceled);
      const { leader, committed, applied } = position();
      const left = endsAt - clock.now();
      if (left <= 0) throw new RpcError(noAnswer(leader));
      if (leader === id) {
        // A lease that was granted just now is to be found.
        if (applied < committed) await waits.until(committed, left, signal);
        const found = await here();
        if (found !== undefined) return found;
        await changes.next(left, signal);
      } else if (leader === 0n) await changes.next(left, signal);
      else {
        const answer = await there(leader);
        if (answer.type === 'answer') return answer.value;
        if (answer.type === 'refused') throw new RpcError(answer.refusal);
        await changes.next(Math.min(left, FORWARD_RETRY_MS), signal);
      }
    }
  }

  #planScan(): void {
    this.#timer = this.#options.clock.after(SCAN_MS, () => this.#scan(), { background: true });
  }

  #scan(): void {
    const { state, clock } = this.#options;
    const { lessor } = state;
    this.#planScan();
    const now = clock.now();
    for (const id of lessor.expired(now)) this.#due.add(id);
    this.#revokeSome();
    const checkpoints = lessor.dueCheckpoints(now);
    // Those that get lost are proposed anew when they are due again.
    if (checkpoints.length > 0) this.#propose({ leaseCheckpoint: { checkpoints: [...checkpoints] } }).catch(() => {});
  }

  #revokeSome(): void {
    for (const id of this.#due) {
      if (this.#revoking === MAX_REVOKES) return;
      this.#due.delete(id);
      this.#revoking += 1;
      const next = (): void => {
        this.#revoking -= 1;
        this.#revokeSome();
      };
      // One that fails is told of again by the lessor.
      this.#propose({ leaseRevoke: { ID: id } }).then(next, next);
    }
  }

  #propose(request: Parameters<Proposals['propose']>[0]): Promise<unknown> {
    const { proposals, state } = this.#options;
    return proposals.propose(request, { actor: state.auth.self() });
  }
}

function noAnswer(leader: bigint): Refusal {
  return leader === 0n ? Refusals.NoLeader : Refusals.Timeout;
}

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
import { Refusals, RpcError } from '../refusals.ts';
import type { AppliedWaits } from './applied-waits.ts';
import type { AtLeader } from './at-leader.ts';
import type { LeaseTimes, PeerAnswer, Peers } from './peers.ts';
import type { Proposals } from './proposals.ts';
import type { RaftPosition } from './serving.ts';

/** How often the leader looks for leases that have run out, in ms. */
const SCAN_MS = 500;

/** How many ends of leases are in the log at a time. */
const MAX_REVOKES = 16;

/** What is left of a lease that is gone. */
const GONE: LeaseTimes = { remainingSeconds: -1, grantedSeconds: 0, keys: [] };

export interface LeaseKeeperOptions {
  readonly clock: Clock;
  readonly state: AppliedState;
  readonly proposals: Proposals;
  readonly peers: Peers;
  readonly atLeader: AtLeader;
  readonly waits: AppliedWaits;
  readonly position: () => RaftPosition;
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
  /** Leases that ended here, since their time was over. */
  expired = 0;

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

  /** Lets no lease end any more. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#due.clear();
  }

  /** @returns The lease's TTL in seconds; 0 if it is gone. @throws RpcError */
  renew(id: bigint, signal?: AbortSignal): Promise<number> {
    const { atLeader, peers } = this.#options;
    const there = async (leader: bigint): Promise<PeerAnswer<number>> =>
      unlessGone(await peers.renewLease(leader, id, signal), 0);
    return atLeader.ask({ here: (leftMs) => this.#renew(id, leftMs, signal), there }, signal);
  }

  /** What is left of a lease. @throws RpcError */
  timeToLive(id: bigint, signal?: AbortSignal): Promise<LeaseTimes> {
    const { atLeader, peers } = this.#options;
    const there = async (leader: bigint): Promise<PeerAnswer<LeaseTimes>> =>
      unlessGone(await peers.timeToLive(leader, id, signal), GONE);
    return atLeader.ask({ here: (leftMs) => this.#timeToLive(id, leftMs, signal), there }, signal);
  }

  /** {@link renew} for another member, if this one is the primary. @throws RpcError `NotLeader`, `LeaseNotFound`, … */
  async renewHere(id: bigint, signal: AbortSignal): Promise<number> {
    const here = (leftMs: number): Promise<number | undefined> => this.#renew(id, leftMs, signal);
    const ttlSeconds = await this.#options.atLeader.ask({ here }, signal);
    if (ttlSeconds === 0) throw new RpcError(Refusals.LeaseNotFound);
    return ttlSeconds;
  }

  /** {@link timeToLive} for another member, if this one is the primary. @throws RpcError as {@link renewHere}. */
  async timeToLiveHere(id: bigint, signal: AbortSignal): Promise<LeaseTimes> {
    const here = (leftMs: number): Promise<LeaseTimes | undefined> => this.#timeToLive(id, leftMs, signal);
    const times = await this.#options.atLeader.ask({ here }, signal);
    if (times === GONE) throw new RpcError(Refusals.LeaseNotFound);
    return times;
  }

  /** Undefined: this is not the primary, or the lease has run out and is still there. */
  async #renew(id: bigint, leftMs: number, signal: AbortSignal | undefined): Promise<number | undefined> {
    const { state, clock } = this.#options;
    await this.#caughtUp(leftMs, signal);
    const renewed = state.lessor.renew(id, clock.now());
    if (renewed === 'lease-not-found') return 0;
    if (typeof renewed === 'string') return undefined;
    if (renewed.checkpoint) await this.#propose({ leaseCheckpoint: { checkpoints: [renewed.checkpoint] } });
    return renewed.ttlSeconds;
  }

  async #timeToLive(id: bigint, leftMs: number, signal: AbortSignal | undefined): Promise<LeaseTimes | undefined> {
    const { state, clock } = this.#options;
    await this.#caughtUp(leftMs, signal);
    const { lessor } = state;
    const times = lessor.timeToLive(id, clock.now());
    if (times === 'lease-not-found') return GONE;
    if (typeof times === 'string') return undefined;
    return { ...times, keys: Array.from(lessor.keysOf(id), fromLatin1) };
  }

  /** A lease that was granted just now is to be found. */
  async #caughtUp(leftMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { position, waits } = this.#options;
    const { committed, applied } = position();
    if (applied < committed) await waits.until(committed, leftMs, signal);
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
      const done = (): void => {
        this.expired += 1;
        next();
      };
      // One that fails is told of again by the lessor.
      this.#propose({ leaseRevoke: { ID: id } }).then(done, next);
    }
  }

  #propose(request: Parameters<Proposals['propose']>[0]): Promise<unknown> {
    const { proposals, state } = this.#options;
    return proposals.propose(request, { actor: state.auth.self() });
  }
}

/** A lease that is gone is an answer too. */
function unlessGone<T>(answer: PeerAnswer<T>, gone: T): PeerAnswer<T> {
  const isGone = answer.type === 'refused' && answer.refusal.text === Refusals.LeaseNotFound.text;
  return isGone ? { type: 'answer', value: gone } : answer;
}

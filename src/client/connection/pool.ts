/**
 * The members a client may talk to, and the choice among them.
 *
 * Calls go round robin over the healthy members that can serve them. A member that failed
 * rests for a while and is asked for its status before it gets calls again, so one that
 * accepts connections but answers nothing costs a probe, not a call. There is no timer
 * that looks for work: members are connected to and probed while somebody waits or picks.
 *
 * @module
 */

import { type ClusterId, formatId } from '../../protocol/int64.ts';
import type { Clock, Timer } from '../../support/clock.ts';
import { onAbort } from '../../support/signals.ts';
import type { CallTelemetry } from '../../telemetry/calls.ts';
import { ClosedError, type EtcdError, UnavailableError } from '../errors.ts';
import { addressKey } from '../transport/address.ts';
import {
  ConnectError,
  type ConnectFailureKind,
  type EndpointAddress,
  type TransportFactory,
} from '../transport/transport.ts';
import { abortError, connectionError, deadlineError } from './failures.ts';
import { Member, type Probe } from './member.ts';

/** What a call needs of a member. */
export interface PickOptions {
  /** Whether a learner will do: it serves only serializable reads, status and snapshots. */
  readonly learnerOk?: boolean | undefined;
  /** Whether a member without a leader will do, where there is no other: it has its own copy of the store. */
  readonly leaderless?: boolean | undefined;
  /** Members to avoid while there is another: those that this call has failed on. */
  readonly avoid?: ReadonlySet<Member> | undefined;
}

/** How long to wait for a member. */
export interface WaitOptions extends PickOptions {
  readonly deadlineAt: number;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface PoolOptions {
  readonly clock: Clock;
  readonly random: () => number;
  readonly transports: TransportFactory;
  readonly probe: Probe;
  /** Default: none. */
  readonly telemetry?: CallTelemetry | undefined;
}

export class Pool {
  readonly #options: PoolOptions;
  #members: Member[] = [];
  /** Members that calls were aimed at by address and that are not part of the rotation. */
  readonly #aimed = new Map<string, Member>();
  readonly #waiters = new Set<() => void>();
  #next = 0;
  #closed = false;
  #clusterId: ClusterId | undefined;

  constructor(endpoints: readonly EndpointAddress[], options: PoolOptions) {
    this.#options = options;
    this.#members = endpoints.map((address) => this.#create(address));
    // Clients of one cluster that start together would all begin with its first member.
    this.#next = Math.floor(options.random() * Math.max(1, endpoints.length));
  }

  get members(): readonly Member[] {
    return this.#members;
  }

  get closed(): boolean {
    return this.#closed;
  }

  #create(address: EndpointAddress): Member {
    const { transports, clock, random, telemetry } = this.#options;
    return new Member(address, transports, (member) => this.#probe(member), clock, random, telemetry);
  }

  /** Probes a member and holds it to the cluster that the first member belonged to. */
  async #probe(member: Member): ReturnType<Probe> {
    const facts = await this.#options.probe(member);
    if (facts.clusterId !== undefined) {
      this.#clusterId ??= facts.clusterId;
      if (facts.clusterId !== this.#clusterId) throw foreign(facts.clusterId, this.#clusterId);
    }
    return facts;
  }

  /** Replaces the endpoints. Members that stay keep their connection; the others finish nothing more. */
  setEndpoints(endpoints: readonly EndpointAddress[]): void {
    const kept = new Map(this.#members.map((member) => [addressKey(member.address), member]));
    this.#members = endpoints.map((address) => {
      const key = addressKey(address);
      const member = kept.get(key) ?? this.#aimed.get(key) ?? this.#create(address);
      kept.delete(key);
      this.#aimed.delete(key);
      return member;
    });
    for (const member of kept.values()) member.close();
    this.#wake();
  }

  /** Whether a member other than this one, and none to avoid, could serve the call. */
  hasOther(than: Member, { learnerOk, leaderless, avoid }: PickOptions): boolean {
    for (const member of this.#members) {
      const fit = leaderless ? member.answering : member.healthy;
      if (member === than || !fit || avoid?.has(member)) continue;
      if (learnerOk || !member.facts.isLearner) return true;
    }
    return false;
  }

  /** A healthy member that can serve the call, at once; undefined when one must be waited for. */
  pick(options: PickOptions = {}): Member | undefined {
    const members = this.#members;
    const count = members.length;
    let fallback: Member | undefined;
    let lacking = false;
    for (let i = 0; i < count; i++) {
      const index = (this.#next + i) % count;
      const member = members[index] as Member;
      if (!member.healthy || (member.facts.isLearner && !options.learnerOk)) {
        lacking = true;
        continue;
      }
      if (options.avoid?.has(member)) {
        fallback ??= member;
        continue;
      }
      this.#next = index + 1;
      if (lacking) this.#mend();
      return member;
    }
    if (lacking) this.#mend();
    if (!options.leaderless) return fallback;
    // One that answers without a leader comes before one that this call has failed on.
    const fit = members.filter((member) => member.answering && (options.learnerOk || !member.facts.isLearner));
    return fit.find((member) => !options.avoid?.has(member)) ?? fallback ?? fit[0];
  }

  /** A member to call, as soon as there is one. */
  async acquire(options: WaitOptions): Promise<Member> {
    const { clock } = this.#options;
    const startedAt = clock.now();
    for (;;) {
      if (this.#closed) throw new ClosedError('the client');
      if (options.signal?.aborted) throw abortError(options.signal);
      const member = this.pick(options);
      if (member !== undefined) return member;
      this.#failFast(startedAt);
      if (clock.now() >= options.deadlineAt) throw this.#deadlineError(options.timeoutMs);
      this.#mend();
      await this.#change(options, this.#members);
    }
  }

  /** Waits until a member other than this one could serve the call; false when the wait is over before. */
  async hasOtherBefore(than: Member, options: WaitOptions): Promise<boolean> {
    for (;;) {
      if (this.#closed || options.signal?.aborted || this.#options.clock.now() >= options.deadlineAt) return false;
      if (this.hasOther(than, options)) return true;
      this.#mend();
      const others = this.#members.filter((member) => member !== than);
      await this.#change(options, others);
    }
  }

  /** The member at an address, connected; made for the purpose when it is none of ours. */
  async at(address: EndpointAddress, options: WaitOptions): Promise<Member> {
    const { clock } = this.#options;
    const startedAt = clock.now();
    for (;;) {
      if (this.#closed) throw new ClosedError('the client');
      if (options.signal?.aborted) throw abortError(options.signal);
      // Looked up each time: the endpoints may have been replaced while we waited.
      const member = this.#memberAt(address);
      if (member.usable) return member;
      const late = clock.now() >= options.deadlineAt;
      if (late || this.#isHopeless(member, startedAt)) throw connectionError(causes([member]));
      if (member.needsProbe) this.#connect(member);
      await this.#change(options, [member]);
    }
  }

  #memberAt(address: EndpointAddress): Member {
    const key = addressKey(address);
    const known = this.#members.find((member) => addressKey(member.address) === key) ?? this.#aimed.get(key);
    if (known !== undefined) return known;
    const member = this.#create(address);
    this.#aimed.set(key, member);
    return member;
  }

  /** Asks again the members that would not say what they are; a login has since given us a token to ask with. */
  askStrangers(): void {
    for (const member of this.#members) {
      if (member.usable && !member.connecting && member.facts.version === undefined) this.#connect(member);
    }
  }

  /** Lets go of a member that calls were aimed at, unless it is one of the endpoints. */
  forget(address: EndpointAddress): void {
    const key = addressKey(address);
    this.#aimed.get(key)?.close();
    this.#aimed.delete(key);
  }

  /** Connects, or probes, the members that are not healthy and have rested, and learners once in a while. */
  #mend(): void {
    for (const member of this.#members) {
      if (member.needsProbe) this.#connect(member);
    }
  }

  /** Tries the members that failed at once, rested or not, for somebody who cannot wait that long. */
  hurry(): void {
    for (const member of this.#members) if (!member.healthy && !member.connecting) this.#connect(member);
  }

  #connect(member: Member): void {
    void member.connect().then(() => this.#wake());
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }

  /** Resolves when a member's state may have changed, one of these has rested, or the wait is over. */
  #change(options: WaitOptions, members: readonly Member[]): Promise<void> {
    const { clock } = this.#options;
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      const done = (): void => {
        timer?.cancel();
        offAbort();
        this.#waiters.delete(done);
        resolve();
      };
      this.#waiters.add(done);
      // A turn that has come since the caller looked counts too, or nobody would take it.
      timer = clock.after(Math.min(options.deadlineAt, nextTurn(members)) - clock.now(), done);
      const offAbort = onAbort(options.signal, () => queueMicrotask(done));
    });
  }

  /** Ends a wait that no amount of time will help: every member failed for good, and its next turn is not yet. */
  #failFast(startedAt: number): void {
    if (this.#members.every((member) => this.#isHopeless(member, startedAt)))
      throw connectionError(causes(this.#members));
  }

  #isHopeless({ connecting, lastFailure, restUntil }: Member, startedAt: number): boolean {
    if (connecting || lastFailure === undefined || !HOPELESS.has(lastFailure.error.kind)) return false;
    return lastFailure.at >= startedAt || restUntil > this.#options.clock.now();
  }

  #deadlineError(timeoutMs: number): EtcdError {
    const failed = causes(this.#members);
    if (failed.length > 0) return connectionError(failed);
    const usable = this.#members.filter((member) => member.usable);
    const leaderless = usable.some((member) => member.facts.hasLeader === false);
    const learners = usable.length > 0 && usable.every((member) => member.facts.isLearner);
    const reason = leaderless
      ? 'no member has a leader'
      : learners
        ? 'only learners answered, and they cannot serve this call'
        : 'no member answered';
    return deadlineError(timeoutMs, { cause: new UnavailableError(reason) });
  }

  close(): void {
    this.#closed = true;
    for (const member of [...this.#members, ...this.#aimed.values()]) member.close();
    this.#wake();
  }
}

/** Failures that trying again soon will not mend. */
const HOPELESS: ReadonlySet<ConnectFailureKind> = new Set(['tls', 'not-etcd', 'foreign']);

/** When the first of these may be connected to or probed; one that is being so brings news by itself. */
function nextTurn(members: readonly Member[]): number {
  let turn = Number.POSITIVE_INFINITY;
  for (const member of members) if (!member.connecting) turn = Math.min(turn, member.restUntil);
  return turn;
}

function causes(members: readonly Member[]): { endpoint: string; error: ConnectError }[] {
  return members.flatMap(({ name, lastFailure }) =>
    lastFailure === undefined ? [] : [{ endpoint: name, error: lastFailure.error }],
  );
}

function foreign(theirs: ClusterId, ours: ClusterId): ConnectError {
  return new ConnectError('foreign', `belongs to cluster ${formatId(theirs)}, not to ${formatId(ours)}`);
}

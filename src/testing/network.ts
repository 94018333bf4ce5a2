/**
 * A network between members within one process, that does what a test tells it to.
 *
 * It takes the place of `peer/`: each member gets its {@link Peers} from {@link Network.connect}. Messages take time, get
 * lost, come twice or out of order; members can be cut off from each other in any direction, and stand still. Images go
 * piece by piece, and may break off; questions have answers that may never come. Time and chance are the caller's, and
 * nothing else decides what happens when: the same clock, the same random numbers and the same calls make the same run.
 *
 * Bytes are copied on the way, so members share no memory. A member hears only members of its own cluster, and never one
 * that was removed from it: that one is told so, as etcd's transport does.
 *
 * @example
 * ```ts
 * const network = new Network({ clock, random });
 * const members = await Promise.all(names.map((name) => Member.start({ ...options(name), connect: network.connect() })));
 * network.isolate(members[0].id);
 * // The others elect a leader …
 * network.mend();
 * ```
 *
 * @module
 */
import type { Connect } from '../server/member/peers.ts';
import type { Clock } from '../support/clock.ts';
import { type Link, type LinkOptions, Links, STEADY_LINK } from './links.ts';
import type { Carrier, NetworkObserver, Parcel, Station } from './network-parts.ts';
import { Endpoint } from './network-peers.ts';

export type { NetworkObserver } from './network-parts.ts';

export interface NetworkOptions {
  readonly clock: Clock;
  /** At least 0 and below 1, as of `Math.random`. */
  readonly random: () => number;
  /** How messages travel. Default: {@link STEADY_LINK}, where nothing goes wrong. */
  readonly link?: Partial<LinkOptions> | undefined;
  /** How long a question waits for its answer, in ms. Default: 5000. */
  readonly questionTimeoutMs?: number | undefined;
  /** After how long an image is given up of which nothing moves, in ms. Default: 5000. */
  readonly stallTimeoutMs?: number | undefined;
  readonly observe?: NetworkObserver | undefined;
}

/** How one member hangs on the network. */
export interface ConnectOptions {
  /**
   * Lets the member do something: at once, later (in the order of the calls), or never, as for a program that stands
   * still or was killed. Default: at once.
   */
  readonly run?: ((action: () => void) => void) | undefined;
}

/** See the head of this file. */
export class Network implements Carrier {
  readonly clock: Clock;
  readonly questionTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly observe: NetworkObserver;
  readonly #random: () => number;
  readonly #links = new Links();
  readonly #endpoints = new Map<bigint, Endpoint>();
  #link: LinkOptions;

  constructor(options: NetworkOptions) {
    this.clock = options.clock;
    this.#random = options.random;
    this.#link = { ...STEADY_LINK, ...options.link };
    this.questionTimeoutMs = options.questionTimeoutMs ?? 5_000;
    this.stallTimeoutMs = options.stallTimeoutMs ?? 5_000;
    this.observe = options.observe ?? {};
  }

  /** What a member is to be given as `connect`. It is on the network from its start to its end. */
  connect(options: ConnectOptions = {}): Connect {
    return (host) => new Endpoint(this, host, options.run ?? ((action) => action()));
  }

  /** How messages travel from now on, on all links without options of their own. */
  set link(options: Partial<LinkOptions>) {
    this.#link = { ...STEADY_LINK, ...options };
  }

  get link(): LinkOptions {
    return this.#link;
  }

  /** Gives one direction between two members options of its own; undefined: no more. */
  setLink(from: bigint, to: bigint, options: Partial<LinkOptions> | undefined): void {
    this.#links.between(from, to).options = options && { ...STEADY_LINK, ...options };
  }

  /** Takes away all options of single links. */
  resetLinks(): void {
    this.#links.reset();
  }

  /** Nothing that is sent from the one to the other arrives, until {@link mend}. */
  cut(from: bigint, to: bigint): void {
    this.#links.between(from, to).cut = true;
  }

  /** Members of different sides hear nothing of each other; those that are named in none, everybody. */
  partition(...sides: readonly (readonly bigint[])[]): void {
    for (const [i, side] of sides.entries()) {
      for (const other of sides.slice(i + 1)) for (const a of side) for (const b of other) this.#cutBoth(a, b);
    }
  }

  /** Cuts a member off from all that are on the network now. */
  isolate(id: bigint): void {
    for (const other of this.#endpoints.keys()) if (other !== id) this.#cutBoth(id, other);
  }

  /** Nothing is cut any more. */
  mend(): void {
    this.#links.mend(this.clock.now());
  }

  /** What is for this member waits, until {@link resume}. What it sends goes on: its time is not the network's. */
  pause(id: bigint): void {
    this.#endpoints.get(id)?.pause();
  }

  /** What has waited for a member comes to it now, in its order. */
  resume(id: bigint): void {
    this.#endpoints.get(id)?.resume();
  }

  /** Takes a member off the network without its doing, as if its machine was switched off. */
  disconnect(id: bigint): void {
    this.#endpoints.get(id)?.cutOff();
  }

  /** The members that are on the network, by when they came. */
  get connected(): readonly bigint[] {
    return [...this.#endpoints.keys()];
  }

  /** @internal */
  enter(station: Station): void {
    this.#endpoints.get(station.id)?.cutOff();
    this.#endpoints.set(station.id, station as Endpoint);
  }

  /** @internal */
  leave(station: Station): void {
    if (this.#endpoints.get(station.id) === station) this.#endpoints.delete(station.id);
  }

  /** @internal */
  endpoint(id: bigint): Endpoint | undefined {
    return this.#endpoints.get(id);
  }

  /** @internal */
  connectedSince(a: Station, id: bigint): number | undefined {
    const b = this.#endpoints.get(id);
    if (b === undefined || !this.#links.whole(a.id, id)) return undefined;
    return Math.max(a.since, b.since, this.#links.wholeSince(a.id, id));
  }

  /** @internal */
  carry(parcel: Parcel): void {
    const link = this.#links.between(parcel.from, parcel.to);
    const options = link.options ?? this.#link;
    if (!this.#endpoints.has(parcel.to)) return parcel.lose('nobody');
    if (link.cut) return parcel.lose('cut');
    if (this.#chance(options.dropChance)) return parcel.lose('dropped');
    this.#travel(parcel, link, options);
    if (parcel.mayRepeat && this.#chance(options.duplicateChance)) this.#travel(parcel, link, options);
  }

  /** @internal */
  breaks(from: bigint, to: bigint): boolean {
    const link = this.#links.between(from, to);
    return !this.#links.whole(from, to) || this.#chance((link.options ?? this.#link).breakChance);
  }

  #cutBoth(a: bigint, b: bigint): void {
    this.cut(a, b);
    this.cut(b, a);
  }

  #travel(parcel: Parcel, link: Link, options: LinkOptions): void {
    const now = this.clock.now();
    const { minDelayMs, jitterMs, slowChance, slowMs, ordered } = options;
    let arrival = now + minDelayMs + (jitterMs > 0 ? this.#random() * jitterMs : 0);
    if (this.#chance(slowChance)) arrival += this.#random() * slowMs;
    if (ordered) {
      arrival = Math.max(arrival, link.lastArrival);
      link.lastArrival = arrival;
    }
    const arrive = (): void => {
      const receiver = this.#endpoints.get(parcel.to);
      if (receiver) receiver.take(() => parcel.arrive(receiver));
      else parcel.lose('nobody');
    };
    this.clock.after(arrival - now, arrive, { background: true });
  }

  /** Draws nothing where it can't be. */
  #chance(probability: number): boolean {
    return probability > 0 && this.#random() < probability;
  }
}

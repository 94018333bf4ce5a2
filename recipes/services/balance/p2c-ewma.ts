/**
 * Power of two choices by peak EWMA latency.
 *
 * Two candidates are drawn, and the one is taken where the request is likely to be answered first: with the lower cost,
 * `latency × (requests under way + 1) / weight`. Two choices are enough to keep the load even, without the herd that follows
 * when many clients all run to the one best instance.
 *
 * What counts as the latency of an instance:
 *
 * 1. A moving average that goes up at once and comes down slowly: a latency above it replaces it, one below it counts the more
 *    the longer ago the last one was (`decayMs`).
 * 2. An instance that is idle is forgiven with time: its average decays towards 0, so one that was slow is asked again.
 * 3. While requests are under way and none ends, the silence counts as latency as soon as it is longer than the average. One
 *    that hangs gets no more, though it has no bad answers to show.
 * 4. A failure counts as twice the own or the usual latency of all, whichever is longer, and so doubles with each further one.
 *    One that refuses everything within a millisecond would otherwise be the fastest of all.
 * 5. An instance without any answer is taken when it is drawn and idle, and is the last choice until its first answer is
 *    there: a newcomer is tried by one request at a time, neither flooded nor starved.
 *
 * Of two drawn, the dearer one is taken nevertheless if it is idle and was not picked for `forcedPickMs`, while the other one
 * was: an average without news says nothing. That takes at most one of twenty picks, or a client with few requests would send
 * most of them to its slowest instance.
 *
 * The weight is capacity: an instance of weight 2 is as loaded with two requests as one of weight 1 with one. So where hardly
 * anything runs at the same time, the heavy ones are preferred by more than their share.
 *
 * O(1) for each pick.
 *
 * Sources: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001; Finagle's peak EWMA (peak, decay, the
 * penalty of the first request); go-zero's `p2c` (the forced pick). The silence and the doubling are ours.
 *
 * @module
 */

import type { Balancer, BalancerTools, Candidate, Report } from './balancer.ts';
import { type Member, Members } from './members.ts';
import { weightOf } from './shares.ts';

/** How `p2c-ewma` reckons. */
export interface P2cEwmaOptions {
  /** How long, in milliseconds, a latency is remembered: after this time it counts 1/e. Default 10000. */
  readonly decayMs?: number | undefined;
  /** After how many milliseconds without a pick an instance is tried again though it is dearer. Default 5000. */
  readonly forcedPickMs?: number | undefined;
}

interface Peer extends Member {
  /** The average in milliseconds when {@link Peer.measuredAt} was; undefined before the first answer. */
  latencyMs: number | undefined;
  measuredAt: number;
  /** Since when nothing has ended while something was under way. */
  silentSince: number;
  pickedAt: number;
  /** The number of the pick that it was last. */
  pick: number;
}

/** More than any latency, in milliseconds: what is not known costs more than what is. */
const UNKNOWN_MS = 1e9;
/** The most a row of failures costs, in milliseconds. */
const MAX_PENALTY_MS = 60_000;
/** So many picks have to lie between two of one instance before it is picked by force. */
const PICKS_BETWEEN = 20;
/** What one answer counts in the usual latency of all. */
const USUAL_SHARE = 0.05;

/** Chooses the cheaper one of two. */
export class P2cEwma<I extends Candidate> implements Balancer<I> {
  readonly #tools: BalancerTools;
  readonly #decayMs: number;
  readonly #forcedPickMs: number;
  readonly #members: Members<Peer>;
  /** The usual latency of a success, of all instances together. */
  #usualMs: number | undefined;
  #picks = 0;

  constructor(options: P2cEwmaOptions, tools: BalancerTools) {
    this.#tools = tools;
    this.#decayMs = options.decayMs ?? 10_000;
    this.#forcedPickMs = options.forcedPickMs ?? 5_000;
    if (!(this.#decayMs > 0)) throw new RangeError('decayMs must be above 0');
    if (!(this.#forcedPickMs > 0)) throw new RangeError('forcedPickMs must be above 0');
    this.#members = new Members<Peer>(() => ({
      inFlight: 0,
      latencyMs: undefined,
      measuredAt: 0,
      silentSince: 0,
      pickedAt: tools.now(),
      pick: this.#picks,
    }));
  }

  update(instances: readonly I[]): void {
    this.#members.update(instances);
  }

  pick(candidates: readonly I[]): I | undefined {
    const peers = this.#members.of(candidates);
    const now = this.#tools.now();
    const at = peers.length < 2 ? 0 : this.#better(candidates, peers, now);
    const peer = peers[at];
    if (peer === undefined) return undefined;
    if (peer.inFlight === 0) peer.silentSince = now;
    peer.inFlight++;
    peer.pickedAt = now;
    peer.pick = ++this.#picks;
    return candidates[at];
  }

  done(instance: I, report: Report): void {
    const peer = this.#members.ended(instance.id);
    if (peer === undefined) return;
    const now = this.#tools.now();
    // How long something ran that was then cancelled says nothing of the instance; that it hung is known by its silence.
    if (report.outcome === 'cancelled') return;
    peer.silentSince = now;
    if (report.outcome === 'success') {
      this.#usualMs ??= report.latencyMs;
      this.#usualMs += (report.latencyMs - this.#usualMs) * USUAL_SHARE;
    }
    this.#learn(peer, report.outcome === 'success' ? report.latencyMs : this.#penalty(peer, report.latencyMs), now);
  }

  /** The index of the better one of two that are drawn. */
  #better(candidates: readonly I[], peers: readonly Peer[], now: number): number {
    const { random } = this.#tools;
    const one = Math.floor(random() * peers.length);
    const drawn = Math.floor(random() * (peers.length - 1));
    const other = drawn < one ? drawn : drawn + 1;
    const oneIsDearer = this.#cost(candidates, peers, one, now) > this.#cost(candidates, peers, other, now);
    const [cheap, dear] = oneIsDearer ? [other, one] : [one, other];
    return this.#isForced(peers[dear], peers[cheap], now) ? dear : cheap;
  }

  #cost(candidates: readonly I[], peers: readonly Peer[], at: number, now: number): number {
    const peer = peers[at] as Peer;
    return (this.#latency(peer, now) * (peer.inFlight + 1)) / weightOf(candidates[at] as I);
  }

  #latency(peer: Peer, now: number): number {
    if (peer.latencyMs === undefined) return peer.inFlight === 0 ? 0 : UNKNOWN_MS;
    if (peer.inFlight > 0) return Math.max(peer.latencyMs, now - peer.silentSince);
    return peer.latencyMs * this.#remembered(now - peer.measuredAt);
  }

  #isForced(dear: Peer | undefined, cheap: Peer | undefined, now: number): boolean {
    if (dear === undefined || cheap === undefined || dear.inFlight > 0) return false;
    const isOverdue = (peer: Peer): boolean => now - peer.pickedAt >= this.#forcedPickMs;
    return isOverdue(dear) && !isOverdue(cheap) && this.#picks - dear.pick >= PICKS_BETWEEN;
  }

  #penalty(peer: Peer, latencyMs: number): number {
    const doubled = 2 * Math.max(peer.latencyMs ?? 0, this.#usualMs ?? 0, 1);
    return Math.max(latencyMs, Math.min(doubled, MAX_PENALTY_MS));
  }

  #learn(peer: Peer, latencyMs: number, now: number): void {
    const known = peer.latencyMs;
    const old = this.#remembered(now - peer.measuredAt);
    peer.latencyMs = known === undefined || latencyMs > known ? latencyMs : known * old + latencyMs * (1 - old);
    peer.measuredAt = now;
  }

  /** How much of what was known so long ago counts. */
  #remembered(ageMs: number): number {
    return Math.exp(-Math.max(ageMs, 0) / this.#decayMs);
  }
}

/**
 * What lies between each two members: how messages travel there, and whether they do.
 *
 * A link has a direction. A message is subject to the cuts of the moment at which it is sent; what was on its way when a
 * link was cut still arrives, however late, as it may on a real network. Two members are connected while both links
 * between them are whole.
 *
 * @module
 */

/** How messages travel. */
export interface LinkOptions {
  /** Each message takes at least so long, in ms. Default: 1. */
  readonly minDelayMs: number;
  /** At most so much comes on top of it, in ms. Default: 0. */
  readonly jitterMs: number;
  /** Chance that a message is lost. Default: 0. */
  readonly dropChance: number;
  /** Chance that a message arrives twice; proposals never do. Default: 0. */
  readonly duplicateChance: number;
  /** Chance that a message takes up to `slowMs` more. Default: 0. */
  readonly slowChance: number;
  /** In ms. Default: 0. */
  readonly slowMs: number;
  /** Whether messages arrive in their order, as over TCP. Default: true. */
  readonly ordered: boolean;
  /** Chance that the connection breaks at a piece of an image. Default: 0. */
  readonly breakChance: number;
}

/** Nothing goes wrong. */
export const STEADY_LINK: LinkOptions = {
  minDelayMs: 1,
  jitterMs: 0,
  dropChance: 0,
  duplicateChance: 0,
  slowChance: 0,
  slowMs: 0,
  ordered: true,
  breakChance: 0,
};

/** One direction between two members. */
export interface Link {
  /** Of its own; undefined: those of the network. */
  options: LinkOptions | undefined;
  cut: boolean;
  /** When it was last mended, in ms; 0: never cut. */
  mendedAt: number;
  /** When its last message arrives, in ms. */
  lastArrival: number;
}

/** All links, made as they are asked for. */
export class Links {
  readonly #bySender = new Map<bigint, Map<bigint, Link>>();

  between(from: bigint, to: bigint): Link {
    let links = this.#bySender.get(from);
    if (links === undefined) {
      links = new Map();
      this.#bySender.set(from, links);
    }
    let link = links.get(to);
    if (link === undefined) {
      link = { options: undefined, cut: false, mendedAt: 0, lastArrival: 0 };
      links.set(to, link);
    }
    return link;
  }

  /** Whether both directions are whole. */
  whole(a: bigint, b: bigint): boolean {
    return !this.between(a, b).cut && !this.between(b, a).cut;
  }

  /** Since when both directions are whole, in ms; 0: from the beginning. */
  wholeSince(a: bigint, b: bigint): number {
    return Math.max(this.between(a, b).mendedAt, this.between(b, a).mendedAt);
  }

  /** Mends all that is cut. */
  mend(now: number): void {
    for (const links of this.#bySender.values()) {
      for (const link of links.values()) {
        if (link.cut) link.mendedAt = now;
        link.cut = false;
      }
    }
  }

  /** All of them behave as the network does. */
  reset(): void {
    for (const links of this.#bySender.values()) for (const link of links.values()) link.options = undefined;
  }
}

/**
 * A network that loses, doubles, delays and reorders messages, and can be cut in any direction.
 *
 * Addresses are small whole numbers. A message is subject to the cuts of the moment at which it is sent: what was on
 * its way when a link was cut still arrives, however late. Links can also hold messages back, to let them go when
 * much has changed.
 */
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';

/** What a program sees of the network. */
export interface Network<Message> {
  /** Sends a message. Nobody says whether it arrives. */
  send(from: number, to: number, message: Message): void;
}

/** How the network behaves at its most usual. */
export interface NetworkOptions {
  readonly dropChance: number;
  readonly duplicateChance: number;
  readonly minDelayUs: number;
  /** At most so much comes on top of `minDelayUs`. */
  readonly jitterUs: number;
  /** Chance that a message takes up to `slowUs` more. */
  readonly slowChance: number;
  readonly slowUs: number;
  /** Messages of one link arrive in their order, as over TCP. */
  readonly ordered: boolean;
}

/** The addresses that there are: 0 up to but without this one. */
const ADDRESSES = 256;

export class SimNetwork<Message> implements Network<Message> {
  options: NetworkOptions;
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #deliver: (from: number, to: number, message: Message) => void;
  readonly #dropped: (from: number, to: number, message: Message) => void;
  readonly #cut = new Set<number>();
  readonly #held = new Map<number, Message[]>();
  /** When the last message of a link arrives, for those that keep their order. */
  readonly #lastUs = new Map<number, number>();
  /** Messages sent before the one moment are lost if they arrive after the other. */
  #lost = { sentBeforeUs: 0, arrivingAfterUs: 0 };

  constructor(world: {
    readonly scheduler: Scheduler;
    readonly random: Random;
    readonly options: NetworkOptions;
    readonly deliver: (from: number, to: number, message: Message) => void;
    readonly dropped: (from: number, to: number, message: Message) => void;
  }) {
    this.#scheduler = world.scheduler;
    this.#random = world.random;
    this.options = world.options;
    this.#deliver = world.deliver;
    this.#dropped = world.dropped;
  }

  send(from: number, to: number, message: Message): void {
    const link = from * ADDRESSES + to;
    const { dropChance, duplicateChance } = this.options;
    if ((this.#cut.size > 0 && this.#cut.has(link)) || this.#random.chance(dropChance)) {
      this.#dropped(from, to, message);
      return;
    }
    const held = this.#held.size > 0 ? this.#held.get(link) : undefined;
    if (held) {
      held.push(message);
      return;
    }
    this.#carry(link, message);
    if (this.#random.chance(duplicateChance)) this.#carry(link, message);
  }

  /** Nothing that is sent from `from` to `to` arrives, until `mend`. */
  cut(from: number, to: number): void {
    this.#cut.add(from * ADDRESSES + to);
  }

  /** Nothing is cut any more. */
  mend(): void {
    this.#cut.clear();
  }

  /** Keeps what is sent from `from` to `to`, until `release`. */
  hold(from: number, to: number): void {
    const link = from * ADDRESSES + to;
    if (!this.#held.has(link)) this.#held.set(link, []);
  }

  /** Lets go what was held back. */
  release(): void {
    const held = [...this.#held];
    this.#held.clear();
    for (const [link, messages] of held) for (const message of messages) this.#carry(link, message);
  }

  /** What is on its way now arrives within `withinUs`, or never. */
  flush(withinUs: number): void {
    const { nowUs } = this.#scheduler;
    this.#lost = { sentBeforeUs: nowUs, arrivingAfterUs: nowUs + withinUs };
    this.#lastUs.clear();
  }

  #carry(link: number, message: Message): void {
    const sentUs = this.#scheduler.nowUs;
    const { minDelayUs, jitterUs, slowChance, slowUs, ordered } = this.options;
    let atUs = sentUs + minDelayUs + this.#random.below(jitterUs + 1);
    if (this.#random.chance(slowChance)) atUs += this.#random.below(slowUs);
    if (ordered) {
      atUs = Math.max(atUs, this.#lastUs.get(link) ?? 0);
      this.#lastUs.set(link, atUs);
    }
    this.#scheduler.at(atUs, () => {
      const from = Math.floor(link / ADDRESSES);
      const to = link % ADDRESSES;
      const lost = sentUs < this.#lost.sentBeforeUs && this.#scheduler.nowUs > this.#lost.arrivingAfterUs;
      if (lost) this.#dropped(from, to, message);
      else this.#deliver(from, to, message);
    });
  }
}

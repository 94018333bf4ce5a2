/**
 * What the rooms of the network know of each other: the network itself, the members' ends of it, and what goes between.
 *
 * @module
 */
import type { PeerHost } from '../server/member/peers.ts';
import type { Message } from '../server/raft/index.ts';
import type { Clock } from '../support/clock.ts';

/** Why something did not arrive. */
export type LossReason = 'cut' | 'dropped' | 'nobody' | 'stranger' | 'removed';

/** Hears of messages. None may throw. */
export interface NetworkObserver {
  /** A message is about to be taken by its receiver. */
  delivered?(message: Message): void;
  /** A message was lost. */
  lost?(message: Message, reason: LossReason): void;
}

/** What is sent: where it goes, and what happens then. Of the two outcomes exactly one comes, or none ever. */
export interface Parcel {
  readonly from: bigint;
  readonly to: bigint;
  /** It has arrived at whoever is there now. */
  readonly arrive: (receiver: Station) => void;
  /** It will not arrive. */
  readonly lose: (reason: LossReason) => void;
  /** Whether it may arrive twice. */
  readonly mayRepeat: boolean;
}

/** Something that is underway and ends with the connection. */
export interface Underway {
  /** @param alive Whether there is still somebody to hear of it. */
  end(alive: boolean): void;
}

/** A member's end of the network, as others find it. */
export interface Station {
  readonly id: bigint;
  readonly host: PeerHost;
  /** When it came, on the network's clock. */
  readonly since: number;
  readonly open: boolean;
  readonly underway: Set<Underway>;
  /** Lets the member do something, once it can, while it is on the network. */
  take(action: () => void): void;
  /** Lets the member do something, once it can, whether it is still on the network or not. */
  gate(action: () => void): void;
  /** Whether a member may speak to this one. One that was removed hears of that. */
  admits(sender: Station): boolean;
  /** Takes a message from another one. */
  hear(message: Message, sender: Station): void;
  /** Ends it without the member's doing. */
  cutOff(): void;
}

/** The network, as members' ends use it. */
export interface Carrier {
  readonly clock: Clock;
  readonly questionTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly observe: NetworkObserver;
  /** Puts a station on the network, in place of an earlier one with its id. */
  enter(station: Station): void;
  leave(station: Station): void;
  /** Since when two have been connected, on the network's clock; undefined if they are not. */
  connectedSince(a: Station, id: bigint): number | undefined;
  /** Sends something on its way. */
  carry(parcel: Parcel): void;
  /** Whether the connection breaks at this piece of an image. */
  breaks(from: bigint, to: bigint): boolean;
}

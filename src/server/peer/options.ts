/**
 * What the transport between members is given, and what its parts share.
 *
 * @module
 */
import type { ConnectionOptions } from 'node:tls';
import type { Clock } from '../../support/clock.ts';
import type { ServerLog } from '../log.ts';
import type { PeerHost } from '../member/peers.ts';
import type { Message } from '../raft/types.ts';
import type { PeerDialer } from './dialer.ts';

/** Hears what goes on, for metrics. None may throw. `id` is the other member's. */
export interface TransportObserver {
  /** Bytes were given to a connection. */
  sent?(id: bigint, bytes: number): void;
  /** Bytes came in. */
  received?(id: bigint, bytes: number): void;
  /** A message was dropped, or its connection broke. */
  sendFailed?(id: bigint): void;
  /** A probe was answered, so many ms after it was sent. */
  roundTrip?(id: bigint, ms: number): void;
  /** A member has become connected, or is no longer. */
  connected?(id: bigint, yes: boolean): void;
  /** A snapshot was sent, or the attempt failed, after so many ms. */
  snapshotSent?(id: bigint, ok: boolean, ms: number): void;
  /** A snapshot was taken in, or the attempt failed, after so many ms. */
  snapshotReceived?(id: bigint, ok: boolean, ms: number): void;
}

/** See the head of this file. */
export interface TransportOptions {
  readonly clock: Clock;
  /** The time of day in ms since 1970: members compare their clocks. */
  readonly timeOfDayMs: () => number;
  readonly log: ServerLog;
  /** How long a question to another member may take, in ms. */
  readonly questionTimeoutMs: number;
  /** What connections to `https:` addresses are made with; asked for each, since certificates are renewed. */
  readonly tls?: (() => ConnectionOptions) | undefined;
  readonly observe?: TransportObserver | undefined;
}

/** What the parts of one transport share. */
export interface TransportContext {
  readonly host: PeerHost;
  readonly clock: Clock;
  readonly timeOfDayMs: () => number;
  readonly log: ServerLog;
  readonly observe: TransportObserver;
  readonly dialer: PeerDialer;
  /** Takes a message that came in, if it is one for this member. */
  receive(message: Message): void;
  /** What was sent to a member got lost. The host hears of it in a turn of its own. */
  unreachable(id: bigint): void;
  /** Others say that this member was removed. */
  removed(): void;
  /** A sender that is no member here names its addresses: it may be a member that was added since. */
  meet(id: bigint, urls: readonly string[]): void;
}

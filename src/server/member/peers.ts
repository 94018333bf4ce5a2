/**
 * The other members, as this one sees them.
 *
 * Raft copes with messages that are lost, late, repeated or out of order; so nothing here is answered or waited for,
 * but for what a follower has to ask of the leader outside of the log.
 *
 * @module
 */
import type { Message } from '../raft/index.ts';

/** What the leader says of a lease that it was asked to renew, or about. */
export type LeaseAnswer<T> = { readonly type: 'answer'; readonly value: T } | { readonly type: 'unreachable' };

/** What is left of a lease, and what hangs on it. */
export interface LeaseTimes {
  /** Whole seconds; -1 if there is no such lease. */
  readonly remainingSeconds: number;
  readonly grantedSeconds: number;
  readonly keys: readonly Uint8Array[];
}

/** See the head of this file. */
export interface Peers {
  /** Sends messages, each to the member that it names. What can't be sent is dropped. */
  send(messages: readonly Message[]): void;
  /** Who takes the messages that come in; is called once. */
  onMessage(take: (message: Message) => void): void;
  /** Since when a member has been connected without a break, on this member's clock; undefined if it is not. */
  connectedSince(id: bigint): number | undefined;
  /** Asks the leader to renew a lease. Its TTL in seconds, 0 if it is gone. */
  renewLease(leader: bigint, id: bigint, signal: AbortSignal | undefined): Promise<LeaseAnswer<number>>;
  /** Asks the leader what is left of a lease. */
  timeToLive(leader: bigint, id: bigint, signal: AbortSignal | undefined): Promise<LeaseAnswer<LeaseTimes>>;
  /** Ends all connections; nothing is taken in after that. */
  close(): Promise<void>;
}

/** Nobody else is there. */
export const noPeers: Peers = {
  send() {},
  onMessage() {},
  connectedSince: () => undefined,
  renewLease: async () => ({ type: 'unreachable' }),
  timeToLive: async () => ({ type: 'unreachable' }),
  async close() {},
};

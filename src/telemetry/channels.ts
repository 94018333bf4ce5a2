/**
 * What the client tells `node:diagnostics_channel` about itself.
 *
 * A channel that nobody listens to costs one property read. Messages are plain objects;
 * they never hold a value, a password or a token.
 *
 * @module
 */

import { channel } from 'node:diagnostics_channel';
import type { LeaseId, Revision } from '../protocol/int64.ts';

/** A connection to an endpoint was made, or could not be. */
export interface ConnectionMessage {
  readonly endpoint: string;
  readonly event: 'ready' | 'failed' | 'suspect' | 'closed';
  /** Why, unless it is ready. */
  readonly reason?: string;
}

/** A call is about to be sent again. */
export interface RetryMessage {
  /** The method's path, such as `/etcdserverpb.KV/Range`. */
  readonly method: string;
  /** The attempt that failed, counting from 1. */
  readonly attempt: number;
  readonly endpoint: string;
  readonly reason: string;
  /** How long the client waits before it sends again. */
  readonly delayMs: number;
}

/** Watchers were moved to a new stream after the old one broke. */
export interface WatchResumeMessage {
  readonly endpoint: string;
  readonly watchers: number;
  readonly reason: string;
}

/** A watcher whose history was compacted away read the current state in its place. */
export interface WatchResyncMessage {
  readonly revision: Revision;
  readonly events: number;
}

/** A lease that was being kept alive is lost. */
export interface LeaseLostMessage {
  readonly leaseId: LeaseId;
  /** A `LeaseLossReason`. */
  readonly reason: string;
}

/** The names of the channels, and what comes through each. */
export interface ChannelMessages {
  'etcdkit:connection': ConnectionMessage;
  'etcdkit:retry': RetryMessage;
  'etcdkit:watch:resume': WatchResumeMessage;
  'etcdkit:watch:resync': WatchResyncMessage;
  'etcdkit:lease:lost': LeaseLostMessage;
}

const channels = {
  'etcdkit:connection': channel('etcdkit:connection'),
  'etcdkit:retry': channel('etcdkit:retry'),
  'etcdkit:watch:resume': channel('etcdkit:watch:resume'),
  'etcdkit:watch:resync': channel('etcdkit:watch:resync'),
  'etcdkit:lease:lost': channel('etcdkit:lease:lost'),
} as const satisfies Record<keyof ChannelMessages, unknown>;

/** Publishes a message; `make` runs only when somebody listens. */
export function publish<Name extends keyof ChannelMessages>(name: Name, make: () => ChannelMessages[Name]): void {
  const target = channels[name];
  if (target.hasSubscribers) target.publish(make());
}

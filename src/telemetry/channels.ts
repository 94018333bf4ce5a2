/**
 * What the client and the recipes tell `node:diagnostics_channel` about themselves, for
 * programs without OpenTelemetry.
 *
 * A channel that nobody listens to costs one property read. Messages are plain objects;
 * they never hold a value, a password or a token, and no keys but the names of locks,
 * elections and queues, which the program itself has given. They do not leave the process.
 * Listeners are called synchronously: one that is slow slows the call.
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

/** A call begins. Calls that are sent again are one call; keepalives and watches are none. */
export interface CallStartMessage {
  /** The method's path, such as `/etcdserverpb.KV/Range`. */
  readonly method: string;
}

/** A call was answered. */
export interface CallEndMessage {
  readonly method: string;
  /** The member that answered. */
  readonly endpoint: string | undefined;
  /** How often it was sent. */
  readonly attempts: number;
  readonly durationMs: number;
}

/** A call has failed for good. */
export interface CallErrorMessage {
  readonly method: string;
  /** The member that the last attempt went to; undefined when none was reached. */
  readonly endpoint: string | undefined;
  readonly attempts: number;
  readonly durationMs: number;
  /** The error's `code`. */
  readonly code: string;
  /** Whether the call may have changed the store all the same. */
  readonly applied: 'no' | 'maybe' | undefined;
}

/** Somebody begins to wait for a lock, a permit or a leadership, because others are ahead. */
export interface RecipeWaitingMessage {
  /** `mutex`, `rwmutex`, `semaphore`, `election`. */
  readonly recipe: string;
  /** The name that the program has given it. */
  readonly name: string;
}

/** A lock, permit, leadership or barrier was got: of an election, somebody was elected. */
export interface RecipeAcquiredMessage {
  /** `mutex`, `rwmutex`, `semaphore`, `election`, `barrier`, `doublebarrier`. */
  readonly recipe: string;
  readonly name: string;
  /** The fencing token; of a leadership, the term. */
  readonly token: Revision;
  /** How long that took in all. */
  readonly waitedMs: number;
}

/** Somebody has stopped trying: the time was up, the signal fired, or it was refused. */
export interface RecipeFailedMessage {
  readonly recipe: string;
  readonly name: string;
  /** The error's `code`, or `refused` for a try that does not wait. */
  readonly code: string;
  readonly waitedMs: number;
}

/** A lock, permit, leadership or barrier has ended. */
export interface RecipeEndedMessage {
  readonly recipe: string;
  readonly name: string;
  readonly token: Revision;
  /** `released`; or, of one that was lost, why: `session`, `key-gone`. */
  readonly reason: string;
  readonly heldMs: number;
}

/** The names of the channels, and what comes through each. */
export interface ChannelMessages {
  'etcdkit:call:start': CallStartMessage;
  'etcdkit:call:end': CallEndMessage;
  'etcdkit:call:error': CallErrorMessage;
  'etcdkit:recipe:waiting': RecipeWaitingMessage;
  'etcdkit:recipe:acquired': RecipeAcquiredMessage;
  'etcdkit:recipe:failed': RecipeFailedMessage;
  'etcdkit:recipe:ended': RecipeEndedMessage;
  'etcdkit:connection': ConnectionMessage;
  'etcdkit:retry': RetryMessage;
  'etcdkit:watch:resume': WatchResumeMessage;
  'etcdkit:watch:resync': WatchResyncMessage;
  'etcdkit:lease:lost': LeaseLostMessage;
}

const channels = {
  'etcdkit:call:start': channel('etcdkit:call:start'),
  'etcdkit:call:end': channel('etcdkit:call:end'),
  'etcdkit:call:error': channel('etcdkit:call:error'),
  'etcdkit:recipe:waiting': channel('etcdkit:recipe:waiting'),
  'etcdkit:recipe:acquired': channel('etcdkit:recipe:acquired'),
  'etcdkit:recipe:failed': channel('etcdkit:recipe:failed'),
  'etcdkit:recipe:ended': channel('etcdkit:recipe:ended'),
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

const { 'etcdkit:call:start': callStart, 'etcdkit:call:end': callEnd, 'etcdkit:call:error': callError } = channels;

/** Whether anybody listens to what becomes of calls. */
export function callsAreHeard(): boolean {
  return callStart.hasSubscribers || callEnd.hasSubscribers || callError.hasSubscribers;
}

const {
  'etcdkit:recipe:waiting': waiting,
  'etcdkit:recipe:acquired': acquired,
  'etcdkit:recipe:failed': failed,
  'etcdkit:recipe:ended': ended,
} = channels;

/** Whether anybody listens to what becomes of locks, permits and leaderships. */
export function recipesAreHeard(): boolean {
  return waiting.hasSubscribers || acquired.hasSubscribers || failed.hasSubscribers || ended.hasSubscribers;
}

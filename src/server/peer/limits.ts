/**
 * How long a member waits for another, and how much it takes of it.
 *
 * Those that both ends of a connection go by are etcd's: who sends sooner or reads longer than it says is understood,
 * the other way round connections break. Nothing here is for users to set: whoever waits for consensus has the election
 * timeout as his measure.
 *
 * Source: etcd's package `rafthttp`, release 3.5, and connections of its servers.
 *
 * @module
 */

/** A connection from which, or to which, nothing moves for so long is dead. */
export const LINK_TIMEOUT_MS = 5_000;
/** How often a stream says that it lives: two may be lost. */
export const LINK_HEARTBEAT_MS = LINK_TIMEOUT_MS / 3;
/** From one attempt to open a stream to the next. */
export const REDIAL_MS = 100;
/** Messages that wait for a stream; more are dropped. */
export const STREAM_QUEUE = 4_096;
/** Bytes that wait in a stream's socket; more messages wait in the queue, not yet encoded. */
export const STREAM_BUFFER_BYTES = 512 * 1024;
/** Messages without a stream that are under way at a time, and how many wait for that. */
export const PIPELINE_WIDTH = 4;
export const PIPELINE_QUEUE = 64;
/** How long a posted message may take, and how much more for each MiB of it. */
export const POST_TIMEOUT_MS = 5_000;
export const POST_TIMEOUT_MS_PER_MIB = 1_000;
/** A snapshot of which nothing moves for so long is given up. The receiver syncs it before it answers. */
export const SNAPSHOT_STALL_MS = 60_000;
/** From one probe to the next. */
export const PROBE_MS = 4_000;
/** Clocks further apart than this are worth a warning: tokens and certificates go by them. */
export const CLOCK_DIFFERENCE_MS = 1_000;
/** How long what was queued for a member that was removed may take to leave. */
export const FAREWELL_MS = 1_000;
/** Longest message taken in: etcd has 512 MiB, far more than what a leader sends at once or a client may propose. */
export const MAX_MESSAGE_BYTES = 128 * 1024 * 1024;
/** Senders that are no members here, which may be newer members: their addresses are kept for so many. */
export const MAX_STRANGERS = 32;

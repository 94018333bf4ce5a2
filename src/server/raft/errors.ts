/**
 * What the core says when it can't.
 *
 * A refusal is a value: it is part of normal life and its caller decides. A broken invariant is thrown: the member's
 * state is not to be trusted any more, and going on could lose committed data.
 *
 * @module
 */

/**
 * Why a message was not taken.
 *
 * - `proposal-dropped`: no leader, a leader that hands over or is removed, or too much that is uncommitted. The
 *   proposal has not entered any log.
 * - `local-message`: a kind that must not come from another member.
 * - `unknown-peer`: an answer from somebody who is no member.
 */
export type Refusal = 'proposal-dropped' | 'local-message' | 'unknown-peer';

/** Why the log has no such entry: it was compacted away, or is not there yet. */
export type LogGap = 'compacted' | 'unavailable';

/** A rule of the protocol is broken, by this member's storage, by a caller or by another member. */
export class RaftInvariantError extends Error {
  override name = 'RaftInvariantError';
}

/** Throws if a rule of the protocol is broken. `detail` says which, and what was found. */
export function invariant(holds: boolean, detail: () => string): asserts holds {
  if (!holds) throw new RaftInvariantError(detail());
}

/** A change of configuration that can't be made. Its text is etcd's. */
export class ConfChangeError extends Error {
  override name = 'ConfChangeError';
}

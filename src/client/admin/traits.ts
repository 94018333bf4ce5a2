/**
 * How the calls of the administrative services may be repeated, and who can serve them.
 *
 * The classes are those of `connection/retry.ts`. A member answers about itself (status,
 * hashes, defragmentation, snapshot) without a leader, so these calls never ask for one:
 * they are needed most when there is none.
 *
 * @module
 */

import type { CallTraits } from '../connection/caller.ts';

/** Reads that go through the leader, or through Raft: lists of users, roles, alarms. */
export const READ: CallTraits = { kind: 'read' };

/** Changes that must not happen twice. */
export const WRITE: CallTraits = { kind: 'write' };

/** Changes that may: the second finds the work done. */
export const IDEMPOTENT: CallTraits = { kind: 'idempotent' };

/** What a member says of itself; a learner too. */
export const STATUS_TRAITS: CallTraits = { kind: 'read', learnerOk: true, leaderless: true };

/** What a voting member reads from its own store. */
export const LOCAL_READ: CallTraits = { kind: 'read', leaderless: true };

/** What a voting member does to its own store. */
export const LOCAL_WRITE: CallTraits = { kind: 'write', leaderless: true };

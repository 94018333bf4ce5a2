/**
 * What applying an entry of the log came to.
 *
 * The same on every member. The member that proposed it gives it to who waits; the others drop it.
 *
 * @module
 */
import type { Permission } from '../../protocol/generated/authpb.ts';
import type { AlarmMember } from '../../protocol/generated/etcdserverpb.ts';
import type { AppliedLogin } from '../auth/tokens.ts';
import type { OpResult } from '../mvcc/txn.ts';
import type { Refusal } from '../refusals.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';

/** The result of an entry that was not refused. Each kind of request has one. */
export type Result =
  /** Range, put, delete and transaction. */
  | OpResult
  | { readonly type: 'compact' }
  | { readonly type: 'lease-grant'; readonly id: bigint; readonly ttlSeconds: number }
  | { readonly type: 'lease-revoke' }
  | { readonly type: 'lease-checkpoint' }
  /** Those that are raised, after the request; for a GET those asked for, for the others those that it changed. */
  | { readonly type: 'alarm'; readonly alarms: readonly AlarmMember[] }
  /** Enable, disable, changes to users and roles. */
  | { readonly type: 'auth-change' }
  | { readonly type: 'auth-status'; readonly enabled: boolean; readonly revision: bigint }
  | { readonly type: 'auth-login'; readonly login: AppliedLogin }
  /** Names of users, or roles, or of one user's roles. */
  | { readonly type: 'auth-names'; readonly names: readonly string[] }
  | { readonly type: 'auth-permissions'; readonly permissions: readonly Permission[] }
  /** Cluster version, attributes of a member, downgrade. */
  | { readonly type: 'cluster-change' }
  /** A change of the configuration: the members after it. */
  | { readonly type: 'members'; readonly members: readonly BackendMember[] };

/** A result, or why nothing was done. */
export type Outcome = Result | { readonly type: 'refused'; readonly refusal: Refusal };

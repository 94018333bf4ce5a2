/**
 * Requests about leases.
 *
 * @module
 */
import type { LeaseError } from '../lease/lessor.ts';
import { type Refusal, Refusals } from '../refusals.ts';
import { type Appliers, refused } from './parts.ts';

const REFUSALS: Readonly<Record<LeaseError, Refusal>> = {
  'lease-not-found': Refusals.LeaseNotFound,
  'lease-exists': Refusals.LeaseExists,
  'ttl-too-large': Refusals.LeaseTtlTooLarge,
  // These two are never said to what comes from the log.
  'not-primary': Refusals.NotPrimaryLessor,
  expired: Refusals.LeaseNotFound,
};

export const LEASE_APPLIERS: Appliers<'leaseGrant' | 'leaseRevoke' | 'leaseCheckpoint'> = {
  leaseGrant: ({ lessor }, { ID, TTL }, { now }) => {
    const granted = lessor.grant(ID, TTL, now);
    return typeof granted === 'string' ? refused(REFUSALS[granted]) : { type: 'lease-grant', ...granted };
  },

  /** Its keys go in one revision, in order; without any there is none. */
  leaseRevoke: ({ lessor, store, watches }, { ID }) => {
    const keys = lessor.revoke(ID);
    if (typeof keys === 'string') return refused(REFUSALS[keys]);
    const txn = store.write();
    for (const key of keys) txn.deleteRange({ key, end: '' });
    watches.publish(txn.end());
    return { type: 'lease-revoke' };
  },

  leaseCheckpoint: ({ lessor }, { checkpoints }) => {
    for (const checkpoint of checkpoints) lessor.checkpoint(checkpoint);
    return { type: 'lease-checkpoint' };
  },
};

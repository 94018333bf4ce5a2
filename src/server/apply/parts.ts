/**
 * What requests are applied to, and how what comes of them is told.
 *
 * @module
 */
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import type { Access } from '../auth/access.ts';
import type { AuthStore } from '../auth/store.ts';
import type { TokenProvider } from '../auth/tokens.ts';
import type { Lessor } from '../lease/lessor.ts';
import type { KvStore } from '../mvcc/store.ts';
import type { WatchHub } from '../mvcc/watch.ts';
import type { Refusal } from '../refusals.ts';
import type { AlarmBook } from './alarms.ts';
import type { CompactHashes } from './hashes.ts';
import type { Membership } from './membership.ts';
import type { Outcome } from './outcome.ts';

/** The parts of a state machine. */
export interface Parts {
  /** Another one once a snapshot has come. */
  store: KvStore;
  readonly watches: WatchHub;
  readonly lessor: Lessor;
  readonly auth: AuthStore;
  readonly access: Access;
  readonly tokens: TokenProvider;
  readonly alarms: AlarmBook;
  readonly members: Membership;
  readonly hashes: CompactHashes;
}

/** Where in the log a request is, and when that is applied here. */
export interface Occasion {
  readonly index: number;
  /** Monotonic time in ms: it differs from member to member, so nothing of it may get into what all members share. */
  readonly now: number;
}

/** Names the field of a request. */
export type RequestKind = Exclude<keyof InternalRaftRequest, 'ID' | 'header'>;

/**
 * Applies requests of one kind. It changes nothing that it refuses, and throws for what is in one only if no version of
 * ours writes such: an `ApplyError`, before anything has changed.
 */
export type Applier<Kind extends RequestKind> = (
  parts: Parts,
  request: NonNullable<InternalRaftRequest[Kind]>,
  occasion: Occasion,
) => Outcome;

/** One for each of some kinds. */
export type Appliers<Kind extends RequestKind> = { readonly [One in Kind]: Applier<One> };

export function refused(refusal: Refusal): Outcome {
  return { type: 'refused', refusal };
}

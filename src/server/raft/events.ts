/**
 * What happens inside the core and shows in no message: for traces, logs and tests.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import type { Configuration } from './tracker/configuration.ts';
import type { EntryId, MessageType, Role } from './types.ts';

export type RaftEvent =
  /** The member took a role, perhaps the one it had, in a term. */
  | { readonly type: 'became'; readonly role: Role; readonly term: number; readonly lead: MemberId }
  /** Another configuration is the active one. */
  | { readonly type: 'configuration'; readonly configuration: Configuration }
  /** A proposed change of configuration became an empty entry. */
  | { readonly type: 'conf-change-ignored'; readonly reason: string }
  /** A vote was asked for and not answered, since a leader was heard of just now. */
  | {
      readonly type: 'lease-not-expired';
      readonly request: MessageType;
      readonly from: MemberId;
      readonly term: number;
    }
  /** The disk reported entries of an earlier term: they may have been replaced, so nothing follows from it. */
  | { readonly type: 'stale-append-response'; readonly term: number; readonly entry: EntryId }
  /** The disk reported an entry that is not unstable any more, or that was replaced. */
  | {
      readonly type: 'stable-ignored';
      readonly reason: 'missing' | 'snapshot' | 'mismatched';
      readonly entry: EntryId;
    };

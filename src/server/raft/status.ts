/**
 * What a member knows, copied out for people and metrics.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import type { Raft } from './raft.ts';
import type { Configuration } from './tracker/configuration.ts';
import type { Progress } from './tracker/progress.ts';
import type { HardState, SoftState } from './types.ts';

export interface BasicStatus {
  readonly id: MemberId;
  readonly hardState: HardState;
  readonly softState: SoftState;
  /** Last entry that is applied. */
  readonly applied: number;
  /** Member that a leader hands over to, or `NONE`. */
  readonly transferee: MemberId;
}

export interface Status extends BasicStatus {
  readonly configuration: Configuration;
  /** How far each member is, as copies in the order of ids. Empty unless this one leads. */
  readonly progress: ReadonlyMap<MemberId, Progress>;
}

export function basicStatus({ id, hardState, softState, log, transferee }: Raft): BasicStatus {
  return { id, hardState, softState, applied: log.applied, transferee };
}

export function statusOf(raft: Raft): Status {
  const { configuration, ids, progress } = raft.tracker;
  const copies = raft.role === 'StateLeader' ? ids.map((id) => [id, progress.get(id)?.clone()] as const) : [];
  return {
    ...basicStatus(raft),
    configuration,
    progress: new Map(copies.filter((pair): pair is [MemberId, Progress] => pair[1] !== undefined)),
  };
}

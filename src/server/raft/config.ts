/**
 * How one member runs.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import { RaftInvariantError } from './errors.ts';
import type { RaftEvent } from './events.ts';
import type { Storage } from './log/storage.ts';
import { NO_LIMIT } from './size.ts';
import { isThread, NONE } from './types.ts';

/**
 * How reads are made linearizable.
 *
 * - `safe`: a quorum confirms the leader after the read was asked for.
 * - `lease`: the leader trusts its lease. Wrong as soon as clocks drift or a process stands still for longer than the
 *   margin between ticks; needs `checkQuorum`.
 */
export type ReadMode = 'safe' | 'lease';

export interface RaftConfig {
  readonly id: MemberId;
  /** Ticks without a word from the leader after which an election may start; twice as many at most. */
  readonly electionTicks: number;
  /** Ticks between heartbeats of a leader. Fewer than `electionTicks`; a tenth is usual. */
  readonly heartbeatTicks: number;
  readonly storage: Storage;
  /**
   * A whole number from 0 up to but without `bound`, all equally likely. Spreads election timeouts; two members that
   * draw the same numbers may hold elections against each other for ever.
   */
  readonly random: (bound: number) => number;
  /** Last entry that the application has applied, when a member comes back. Default 0: it applies all again. */
  readonly applied?: number | undefined;
  /**
   * Storage work goes out as messages to {@link APPEND_THREAD} and {@link APPLY_THREAD}, whose answers are stepped in
   * whenever they are done; `advance` is not used. Default false.
   */
  readonly asyncStorageWrites?: boolean | undefined;
  /** Encoded bytes of entries in one append; one entry always fits. Default: no limit. 0: one entry at a time. */
  readonly maxSizePerMessage?: number | undefined;
  /** Encoded bytes of committed entries handed out and not applied yet; one entry always fits. Default: no limit. */
  readonly maxCommittedSizePerReady?: number | undefined;
  /**
   * Payload bytes of entries in the leader's log that are not applied; proposals beyond are dropped, unless nothing is
   * pending. Default: no limit.
   */
  readonly maxUncommittedSize?: number | undefined;
  /** Appends to one follower that are not answered yet. Default 256. */
  readonly maxInflightMessages?: number | undefined;
  /** Payload bytes in such appends; the one that passes the limit is still sent. Default: no limit. */
  readonly maxInflightBytes?: number | undefined;
  /**
   * A leader that did not hear of a quorum for an election timeout steps down, and members that hear of a leader don't
   * vote. Default false; etcd sets it.
   */
  readonly checkQuorum?: boolean | undefined;
  /**
   * Before it raises the term, a candidate asks whether it would be elected; so a member that was cut off disturbs
   * nobody when it comes back. Default false; etcd sets it. Thesis §9.6.
   */
  readonly preVote?: boolean | undefined;
  /** Default `safe`. */
  readonly reads?: ReadMode | undefined;
  /** Followers drop proposals instead of handing them to the leader. Default false. */
  readonly disableProposalForwarding?: boolean | undefined;
  /** Changes of configuration are not checked when proposed. Who sets it checks them himself. Default false. */
  readonly disableConfChangeValidation?: boolean | undefined;
  /** A leader that is removed, or made a learner, steps down as soon as that is applied. Default false. */
  readonly stepDownOnRemoval?: boolean | undefined;
  /**
   * A member that votes no more says what is committed when it refuses a vote, so that a cluster can go on where only a
   * removed member knows that it is removed; `election.ts` tells the case. etcd has nothing like it, and ignores the
   * two fields. Default false, as in etcd.
   */
  readonly refusalsTellCommit?: boolean | undefined;
  /** Hears of what shows in no message and in no `Ready`. Must not throw, and not call back. */
  readonly observe?: ((event: RaftEvent) => void) | undefined;
}

/** {@link RaftConfig} with nothing left out. */
export type ResolvedConfig = {
  readonly [K in Exclude<keyof RaftConfig, 'observe'>]-?: Exclude<RaftConfig[K], undefined>;
} & Pick<RaftConfig, 'observe'>;

const MAX_UINT64 = 2n ** 64n - 1n;

/**
 * Fills in defaults.
 *
 * @throws RaftInvariantError when a value is out of range, or two don't go together; it names them.
 */
export function resolveConfig(config: RaftConfig): ResolvedConfig {
  const resolved = {
    ...config,
    applied: config.applied ?? 0,
    asyncStorageWrites: config.asyncStorageWrites ?? false,
    maxSizePerMessage: config.maxSizePerMessage ?? NO_LIMIT,
    maxCommittedSizePerReady: config.maxCommittedSizePerReady ?? NO_LIMIT,
    maxUncommittedSize: config.maxUncommittedSize ?? NO_LIMIT,
    maxInflightMessages: config.maxInflightMessages ?? 256,
    maxInflightBytes: config.maxInflightBytes ?? NO_LIMIT,
    checkQuorum: config.checkQuorum ?? false,
    preVote: config.preVote ?? false,
    reads: config.reads ?? 'safe',
    disableProposalForwarding: config.disableProposalForwarding ?? false,
    disableConfChangeValidation: config.disableConfChangeValidation ?? false,
    stepDownOnRemoval: config.stepDownOnRemoval ?? false,
    refusalsTellCommit: config.refusalsTellCommit ?? false,
    observe: config.observe,
  };
  check(resolved);
  return resolved;
}

function check(config: ResolvedConfig): void {
  const refuse = (what: string): never => {
    throw new RaftInvariantError(`configuration of a member: ${what}`);
  };
  const { id, heartbeatTicks, electionTicks } = config;
  if (id === NONE || isThread(id) || id < 0n || id > MAX_UINT64) refuse(`id ${id} is not a member's`);
  if (!Number.isSafeInteger(heartbeatTicks) || heartbeatTicks <= 0) refuse('heartbeatTicks must be at least 1');
  if (!Number.isSafeInteger(electionTicks) || electionTicks <= heartbeatTicks) {
    refuse('electionTicks must be more than heartbeatTicks');
  }
  if (!Number.isSafeInteger(config.applied) || config.applied < 0) refuse('applied must be an index');
  if (!(config.maxSizePerMessage >= 0)) refuse('maxSizePerMessage must be at least 0');
  // It is counted to: a fraction would be passed by and no window ever be full.
  const { maxInflightMessages } = config;
  if (!(maxInflightMessages >= 1) || (maxInflightMessages !== NO_LIMIT && !Number.isInteger(maxInflightMessages))) {
    refuse('maxInflightMessages must be a whole number and at least 1');
  }
  if (!(config.maxInflightBytes > 0)) refuse('maxInflightBytes must be at least 1');
  // A whole append has to fit, or a window would close on the first one.
  if (config.maxInflightBytes < config.maxSizePerMessage && config.maxInflightBytes !== NO_LIMIT) {
    refuse('maxInflightBytes must be at least maxSizePerMessage');
  }
  if (!(config.maxCommittedSizePerReady > 0)) refuse('maxCommittedSizePerReady must be at least 1');
  if (!(config.maxUncommittedSize > 0)) refuse('maxUncommittedSize must be at least 1');
  if (config.reads === 'lease' && !config.checkQuorum) refuse('reads: lease needs checkQuorum');
}

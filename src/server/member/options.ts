/**
 * How a member is set up.
 *
 * Whatever differs from run to run comes in here: time, chance, disk, network, and the event loop's next turn.
 *
 * @module
 */
import type { Clock } from '../../support/clock.ts';
import type { RequestKind } from '../apply/parts.ts';
import type { PasswordHasher } from '../auth/passwords.ts';
import type { Actor } from '../auth/store.ts';
import type { TokenProvider } from '../auth/tokens.ts';
import type { EntryTracing } from '../tracing.ts';
import type { WalRepair } from '../wal/index.ts';
import type { ExistingCluster, InitialMember, MemberStorage } from './boot.ts';
import type { AutoCompaction } from './compactor.ts';
import type { Connect } from './peers.ts';

/** What tokens are made with: see `SimpleTokensOptions`. */
export interface TokenContext {
  readonly now: () => number;
  readonly actor: (username: string) => Actor;
  readonly appliedIndex: () => bigint;
  readonly resumedAt: bigint;
  readonly waitApplied: (index: bigint, timeoutMs: number, signal?: AbortSignal) => Promise<void>;
}

/** Hears what happens, for metrics and logs. None may throw. */
export interface MemberObserver {
  /** The end of the log was torn, as by a loss of power, and was cut off. Is called before the member is there. */
  repaired?(repair: WalRepair): void;
  /** By {@link MemberOptions.forceNewCluster} these members were removed. Is called before the member is there. */
  abandoned?(members: readonly bigint[]): void;
  /** A write to the journal was synced after so long, in ms. */
  written?(ms: number): void;
  /** There is another leader; 0: none. */
  leader?(leader: bigint): void;
  /**
   * Applying an entry took so long, in ms. Is called for each.
   *
   * @param kind Of the request that it holds; undefined if it is another entry.
   * @param done Whether it was not refused.
   */
  appliedEntry?(ms: number, index: number, kind: RequestKind | undefined, done: boolean): void;
  /** An image of the state was written, in so long. */
  snapshotSaved?(index: number, bytes: number, ms: number): void;
  /** One could not be written; it is tried again later. */
  snapshotFailed?(error: unknown): void;
}

export interface MemberOptions {
  /** Name of this member: one of `initialCluster`. */
  readonly name: string;
  /** Where clients reach it; it says so once this has resolved, for ports that are known only when they are open. */
  readonly clientUrls: readonly string[] | Promise<readonly string[]>;
  /** Who founds the cluster. Of no meaning for a member that comes back. */
  readonly initialCluster: readonly InitialMember[];
  /** Keeps clusters with the same addresses apart. Default: `etcd-cluster`. */
  readonly clusterToken?: string | undefined;
  /** Undefined: nothing is kept. */
  readonly storage?: MemberStorage | undefined;
  /** Whether a member that comes back drops all others of its cluster for good. Default: false. */
  readonly forceNewCluster?: boolean | undefined;
  readonly clock: Clock;
  /** The time of day at the start, in ms since 1970: request ids are made of it. */
  readonly timeOfDayMs: number;
  /** A whole number from 0 up to but without `bound`. */
  readonly random: (bound: number) => number;
  /** Lets the event loop do something else. */
  readonly pause: () => Promise<void>;
  readonly tokens: (context: TokenContext) => TokenProvider;
  readonly hasher: PasswordHasher;
  /** The cluster that a new member joins, as its members say; then nothing is founded. Default: it founds one. */
  readonly join?: ExistingCluster | undefined;
  /** Whether it was to join one when it was new, should it have died before it heard of the others. Default: false. */
  readonly joins?: boolean | undefined;
  /** Connects it with others. Default: there are none. */
  readonly connect?: Connect | undefined;
  /** Version that it says it has. Default: {@link DEFAULT_VERSION}. */
  readonly version?: string | undefined;
  /** One tick, in ms. Default: 100. */
  readonly heartbeatMs?: number | undefined;
  /** Default: 1000. */
  readonly electionMs?: number | undefined;
  /** Bytes of an encoded request. Default: 1,572,864. */
  readonly maxRequestBytes?: number | undefined;
  /** Size of the backend in bytes; 0: 2 GiB; negative: no limit. Default: 0. */
  readonly quotaBytes?: number | undefined;
  /** Entries from one image to the next. Default: 10,000. */
  readonly snapshotCount?: number | undefined;
  /** Entries that stay in memory behind an image. Default: 5,000. */
  readonly snapshotCatchUpEntries?: number | undefined;
  /** How many learners there may be at a time; all members have to agree. Default: 1. */
  readonly maxLearners?: number | undefined;
  /** Whether changes of members are checked for the quorum's sake. Default: true. */
  readonly strictReconfigCheck?: boolean | undefined;
  /** How often what is left of long leases is noted in the log, in ms. Default: never. */
  readonly leaseCheckpointMs?: number | undefined;
  /** Whether a member that starts stands for election soon once it is connected. Default: true. */
  readonly initialElectionTickAdvance?: boolean | undefined;
  /** Whether a member compares its keys with the others' before it takes part; see `corruption.ts`. Default: false. */
  readonly initialCorruptCheck?: boolean | undefined;
  /** How often the leader compares its keys with the others', in ms. Default: never. */
  readonly corruptCheckMs?: number | undefined;
  /** How often the leader compares the hashes that compactions leave, in ms. Default: never. */
  readonly compactHashCheckMs?: number | undefined;
  /** Default: none. */
  readonly autoCompaction?: AutoCompaction | undefined;
  readonly observe?: MemberObserver | undefined;
  /** Times the work on entries. Default: nobody does, and entries are not looked at for it. */
  readonly tracing?: EntryTracing | undefined;
}

/** The version of etcd whose contract this is. */
export const DEFAULT_VERSION = '3.5.30';

/** {@link MemberOptions} with defaults, and what follows from them. */
export type ResolvedOptions = MemberOptions & ReturnType<typeof resolveOptions>;

/** Fills in defaults. */
export function resolveOptions(options: MemberOptions) {
  const { heartbeatMs = 100, electionMs = 1_000 } = options;
  const electionTicks = Math.floor(electionMs / heartbeatMs);
  return {
    ...options,
    clusterToken: options.clusterToken ?? 'etcd-cluster',
    version: options.version ?? DEFAULT_VERSION,
    heartbeatMs,
    electionMs,
    electionTicks,
    /** How long a request may take, in ms. */
    requestTimeoutMs: 5_000 + 2 * electionMs,
    /** What a lease must outlive is an election. */
    minTtlSeconds: Math.ceil((Math.floor((3 * electionTicks) / 2) * heartbeatMs) / 1_000),
    maxRequestBytes: options.maxRequestBytes ?? 1_572_864,
    quotaBytes: options.quotaBytes ?? 0,
    snapshotCount: options.snapshotCount ?? 10_000,
    snapshotCatchUpEntries: options.snapshotCatchUpEntries ?? 5_000,
    strictReconfigCheck: options.strictReconfigCheck ?? true,
    initialElectionTickAdvance: options.initialElectionTickAdvance ?? true,
    observe: options.observe ?? {},
  };
}

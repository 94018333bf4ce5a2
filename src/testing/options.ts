/**
 * The options of a {@link TestCluster}.
 *
 * @module
 */
import type { EtcdServerOptions } from '../server/options.ts';
import type { Clock } from '../support/clock.ts';
import type { LinkOptions } from './links.ts';

/** What a server is told, but for what the cluster itself decides. */
export type TestServerOptions = Omit<
  EtcdServerOptions,
  | 'name'
  | 'walDir'
  | 'host'
  | 'port'
  | 'listen'
  | 'advertiseClientUrls'
  | 'peerUrls'
  | 'listenPeers'
  | 'peerTls'
  | 'initialCluster'
  | 'initialClusterState'
  | 'forceNewCluster'
  | 'timeOfDay'
  | 'random'
>;

/**
 * What a {@link TestCluster} can be told. Some defaults are others than a server's, for tests: `heartbeatMs` 10 and `electionMs` 100
 * on the machine's clock, `bcryptCost` 4, and `strictReconfigCheck` false, which would refuse changes of members for the
 * first five seconds.
 */
export interface TestClusterOptions extends TestServerOptions {
  /** How many members there are at first. Default: 3. */
  readonly members?: number | undefined;
  /**
   * Folder that each member has a folder in, by its name. What was written outlives `kill()` there, synced or not, as it
   * does when a process is killed. Default: none; each has a disk in memory, and `kill()` is a loss of power.
   */
  readonly dataDir?: string | undefined;
  /** Where the time comes from; a `VirtualClock` makes it pass by a call. Default: the machine's monotonic clock. */
  readonly clock?: Clock | undefined;
  /** Makes chance repeat: in elections, and in what gets lost between members. Default: the machine's chance. */
  readonly seed?: number | undefined;
  /** How messages travel between members. Default: at once, and none is lost. */
  readonly link?: Partial<LinkOptions> | undefined;
}

/** How to wait. */
export interface TestWaitOptions {
  /** Ends the waiting, which then rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** How long to wait, in ms of the cluster's clock. Default: 30,000. */
  readonly timeoutMs?: number | undefined;
}

/** What a new member is to be. */
export interface NewTestMember extends TestWaitOptions {
  /** Default: `m` and the next number. */
  readonly name?: string | undefined;
  /** Whether it hears all and votes on nothing, until it is promoted. Default: false. */
  readonly learner?: boolean | undefined;
}

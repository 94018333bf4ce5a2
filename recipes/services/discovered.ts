/**
 * What a discovery gives to those who send requests: the seam between it and its users, the gRPC resolver, the HTTP
 * dispatcher and programs' own code.
 *
 * @module
 */

import type { Revision } from '../../src/index.ts';
import type { Outcome, PickOptions } from './balance/balancer.ts';
import type { ServiceInstance } from './instance.ts';

/** How the set of instances changed. */
export interface DiscoveryChange<M> {
  readonly type: 'added' | 'updated' | 'removed';
  readonly instance: ServiceInstance<M>;
  /** How it was before; absent for `added`. */
  readonly previous: ServiceInstance<M> | undefined;
}

/** An instance that was chosen for one request. Say what came of it: the strategies and the ejection live on that. */
export interface Picked<M> extends Disposable {
  readonly instance: ServiceInstance<M>;
  /** `address:port` of the instance. */
  readonly authority: string;
  /** The request has ended. The first call counts. */
  done(outcome: Outcome): void;
  /** The request has ended; `cancelled` unless {@link Picked.done} was called before. */
  [Symbol.dispose](): void;
}

/** The instances of one service, as they are known here and now. */
export interface DiscoveredService<M> extends AsyncDisposable {
  /** The service's name. */
  readonly name: string;
  /** Resolves when there is a first list, from the store or from the snapshot on disk; rejects when there never will be. */
  readonly ready: Promise<void>;
  /** Those that take requests now: filters passed, `up`; ejected ones are among them. Sorted by id. The same array until something changes. */
  readonly instances: readonly ServiceInstance<M>[];
  /** All that are registered, `down` and `draining` ones too. Sorted by id. */
  readonly registered: readonly ServiceInstance<M>[];
  /** Whether the list came from the store, and it is followed. */
  readonly synced: boolean;
  /** Since when (by the client's clock, in ms) the list may be behind because the store cannot be reached; undefined while it can. */
  readonly staleSince: number | undefined;
  /** Up to which revision the list is complete; 0 when it came from disk. */
  readonly revision: Revision;
  /** The ids of instances that are not picked because they have as many requests under way as they may. Absent: no limit. */
  readonly full?: ReadonlySet<string> | undefined;
  /** What changes among all that are registered from now on; a slow reader is told the latest of each instance. */
  changes(): AsyncIterableIterator<DiscoveryChange<M>>;
  /**
   * Chooses an instance for one request.
   *
   * @throws NoInstanceError when none takes requests.
   */
  pick(options?: PickOptions): Picked<M>;
}

/**
 * Changes of a service's instances, for a reader who may be slow: merged, one for each instance.
 *
 * @module
 */

import { type Merged, MergedFeed } from '../../merged-feed.ts';
import type { DiscoveryChange } from '../discovered.ts';
import type { ServiceInstance } from '../instance.ts';

/** The reading end. */
export class DiscoveryFeed<M> extends MergedFeed<ServiceInstance<M>, DiscoveryChange<M>> {
  /** `onReturn` is told when the reader has left its loop. */
  constructor(onReturn: () => void) {
    super(changeOf, onReturn);
  }

  /** Tells of a change. */
  tell({ type, instance, previous }: DiscoveryChange<M>): void {
    this.push({ name: instance.id, current: type === 'removed' ? undefined : instance, previous });
  }
}

function changeOf<M>({ current, previous }: Merged<ServiceInstance<M>>): DiscoveryChange<M> {
  if (current === undefined) return { type: 'removed', instance: previous as ServiceInstance<M>, previous };
  return { type: previous === undefined ? 'added' : 'updated', instance: current, previous };
}

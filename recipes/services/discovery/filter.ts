/**
 * Which instances of a service are wanted.
 *
 * @module
 */

import { InvalidArgumentError } from '../../../src/index.ts';
import type { ServiceInstance } from '../instance.ts';

/** What instances must have. All conditions that are given have to hold. */
export interface InstanceFilter<M> {
  /** Tags, all of which it must have. */
  readonly tags?: readonly string[] | undefined;
  /**
   * Its version: exactly this, or beginning with it up to a dot, a hyphen or a plus: `1.4` takes `1.4`, `1.4.2` and
   * `1.4-rc.1`, not `1.40`. One without a version does not pass.
   */
  readonly version?: string | undefined;
  /** The zones it may be in. One without a zone does not pass. To prefer a zone is the balancer's business: `zone-aware`. */
  readonly zones?: readonly string[] | undefined;
  /** What it is spoken to with, such as `grpc`. */
  readonly protocol?: string | undefined;
  /** Whatever else. Called once for each version of an instance; it must not throw, which counts as false. */
  readonly match?: ((instance: ServiceInstance<M>) => boolean) | undefined;
}

/** Makes a predicate of a filter. @throws InvalidArgumentError for an empty version. */
export function instanceFilter<M>(filter: InstanceFilter<M>): (instance: ServiceInstance<M>) => boolean {
  const { tags = [], version, zones, protocol, match } = filter;
  if (version === '') throw new InvalidArgumentError('where.version is empty');
  return (instance) => {
    if (!tags.every((tag) => instance.tags.includes(tag))) return false;
    if (version !== undefined && !isVersion(instance.version, version)) return false;
    if (zones !== undefined && !(instance.zone !== undefined && zones.includes(instance.zone))) return false;
    if (protocol !== undefined && instance.protocol !== protocol) return false;
    return match === undefined || holds(match, instance);
  };
}

function isVersion(actual: string | undefined, wanted: string): boolean {
  if (actual === undefined || !actual.startsWith(wanted)) return false;
  return actual.length === wanted.length || '.-+'.includes(actual.charAt(wanted.length));
}

/** One instance that a program's own condition fails on must not take the others with it. */
function holds<M>(match: (instance: ServiceInstance<M>) => boolean, instance: ServiceInstance<M>): boolean {
  try {
    return match(instance);
  } catch {
    return false;
  }
}

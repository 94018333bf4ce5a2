/**
 * Instances that are put into the store by hand, as registrations would, and servers to put them on.
 *
 * @module
 */

import type { ServiceInstance } from '../../../../recipes/services/instance.ts';
import { jsonLayout } from '../../../../recipes/services/json-layout.ts';
import { ServiceRegistry, type ServiceRegistryOptions } from '../../../../recipes/services/service-registry.ts';
import type { LeaseRef } from '../../../../src/index.ts';
import { TestCluster, VirtualClock } from '../../../../src/testing/index.ts';
import { instance } from '../instances.ts';

export const layout = jsonLayout();

export { instance };

/** An entry as it is stored. */
export function stored(id: string, more: Partial<ServiceInstance> = {}): { key: string; value: Uint8Array } {
  const one = instance(id, more);
  return { key: layout.keyOf(one.name, id), value: layout.encode({ instance: one, nonce: id, owner: undefined }) };
}

/** The ids of instances, in their order. */
export function ids(instances: readonly { readonly id: string }[]): string[] {
  return instances.map(({ id }) => id);
}

/** `a1`, `a2`, … */
export function numbered(count: number, prefix = 'a'): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index + 1}`);
}

/** One member on virtual time, a client of it that writes, and one that discovers. */
export async function bed(options: ServiceRegistryOptions = {}) {
  const clock = new VirtualClock();
  const cluster = await TestCluster.start({ clock, members: 1, seed: 1 });
  const [member] = cluster.members;
  if (member === undefined) throw new Error('a cluster without members');
  const [writer, etcd] = [cluster.client(), cluster.client()];
  const put = async (id: string, more: Partial<ServiceInstance> = {}, lease?: LeaseRef): Promise<void> => {
    const { key, value } = stored(id, more);
    await clock.until(writer.put(key, value, { lease }));
    await clock.settle();
  };
  const remove = async (...gone: string[]): Promise<void> => {
    for (const id of gone) await clock.until(writer.delete(layout.keyOf('orders', id)));
    await clock.settle();
  };
  const registry = new ServiceRegistry(etcd, options);
  return {
    clock,
    cluster,
    member,
    writer,
    etcd,
    registry,
    put,
    remove,
    /** Follows `orders` until it has a list. */
    async discover(more: Parameters<ServiceRegistry['discover']>[1] = {}) {
      return clock.until(registry.discover('orders', more));
    },
    [Symbol.asyncDispose]: () => cluster.close(),
  };
}

/** Instances for tests: everything that may be missing is. */

import type { ServiceInstance } from '../../../recipes/services/instance.ts';

/** An instance of `orders`; its id gives it an address of its own. */
export function instance(id: string, more: Partial<ServiceInstance> = {}): ServiceInstance {
  return {
    name: 'orders',
    id,
    address: `${id}.example`,
    port: 8080,
    ports: {},
    protocol: undefined,
    tags: [],
    version: undefined,
    weight: 1,
    zone: undefined,
    metadata: {},
    status: 'up',
    registeredAtMs: 0,
    ...more,
  };
}

/**
 * What every service does: it registers when it can take requests, and drains at SIGTERM.
 *
 * @module
 */
import { Etcd } from 'etcdkit';
import { ServiceRegistry } from 'etcdkit/recipes';

/** This instance's id. */
export const id = process.env['INSTANCE'] ?? 'lonely';

const etcd = new Etcd({ endpoints: (process.env['ETCD_ENDPOINTS'] ?? '127.0.0.1:2379').split(',') });

/** Where this service finds the others. */
export const registry = new ServiceRegistry(etcd);

/** How a service is reached, and how it stops. */
export interface Serving {
  readonly name: string;
  readonly port: number;
  readonly protocol: 'http' | 'grpc';
  /** Takes no new requests; resolves when those under way have ended. */
  readonly stop: () => Promise<void>;
}

/** Registers the instance. It drains at SIGTERM: the process then ends by that signal. */
export async function register({ name, port, protocol, stop }: Serving): Promise<void> {
  await registry.register(
    { name, id, address: '127.0.0.1', port, protocol },
    { ttlSeconds: 5, drainOn: ['SIGTERM'], drain: { propagationMs: 500, inFlight: stop } },
  );
  process.send?.('registered');
  // Nobody is left to end this process when its parent has gone.
  process.once('disconnect', () => process.exit(1));
}

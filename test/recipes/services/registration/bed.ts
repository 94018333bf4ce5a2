/** What tests of registrations share: a server in this process, and eyes on its keys. */

import type { Metadata } from '../../../../recipes/services/instance.ts';
import { jsonLayout } from '../../../../recipes/services/json-layout.ts';
import type { ServiceLayout } from '../../../../recipes/services/record.ts';
import type { InstanceSpec, RegisterOptions } from '../../../../recipes/services/registration/options.ts';
import { Registration, type RegistrationState } from '../../../../recipes/services/registration/registration.ts';
import type { Etcd } from '../../../../src/index.ts';
import { TestCluster } from '../../../../src/testing/index.ts';

export const LAYOUT = jsonLayout();
export const SPEC = { name: 'orders', id: 'a', address: '10.0.0.7', port: 8080 } as const;
export const KEY = 'services/orders/a';

export interface Bed extends AsyncDisposable {
  readonly cluster: TestCluster;
  readonly etcd: Etcd;
  /** A client that goes on seeing when {@link Bed.etcd} is cut off. */
  readonly eye: Etcd;
  register(spec?: Partial<InstanceSpec<Metadata>>, options?: RegisterOptions): Promise<Registration<Metadata>>;
  registerAt(
    layout: ServiceLayout<Metadata>,
    spec?: Partial<InstanceSpec<Metadata>>,
    options?: RegisterOptions,
  ): Promise<Registration<Metadata>>;
  /** What is stored under the key, as JSON; undefined when there is none. */
  stored(key?: string): Promise<Record<string, unknown> | undefined>;
}

/** One member, on the machine's clock. Leases live for at least a second there. */
export async function startBed(options: Parameters<typeof TestCluster.start>[0] = {}): Promise<Bed> {
  const cluster = await TestCluster.start({ members: 1, ...options });
  const etcd = cluster.client();
  const eye = cluster.client();
  const made: Registration<Metadata>[] = [];
  const bed: Bed = {
    cluster,
    etcd,
    eye,
    register: (spec, registerOptions) => bed.registerAt(LAYOUT, spec, registerOptions),
    async registerAt(layout, spec = {}, registerOptions = {}) {
      const all = { ttlSeconds: 5, rejoinJitterMs: 0, ...registerOptions };
      const registration = await Registration.start(etcd, layout, { ...SPEC, ...spec }, all);
      made.push(registration);
      return registration;
    },
    async stored(key = KEY) {
      const kv = await eye.get(key);
      return kv === undefined ? undefined : (JSON.parse(kv.value) as Record<string, unknown>);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(made.map((registration) => registration[Symbol.asyncDispose]()));
      await cluster.close();
    },
  };
  return bed;
}

/** Resolves when the registration is in a state. */
export async function untilState(registration: Registration<Metadata>, wanted: RegistrationState): Promise<void> {
  for await (const state of registration.states()) if (state === wanted) return;
  throw new Error(`it ended and was never ${wanted}`);
}

/** Resolves with the first event of a key, from a revision on, that fits. */
export async function untilEvent(
  etcd: Etcd,
  from: bigint,
  type: 'put' | 'delete',
  fits: (value: Record<string, unknown>) => boolean = () => true,
): Promise<void> {
  for await (const event of etcd.watch(KEY, { from: (from + 1n) as never })) {
    if (event.type !== type) continue;
    if (type === 'delete' || fits(JSON.parse((event as { kv: { value: string } }).kv.value))) return;
  }
}

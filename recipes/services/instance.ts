/**
 * What is known of one running instance of a service.
 *
 * The registration writes it, the discovery reads it, the balancers choose among many. It is a plain value: a change makes
 * another one, so whoever holds one can compare, keep and pass it on.
 *
 * The fields are those that registries have in common: Consul's `AgentServiceRegistration`, Eureka's `InstanceInfo`, Nacos'
 * `Instance`, Curator's `ServiceInstance`.
 *
 * @module
 */

/**
 * Whether an instance takes requests.
 *
 * - `up`: it does.
 * - `down`: it is registered, but a check of its own has failed; it comes back by itself.
 * - `draining`: it finishes what it has begun and takes nothing new.
 */
export type InstanceStatus = 'up' | 'down' | 'draining';

/** What an instance says about itself besides where it is: by default texts under names. */
export type Metadata = Readonly<Record<string, string>>;

/** One instance of a service. */
export interface ServiceInstance<M = Metadata> {
  /** The service. */
  readonly name: string;
  /** The instance, unique within the service. */
  readonly id: string;
  /** Host name or IP address, without brackets. */
  readonly address: string;
  /** The main port. */
  readonly port: number;
  /** Further ports by name, `{ metrics: 9090 }`. Empty when there are none. */
  readonly ports: Readonly<Record<string, number>>;
  /** What is spoken on the main port: `http`, `https`, `grpc`, `grpcs`, or any other word. */
  readonly protocol: string | undefined;
  /** Words to select by, without an order. Empty when there are none. */
  readonly tags: readonly string[];
  /** The version of the program. */
  readonly version: string | undefined;
  /** Its share among the instances, relative to the others; 0 takes nothing. Default 1. */
  readonly weight: number;
  /** Where it runs: a zone, a rack, a data centre. */
  readonly zone: string | undefined;
  readonly metadata: M;
  readonly status: InstanceStatus;
  /** When this registration began, in milliseconds since 1970 by that machine's clock. For people: nothing is decided by it. */
  readonly registeredAtMs: number;
}

/** `address:port`, with an IPv6 address in brackets. */
export function authorityOf(instance: Pick<ServiceInstance, 'address' | 'port'>): string {
  const { address, port } = instance;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

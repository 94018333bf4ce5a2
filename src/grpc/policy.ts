/**
 * The load-balancing policy `etcdkit`: a connection to every instance, and each call goes where the service's `pick()`
 * says.
 *
 * A connection that is lost is made again by grpc-js' own back-off for as long as its instance is in the list. An instance
 * that leaves the list, because it drains or has gone, takes no new call; its connection is closed when the calls that
 * are under way on it have ended. An error of the resolver changes nothing while there are connections.
 *
 * @module
 */

import type { ServiceInstance } from '../../recipes/services/instance.ts';
import { GrpcCode, InvalidArgumentError } from '../index.ts';
import {
  type ChannelControlHelper,
  type ChannelOptions,
  type Endpoint,
  type Grpc,
  type LeafLoadBalancer,
  type LoadBalancer,
  SERVICE_KEY,
  type StatusOr,
  type TypedLoadBalancingConfig,
} from './grpc-js.ts';
import { type PolicyInput, ServicePicker } from './picker.ts';

/** The policy's name in service configs. */
export const POLICY_NAME = 'etcdkit';

/** An endpoint of ours says which instance it is. */
export interface InstanceEndpoint extends Endpoint {
  readonly instance: ServiceInstance<unknown>;
}

interface Child {
  readonly address: string;
  readonly leaf: LeafLoadBalancer;
}

/** The policy takes no options of its own: they belong to the discovery. */
class PolicyConfig implements TypedLoadBalancingConfig {
  getLoadBalancerName(): string {
    return POLICY_NAME;
  }

  toJsonObject(): object {
    return { [POLICY_NAME]: {} };
  }

  static createFromJson(): PolicyConfig {
    return new PolicyConfig();
  }
}

/** One channel's connections to the instances of one service. */
class ServicePolicy implements LoadBalancer {
  readonly #grpc: Grpc;
  /** The channel. */
  readonly #parent: ChannelControlHelper;
  /** What the children take for the channel. */
  readonly #helper: ChannelControlHelper;
  readonly #children = new Map<string, Child>();
  #input: PolicyInput | undefined;
  /** While the list is gone through, the children's news wait. */
  #updating = false;
  #lastError: string | null = null;

  constructor(grpc: Grpc, helper: ChannelControlHelper) {
    this.#grpc = grpc;
    this.#parent = helper;
    this.#helper = grpc.experimental.createChildChannelControlHelper(helper, {
      updateState: (_state, _picker, error) => {
        if (error !== null) this.#lastError = error;
        this.#report();
      },
    });
  }

  updateAddressList(list: StatusOr<Endpoint[]>, config: TypedLoadBalancingConfig, options: ChannelOptions): boolean {
    if (!(config instanceof PolicyConfig)) return false;
    if (!list.ok) {
      if (this.#children.size === 0) this.#refuse(list.error.details);
      return true;
    }
    const input = options[SERVICE_KEY] as PolicyInput | undefined;
    if (input === undefined) {
      this.#refuse(`the policy ${POLICY_NAME} works with names that its resolver has resolved, and with no others`);
      return true;
    }
    this.#input = input;
    this.#updating = true;
    this.#connectTo(list.value as InstanceEndpoint[], options);
    this.#updating = false;
    this.#report();
    return true;
  }

  #connectTo(endpoints: readonly InstanceEndpoint[], options: ChannelOptions): void {
    const gone = new Map(this.#children);
    for (const endpoint of endpoints) {
      const { id } = endpoint.instance;
      const address = this.#grpc.experimental.endpointToString(endpoint);
      const child = this.#children.get(id);
      if (child?.address === address) {
        gone.delete(id);
        continue;
      }
      const leaf = new this.#grpc.experimental.LeafLoadBalancer(endpoint, this.#helper, options, '');
      this.#children.set(id, { address, leaf });
      leaf.startConnecting();
    }
    for (const [id, child] of gone) {
      if (this.#children.get(id) === child) this.#children.delete(id);
      child.leaf.destroy();
    }
  }

  /** Tells the channel what there is now. */
  #report(): void {
    if (this.#updating || this.#input === undefined) return;
    const { connectivityState: states } = this.#grpc;
    const ready = new Map<string, ReturnType<LeafLoadBalancer['getPicker']>>();
    const connecting = new Set<string>();
    const idle: LeafLoadBalancer[] = [];
    for (const [id, { leaf }] of this.#children) {
      const state = leaf.getConnectivityState();
      if (state === states.READY) ready.set(id, leaf.getPicker());
      else if (state !== states.TRANSIENT_FAILURE) connecting.add(id);
      if (state === states.IDLE) idle.push(leaf);
    }
    const picker = new ServicePicker(this.#grpc, this.#input, { ready, connecting, lastError: this.#lastError });
    const error = this.#children.size === 0 ? `${this.#input.service.name} has no instances` : this.#lastError;
    if (ready.size > 0) this.#parent.updateState(states.READY, picker, null);
    else if (connecting.size > 0) this.#parent.updateState(states.CONNECTING, picker, null);
    else this.#parent.updateState(states.TRANSIENT_FAILURE, picker, error);
    // A connection that was lost is made again: the next call shall not have to wait for it.
    for (const leaf of idle) leaf.exitIdle();
  }

  #refuse(details: string): void {
    const picker = new this.#grpc.experimental.UnavailablePicker({ code: GrpcCode.UNAVAILABLE as number, details });
    this.#parent.updateState(this.#grpc.connectivityState.TRANSIENT_FAILURE, picker, details);
  }

  exitIdle(): void {
    // Never idle: all instances are connected to at once.
  }

  resetBackoff(): void {
    // Connections have back-offs of their own.
  }

  destroy(): void {
    this.#input = undefined;
    for (const { leaf } of this.#children.values()) leaf.destroy();
    this.#children.clear();
  }

  getTypeName(): string {
    return POLICY_NAME;
  }
}

const registered = new WeakSet<Grpc>();

/** Makes the policy known to this copy of grpc-js; again is once. */
export function registerPolicy(grpc: Grpc): void {
  if (registered.has(grpc)) return;
  registered.add(grpc);
  class Registered extends ServicePolicy {
    constructor(helper: ChannelControlHelper) {
      super(grpc, helper);
    }
  }
  grpc.experimental.registerLoadBalancerType(POLICY_NAME, Registered, PolicyConfig);
}

/** How a policy is asked for: by its name, or as an entry of a service config's `loadBalancingConfig`. */
export type PolicyChoice = string | Readonly<Record<string, object>>;

/** @throws InvalidArgumentError when grpc-js does not know the policy. */
export function policyEntry(grpc: Grpc, choice: PolicyChoice): Record<string, object> {
  const entry = typeof choice === 'string' ? { [choice]: {} } : { ...choice };
  const [name, ...others] = Object.keys(entry);
  if (name === undefined || others.length > 0 || !grpc.experimental.isLoadBalancerNameRegistered(name)) {
    throw new InvalidArgumentError(`policy ${name ?? '{}'} is not a load-balancing policy that grpc-js knows`);
  }
  return entry;
}

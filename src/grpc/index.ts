/**
 * Services by name for the program's own `@grpc/grpc-js`: `etcd:///orders` as a channel's target.
 *
 * ```ts
 * import * as grpc from '@grpc/grpc-js';
 * registerEtcdResolver(grpc, new ServiceRegistry(etcd));
 * const orders = new OrdersClient('etcd:///orders', grpc.credentials.createInsecure());
 * ```
 *
 * Each call goes to an instance that is up, chosen by the discovery's own balancer; instances that come take calls as
 * soon as they are connected, and instances that drain take no new ones while those under way end.
 *
 * It stands on what grpc-js calls experimental, and may need a new version of this package with a new minor version of
 * grpc-js. Tested with 1.14.
 *
 * @module
 */

import type { Outcome } from '../../recipes/services/balance/balancer.ts';
import { type Discover, SharedDiscoveries } from '../../recipes/services/shared-discoveries.ts';
import { type Clock, InvalidArgumentError, systemClock } from '../index.ts';
import { checked, type Grpc, type GrpcJs } from './grpc-js.ts';
import { outcomeOfStatus } from './outcome.ts';
import { POLICY_NAME, type PolicyChoice, policyEntry, registerPolicy } from './policy.ts';
import type { Resolution } from './resolver.ts';
import { Scheme } from './scheme.ts';

export type { Discover, ServiceSource } from '../../recipes/services/shared-discoveries.ts';
export type { GrpcJs } from './grpc-js.ts';
export { outcomeOfStatus } from './outcome.ts';
export type { PolicyChoice } from './policy.ts';

/** How names are resolved. */
export interface EtcdResolverOptions {
  /** The targets' scheme. Default `etcd`. */
  readonly scheme?: string | undefined;
  /**
   * The targets' authority, which tells several registries apart: `eu` for `etcd://eu/orders`. Default none:
   * `etcd:///orders`.
   */
  readonly authority?: string | undefined;
  /**
   * The load-balancing policy: `etcdkit`, which asks the discovery's own balancer and tells it how calls end, or one of
   * grpc-js' (`round_robin`, `pick_first`, `{ outlier_detection: … }`). A channel whose `grpc.service_config` names a
   * policy has that one. Default `etcdkit`.
   */
  readonly policy?: PolicyChoice | undefined;
  /** Which of an instance's `ports` speaks gRPC. Default, and for instances without it: the main port. */
  readonly portName?: string | undefined;
  /** The metadata entry whose value is the hash key, for a discovery that balances by `consistent-hash`. Default none. */
  readonly hashMetadata?: string | undefined;
  /**
   * How long calls wait for a service's first list, in milliseconds, before they fail with UNAVAILABLE; those that are
   * `waitForReady` wait on. Default 5,000.
   */
  readonly resolveTimeoutMs?: number | undefined;
  /** What a call's status code says of its instance. Default: {@link outcomeOfStatus}. */
  readonly outcomeOf?: ((code: number) => Outcome) | undefined;
  /** Where time comes from. Default: the machine's. */
  readonly clock?: Clock | undefined;
}

/** A registration. Disposing of it is optional. */
export interface EtcdResolverRegistration extends Disposable {
  /** New channels do not find these services any more. Channels that exist go on. */
  [Symbol.dispose](): void;
}

/**
 * Makes services resolvable for all channels of this copy of grpc-js.
 *
 * grpc-js keeps one table of schemes for the whole process. Registering a scheme and authority again replaces the services
 * for channels that are made from then on; those that exist keep theirs. Registries under different authorities stand
 * side by side.
 *
 * With TLS the server's certificate is checked for the service's name (the `:authority` of calls); the channel option
 * `grpc.ssl_target_name_override` checks it for another. Where `http_proxy` is set, give channels the option
 * `'grpc.enable_http_proxy': 0`: grpc-js would take the service's name for a host that the proxy is to find.
 *
 * @param grpc the program's own `@grpc/grpc-js`, 1.14 or newer: `import * as grpc from '@grpc/grpc-js'`.
 * @param discover a `ServiceRegistry`, or a function that gives the discovery of a service, with options of its own. What
 * it gives is shared by the channels and closed when the last of them needs it no more.
 * @throws InvalidArgumentError when an option is wrong; UnsupportedError when grpc-js is too old.
 */
export function registerEtcdResolver(
  grpc: GrpcJs,
  discover: Discover,
  options: EtcdResolverOptions = {},
): EtcdResolverRegistration {
  const module = checked(grpc);
  const { scheme = 'etcd', authority = '' } = options;
  if (!/^[a-z][a-z0-9+.-]*$/.test(scheme)) throw new InvalidArgumentError(`scheme ${scheme} is not one of a URI`);
  if (authority.includes('/')) throw new InvalidArgumentError(`authority ${authority} contains a slash`);
  registerPolicy(module);
  const resolution = resolutionOf(module, discover, options);
  return Scheme.of(module, scheme).add(authority, resolution);
}

function resolutionOf(grpc: Grpc, discover: Discover, options: EtcdResolverOptions): Resolution {
  const { resolveTimeoutMs = 5_000, policy = POLICY_NAME } = options;
  if (!(resolveTimeoutMs > 0)) throw new InvalidArgumentError(`resolveTimeoutMs ${resolveTimeoutMs} is not positive`);
  return {
    discoveries: new SharedDiscoveries(discover),
    clock: options.clock ?? systemClock,
    resolveTimeoutMs,
    policy: policyEntry(grpc, policy),
    portName: options.portName,
    input: { hashMetadata: options.hashMetadata, outcomeOf: options.outcomeOf ?? outcomeOfStatus },
  };
}

/**
 * The channel's own service config, with a policy of the resolver's.
 *
 * A resolver that names a policy has to give a whole service config, and grpc-js then ignores the one that the program
 * gave the channel (`grpc.service_config`). So it is taken over: retries, time limits and throttling stay what the program
 * said, and a policy that it named wins.
 *
 * Source: the service config's JSON form, https://github.com/grpc/grpc/blob/master/doc/service_config.md
 *
 * @module
 */

import type { ChannelOptions, ServiceConfig } from './grpc-js.ts';

/** As the program wrote it; the channel has checked it by then. */
interface WrittenConfig {
  readonly loadBalancingConfig?: readonly Record<string, object>[];
  readonly methodConfig?: readonly WrittenMethodConfig[];
  readonly retryThrottling?: ServiceConfig['retryThrottling'];
}
interface WrittenMethodConfig extends Omit<ServiceConfig['methodConfig'][number], 'timeout'> {
  readonly timeout?: string | { readonly seconds: number; readonly nanos: number };
}

/** What the program asked for when it made the channel. */
export class ChannelConfig {
  readonly #written: WrittenConfig;

  constructor(options: ChannelOptions) {
    const text = options['grpc.service_config'];
    this.#written = text === undefined ? {} : (JSON.parse(text) as WrittenConfig);
  }

  /** Whether the program named a policy itself. */
  get namesPolicy(): boolean {
    return (this.#written.loadBalancingConfig?.length ?? 0) > 0;
  }

  /** The config with this policy, or with the program's own if `own`. */
  withPolicy(entry: Record<string, object>, own: boolean): ServiceConfig {
    const { loadBalancingConfig, methodConfig = [], retryThrottling } = this.#written;
    return {
      loadBalancingConfig: own && loadBalancingConfig !== undefined ? [...loadBalancingConfig] : [entry],
      methodConfig: methodConfig.map(readMethodConfig),
      ...(retryThrottling === undefined ? {} : { retryThrottling }),
    };
  }
}

function readMethodConfig({ timeout, name, ...rest }: WrittenMethodConfig): ServiceConfig['methodConfig'][number] {
  return {
    ...rest,
    // An empty text and nothing at all mean the same there: every service, every method.
    name: name.map(({ service, method }) => ({
      ...(service ? { service } : {}),
      ...(method ? { method } : {}),
    })),
    ...(timeout === undefined ? {} : { timeout: typeof timeout === 'string' ? readDuration(timeout) : timeout }),
  };
}

/** `1.5s`. */
function readDuration(text: string): { seconds: number; nanos: number } {
  const [seconds = '0', fraction = ''] = text.slice(0, -1).split('.');
  return { seconds: Number(seconds), nanos: Number(fraction.padEnd(9, '0')) };
}

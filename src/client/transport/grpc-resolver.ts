/**
 * Names and addresses as grpc-js resolves them, with one thing added: a way to end a
 * connection that TCP has not made yet.
 *
 * grpc-js hands a socket to the credentials once it is connected, and forgets it until then.
 * Where packets are dropped and nothing answers to a SYN, the system goes on for two minutes,
 * and so would the process. But grpc-js connects with `net.connect(address)` and the very
 * object that the resolver gave it, and `net.connect` takes an `AbortSignal`. So each
 * connection has a signal of its own on its addresses, and firing it destroys its sockets.
 *
 * The scheme is registered with grpc-js for the whole process, under a name of ours.
 *
 * @module
 */

import { setMaxListeners } from 'node:events';
import { type ChannelOptions, experimental } from '@grpc/grpc-js';

const SCHEME = 'etcdkit-dns';
const SIGNAL_OPTION = 'etcdkit.connecting';

/** The target to dial `host:port`, and the options that tie its sockets to a signal. */
export function abortableTarget(hostPort: string, signal: AbortSignal): { target: string; options: ChannelOptions } {
  // One listener for each of a name's addresses.
  setMaxListeners(0, signal);
  return { target: `${SCHEME}:${hostPort}`, options: { [SIGNAL_OPTION]: signal } };
}

class AbortableResolver implements experimental.Resolver {
  readonly #resolver: experimental.Resolver;

  constructor(target: experimental.GrpcUri, listener: experimental.ResolverListener, options: ChannelOptions) {
    const signal = options[SIGNAL_OPTION] as AbortSignal;
    this.#resolver = experimental.createResolver(
      { ...target, scheme: 'dns' },
      (resolved, ...rest) => {
        if (!resolved.ok) return listener(resolved, ...rest);
        const endpoints = resolved.value.map(({ addresses }) => ({
          addresses: addresses.map((address) => ({ ...address, signal })),
        }));
        return listener(experimental.statusOrFromValue(endpoints), ...rest);
      },
      options,
    );
  }

  updateResolution(): void {
    this.#resolver.updateResolution();
  }

  destroy(): void {
    this.#resolver.destroy();
  }

  static getDefaultAuthority({ path }: experimental.GrpcUri): string {
    return path;
  }
}

experimental.registerResolver(SCHEME, AbortableResolver);

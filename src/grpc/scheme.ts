/**
 * Who serves a scheme's targets.
 *
 * grpc-js knows one resolver for each scheme, for the whole process; here it finds, by the target's authority, the
 * registration that a channel belongs to. A target that nobody serves is refused when its channel is made.
 *
 * @module
 */

import { InvalidArgumentError } from '../index.ts';
import type { ChannelOptions, Grpc, GrpcUri, ResolverListener } from './grpc-js.ts';
import { EtcdResolver, type Resolution } from './resolver.ts';

const schemes = new WeakMap<Grpc, Map<string, Scheme>>();

export class Scheme {
  readonly #name: string;
  readonly #byAuthority = new Map<string, Resolution>();

  private constructor(name: string) {
    this.#name = name;
  }

  /** The scheme of this copy of grpc-js, registered there with the first call. */
  static of(grpc: Grpc, name: string): Scheme {
    const known = schemes.get(grpc) ?? new Map<string, Scheme>();
    schemes.set(grpc, known);
    const scheme = known.get(name) ?? new Scheme(name);
    known.set(name, scheme);
    class Registered extends EtcdResolver {
      constructor(target: GrpcUri, listener: ResolverListener, options: ChannelOptions) {
        const { resolution, service } = scheme.#find(target);
        super(grpc, resolution, service, listener, options);
      }

      /** The `:authority` of calls, and the name that certificates are checked for. */
      static getDefaultAuthority(target: GrpcUri): string {
        return encodeURIComponent(scheme.#find(target).service);
      }
    }
    // Each time: something else may have taken the scheme meanwhile.
    grpc.experimental.registerResolver(name, Registered);
    return scheme;
  }

  /** Serves an authority's targets, until the result is disposed of or another one is added. */
  add(authority: string, resolution: Resolution): Disposable {
    this.#byAuthority.set(authority, resolution);
    return {
      [Symbol.dispose]: () => {
        if (this.#byAuthority.get(authority) === resolution) this.#byAuthority.delete(authority);
      },
    };
  }

  /** @throws InvalidArgumentError when nobody serves the target. */
  #find(target: GrpcUri): { resolution: Resolution; service: string } {
    const { authority = '', path } = target;
    const resolution = this.#byAuthority.get(authority);
    const text = `${this.#name}://${authority}/${path}`;
    if (resolution === undefined) throw new InvalidArgumentError(`no registry is registered for the target ${text}`);
    return { resolution, service: path };
  }
}

/**
 * The user's own `@grpc/grpc-js`, as far as it is needed.
 *
 * Resolvers and policies are registered in a module's own tables, so they have to go into the very copy that makes the
 * channels; hence it is passed in, and nothing here imports one. Types of two versions of grpc-js do not mix (their
 * classes have private members), so what users pass is asked for little, and checked when it comes.
 *
 * All of it is in the namespace `experimental`, which may break in any minor version of grpc-js; this is written for, and
 * tested with, 1.14.
 *
 * @module
 */

import type * as grpcJs from '@grpc/grpc-js';
import { UnsupportedError } from '../index.ts';

/** `import * as grpc from '@grpc/grpc-js'`: the module itself, version 1.14 or newer. */
export interface GrpcJs {
  readonly experimental: {
    /** For one scheme of targets. */
    registerResolver(scheme: string, resolver: never): void;
    /** For one name in service configs. */
    registerLoadBalancerType(name: string, balancer: never, config: never): void;
  };
}

export type Grpc = typeof grpcJs;
export type Resolver = grpcJs.experimental.Resolver;
export type ResolverListener = grpcJs.experimental.ResolverListener;
export type ServiceConfig =
  Exclude<Parameters<ResolverListener>[2], null> extends infer S
    ? S extends { ok: true; value: infer V }
      ? V
      : never
    : never;
export type GrpcUri = grpcJs.experimental.GrpcUri;
export type Endpoint = grpcJs.experimental.Endpoint;
export type LoadBalancer = grpcJs.experimental.LoadBalancer;
export type LeafLoadBalancer = grpcJs.experimental.LeafLoadBalancer;
export type ChannelControlHelper = grpcJs.experimental.ChannelControlHelper;
export type TypedLoadBalancingConfig = grpcJs.experimental.TypedLoadBalancingConfig;
export type Picker = grpcJs.experimental.Picker;
export type PickArgs = grpcJs.experimental.PickArgs;
export type PickResult = grpcJs.experimental.PickResult;
export type StatusOr<T> = grpcJs.experimental.StatusOr<T>;
export type ChannelOptions = grpcJs.ChannelOptions;

const NEEDED = [
  'registerResolver',
  'registerLoadBalancerType',
  'createChildChannelControlHelper',
  'statusOrFromValue',
  'statusOrFromError',
  'LeafLoadBalancer',
  'BackoffTimeout',
  'PickResultType',
] as const satisfies readonly (keyof Grpc['experimental'])[];

/** @throws UnsupportedError when what was passed is not grpc-js, or an older one. */
export function checked(module: GrpcJs): Grpc {
  const grpc = module as unknown as Grpc;
  const missing = NEEDED.filter((name) => grpc.experimental?.[name] === undefined);
  if (missing.length > 0) {
    throw new UnsupportedError(
      `@grpc/grpc-js 1.14 or newer is needed: ${missing.join(', ')} is not in what was passed`,
    );
  }
  return grpc;
}

/**
 * Under which name the resolver hands the service to the policy. Options whose name begins so do not become a part of a
 * connection's identity: connections are shared by channels that differ in nothing else.
 */
export const SERVICE_KEY = 'grpc.internal.no_subchannel.etcdkit.service';

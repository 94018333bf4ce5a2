/** What tests of locks share: clients with sessions, proxies in front of etcd, and a look at what is left. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Session } from '../../recipes/session.ts';
import { Etcd, type EtcdOptions } from '../../src/index.ts';
import type { EtcdSuite } from '../support/fixtures.ts';
import { GrpcFaultProxy } from '../support/grpc-fault-proxy.ts';

export const TXN = '/etcdserverpb.KV/Txn';
export const PUT = '/etcdserverpb.KV/Put';
export const RANGE = '/etcdserverpb.KV/Range';
export const DELETE = '/etcdserverpb.KV/DeleteRange';
export const GRANT = '/etcdserverpb.Lease/LeaseGrant';
export const REVOKE = '/etcdserverpb.Lease/LeaseRevoke';
export const WATCH = '/etcdserverpb.Watch/Watch';

/** Also for clients that wait for an answer only shortly: the connection has to be made first. */
export const OPEN_TIMEOUT_MS = 10_000;

/** A client with a session, both closed together. */
export class Actor implements AsyncDisposable {
  readonly etcd: Etcd;
  readonly session: Session;

  private constructor(etcd: Etcd, session: Session) {
    this.etcd = etcd;
    this.session = session;
  }

  static async open(
    endpoints: readonly string[],
    { ttlSeconds = 30, owner, ...options }: EtcdOptions & { ttlSeconds?: number; owner?: string } = {},
  ): Promise<Actor> {
    const etcd = new Etcd({ endpoints, ...options });
    try {
      return new Actor(etcd, await Session.open(etcd, { ttlSeconds, owner, timeoutMs: OPEN_TIMEOUT_MS }));
    } catch (error) {
      await etcd.close();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session.close();
    await this.etcd.close();
  }
}

/** Opens actors that reach the suite's cluster directly. */
export function opener(suite: EtcdSuite): (options?: Parameters<typeof Actor.open>[1]) => Promise<Actor> {
  return (options) => Actor.open(suite.cluster.endpoints, options);
}

/** A gRPC proxy in front of the cluster's first member, and how many calls each path got. */
export async function grpcProxy(suite: EtcdSuite): Promise<GrpcFaultProxy> {
  return GrpcFaultProxy.start({ target: hostOf(suite) });
}

export function hostOf(suite: EtcdSuite): string {
  return new URL(suite.cluster.endpoints[0] as string).host;
}

/** A name that no other test has. */
export function uniqueName(suite: EtcdSuite): string {
  return suite.prefix().replaceAll('/', '');
}

/** Counts unary calls of the key-value service between now and the call of what it returns. */
export function countCalls(proxy: GrpcFaultProxy): () => Record<string, number> {
  const start = proxy.calls.length;
  return () => {
    const counts: Record<string, number> = {};
    for (const { path } of proxy.calls.slice(start)) {
      if (path.startsWith('/etcdserverpb.KV/')) counts[path] = (counts[path] ?? 0) + 1;
    }
    return counts;
  };
}

/** Looks until it is so; the test has the time limit. Throws the reason when the signal fires. */
export async function until(condition: () => boolean | Promise<boolean>, signal?: AbortSignal): Promise<void> {
  while (!(await condition())) {
    signal?.throwIfAborted();
    await sleep(5);
  }
}

/** Resolves when the signal has fired. */
export function fired(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Waits until nothing is left below a prefix. */
export async function untilEmpty(etcd: Etcd, prefix: string): Promise<void> {
  await until(async () => (await etcd.count({ prefix })) === 0);
}

/** Waits until so many keys are below a prefix: so many have entered. */
export async function untilCount(etcd: Etcd, prefix: string, count: number): Promise<void> {
  await until(async () => (await etcd.count({ prefix })) === count);
}

/** Waits until `etcd` watches something below what the test does next: so many watchers on the proxy's streams. */
export async function untilWatching(proxy: GrpcFaultProxy, requests: number): Promise<void> {
  await proxy.waitFor((calls) => {
    const sent = calls.filter(({ path }) => path === WATCH).reduce((sum, call) => sum + call.requestMessages, 0);
    return sent >= requests;
  });
}

/** Waits until so many answers came on one watch stream: one for each watcher that is there now, then its events. */
export async function untilWatched(proxy: GrpcFaultProxy, answers: number): Promise<void> {
  await proxy.waitFor((calls) => calls.some((call) => call.path === WATCH && call.responseMessages >= answers));
}

/**
 * Breaks the watches of those behind the proxy, and compacts the store before they are back: where they would go on there
 * is no history any more. `meanwhile` happens before the compaction.
 */
export async function compactWhileCutOff(
  proxy: GrpcFaultProxy,
  { etcd }: { readonly etcd: Etcd },
  meanwhile?: () => Promise<unknown>,
): Promise<void> {
  const hang = proxy.rule({ path: WATCH, action: 'hang' });
  proxy.cut();
  await hang.waitApplied();
  for (const value of ['x', 'y']) await etcd.put('lock-bed-other', value);
  await meanwhile?.();
  await etcd.compact(await etcd.revision());
  proxy.clearRules();
  proxy.cut();
}

/** Something that is waited for, and whether it has come. */
export function awaited<T>(promise: Promise<T>): { readonly promise: Promise<T>; readonly came: boolean } {
  let came = false;
  const noting = promise.then((value) => {
    came = true;
    return value;
  });
  return {
    promise: noting,
    get came() {
      return came;
    },
  };
}

/** What a promise came to, without throwing. */
export async function outcome<T>(promise: Promise<T>): Promise<{ value?: T; error?: unknown }> {
  try {
    return { value: await promise };
  } catch (error) {
    return { error };
  }
}

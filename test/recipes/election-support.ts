/** What the tests of elections and groups share. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { Session } from '../../recipes/session.ts';
import { Etcd, type LeaseId, type Revision } from '../../src/index.ts';
import type { EtcdSuite } from '../support/fixtures.ts';
import { GrpcFaultProxy } from '../support/grpc-fault-proxy.ts';

export const TXN = '/etcdserverpb.KV/Txn';
export const RANGE = '/etcdserverpb.KV/Range';
export const DELETE = '/etcdserverpb.KV/DeleteRange';
export const WATCH = '/etcdserverpb.Watch/Watch';

const KV_CALLS = /^\/etcdserverpb\.KV\//;

/** A program with a client and a session of its own. */
export class Program implements AsyncDisposable {
  readonly etcd: Etcd;
  readonly session: Session;
  /** Present if it reaches the cluster through one. */
  readonly proxy: GrpcFaultProxy | undefined;

  private constructor(etcd: Etcd, session: Session, proxy: GrpcFaultProxy | undefined) {
    this.etcd = etcd;
    this.session = session;
    this.proxy = proxy;
  }

  static async start(
    suite: EtcdSuite,
    options: { ttlSeconds?: number; proxied?: boolean; endpoint?: string; timeoutMs?: number } = {},
  ): Promise<Program> {
    const member = suite.cluster.members[0]!.address;
    const proxy = options.proxied ? await GrpcFaultProxy.start({ target: member }) : undefined;
    const endpoint = options.endpoint ?? proxy?.address ?? member;
    const etcd = new Etcd({ endpoints: [endpoint], timeoutMs: options.timeoutMs });
    const session = await Session.open(etcd, { ttlSeconds: options.ttlSeconds ?? 10, timeoutMs: 10_000 });
    return new Program(etcd, session, proxy);
  }

  /** How many calls about keys it has made. */
  get kvCalls(): number {
    return this.proxy!.calls.filter((call) => KV_CALLS.test(call.path)).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session.close();
    await this.etcd.close();
    await this.proxy?.[Symbol.asyncDispose]();
  }
}

/** Looks until it is so; the caller's test has the time limit. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(10);
}

/** The keys below a prefix. */
export async function keysOf(etcd: Etcd, prefix: string): Promise<string[]> {
  const { kvs } = await etcd.range({ prefix });
  return kvs.map((kv) => kv.key);
}

/** Waits until a queue holds so many keys. */
export async function untilKeys(etcd: Etcd, prefix: string, count: number): Promise<void> {
  await until(async () => (await etcd.count({ prefix })) === count);
}

/** Nothing is left below a prefix. */
export async function expectEmpty(etcd: Etcd, prefix: string): Promise<void> {
  await until(async () => (await etcd.count({ prefix })) === 0);
  expect(await keysOf(etcd, prefix)).toEqual([]);
}

/** Forgets all history up to now. */
export async function compactAll(etcd: Etcd): Promise<Revision> {
  const { revision } = await etcd.put('test-compaction', '');
  await etcd.compact(revision);
  return revision;
}

/** How a promise stands, after everything that can happen without time has happened. */
export async function stateOf(promise: Promise<unknown>): Promise<'pending' | 'resolved' | 'rejected'> {
  let state: 'pending' | 'resolved' | 'rejected' = 'pending';
  promise.then(
    () => {
      state = 'resolved';
    },
    () => {
      state = 'rejected';
    },
  );
  await sleep(0);
  return state;
}

/** A candidate or contender as Go's `concurrency` package writes it. */
export async function goKey(etcd: Etcd, prefix: string, value = ''): Promise<{ key: string; lease: LeaseId }> {
  const { id } = await etcd.leases.grant({ ttlSeconds: 60 });
  const key = `${prefix}${BigInt.asUintN(64, id).toString(16)}`;
  await etcd.put(key, value, { lease: id });
  return { key, lease: id };
}

/** What the tests of the queues share: clients behind a proxy that knows gRPC, and looks at what is left. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Session, type SessionOptions } from '../../recipes/session.ts';
import { type Clock, Etcd, type EtcdOptions, systemClock, type Timer } from '../../src/index.ts';
import type { EtcdSuite } from '../support/fixtures.ts';
import { GrpcFaultProxy } from '../support/grpc-fault-proxy.ts';
import { OPEN_TIMEOUT_MS } from './lock-bed.ts';

export const TXN = '/etcdserverpb.KV/Txn';
export const WATCH = '/etcdserverpb.Watch/Watch';

/** What a work queue's keeper that has work to do watches, once it has looked: claims, delayed jobs, its own place. */
export const KEEPER_WATCHES = 3;

/** One process, as it were: a client of its own with a session, behind a proxy of its own. */
export class Party implements AsyncDisposable {
  readonly etcd: Etcd;
  readonly session: Session;
  readonly proxy: GrpcFaultProxy;

  private constructor(etcd: Etcd, session: Session, proxy: GrpcFaultProxy) {
    this.etcd = etcd;
    this.session = session;
    this.proxy = proxy;
  }

  static async join(suite: EtcdSuite, options: SessionOptions & { client?: EtcdOptions } = {}): Promise<Party> {
    const { client, ...sessionOptions } = options;
    const proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
    const etcd = new Etcd({ endpoints: proxy.address, ...client });
    const session = await Session.open(etcd, { ttlSeconds: 60, timeoutMs: OPEN_TIMEOUT_MS, ...sessionOptions });
    return new Party(etcd, session, proxy);
  }

  /** How many unary calls of the key-value service there were so far. */
  get calls(): number {
    return this.proxy.calls.filter(({ path }) => path.startsWith('/etcdserverpb.KV/')).length;
  }

  /** How many unary calls something takes. */
  async roundTrips(work: () => Promise<unknown>): Promise<number> {
    const before = this.calls;
    await work();
    return this.calls - before;
  }

  /** Waits until nothing more is called for a while: what was set going in the background has come to rest. */
  async quiet(): Promise<void> {
    for (let before = -1; before !== this.calls; ) {
      before = this.calls;
      await sleep(150);
    }
  }

  /** Waits until so many watchers have been asked for, all in all, since the start. */
  async watching(requests: number): Promise<void> {
    await this.proxy.waitFor((calls) => {
      const sent = calls.filter(({ path }) => path === WATCH).reduce((sum, call) => sum + call.requestMessages, 0);
      return sent >= requests;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.proxy.clearRules();
    await this.session.close();
    await this.etcd.close();
    await this.proxy[Symbol.asyncDispose]();
  }
}

/** The machine's clock, which can be put forward; timers as long as `fromMs` to `toMs` wait for that alone. */
export class SteppedClock implements Clock {
  readonly #length: { readonly fromMs: number; readonly toMs: number };
  readonly #timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  #aheadMs = 0;
  #steppedAt = 0;

  constructor(length: { readonly fromMs: number; readonly toMs: number }) {
    this.#length = length;
  }

  now(): number {
    return systemClock.now() + this.#aheadMs;
  }

  after(delayMs: number, callback: () => void, options?: Parameters<Clock['after']>[2]): Timer {
    if (delayMs < this.#length.fromMs || delayMs > this.#length.toMs)
      return systemClock.after(delayMs, callback, options);
    const timer = { at: this.now() + delayMs, callback };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** How many timers of that length have so long to go yet, but for what real time has passed since the last step. */
  waiting(leftMs: number): number {
    return [...this.#timers].filter(({ at }) => at >= this.#steppedAt + leftMs).length;
  }

  step(ms: number): void {
    this.#aheadMs += ms;
    this.#steppedAt = this.now();
    for (const timer of this.#timers) if (timer.at <= this.now() && this.#timers.delete(timer)) timer.callback();
  }
}

/** A name that no other test uses. */
export function newName(): string {
  return `q-${randomBytes(6).toString('hex')}`;
}

/** The keys below a prefix, without the receipts, which stand for a session and go with it. */
export async function keysBelow(etcd: Etcd, prefix: string): Promise<string[]> {
  const { kvs } = await etcd.range({ prefix }, { keysOnly: true });
  return kvs.map(({ key }) => key.slice(prefix.length)).filter((key) => !/(^|\/)receipts\//.test(key));
}

/** Looks until it is so; the test's time limit is the caller's. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(10);
}

/** What a promise came to, without throwing. */
export function outcome<T>(promise: Promise<T>): Promise<T | Error> {
  return promise.catch((error: unknown) => error as Error);
}

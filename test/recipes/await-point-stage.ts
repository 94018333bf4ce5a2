/** One actor on its stage: a client behind a gate of its own, with a session, and a rival who is not struck. */
import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Session } from '../../recipes/session.ts';
import type { Etcd, KeyValue } from '../../src/index.ts';
import { GrpcFaultProxy } from '../support/grpc-fault-proxy.ts';
import { SteppableClock } from '../support/steppable-clock.ts';
import { Gate, type Strike } from './await-point-faults.ts';
import { Actor } from './lock-bed.ts';

/** What a scenario works with. */
export interface Stage {
  /** A name that no other run has. */
  readonly name: string;
  /** `<name>/`, below which the recipes' keys are. */
  readonly prefix: string;
  /** The actor's client: everything it sends passes the gate. */
  readonly etcd: Etcd;
  /** The actor's session, open before the actor begins. */
  readonly session: Session;
  /** The time to live of that session, for those the actor opens by itself. */
  readonly ttlSeconds: number;
  /** Somebody else, with a client that is not struck. */
  readonly rival: { readonly etcd: Etcd; readonly session: Session };
  /** Fires when the actor has ended. */
  readonly over: AbortSignal;
  /** Resolves when so many keys are below the prefix, or the actor has ended. */
  entered(count: number): Promise<void>;
  /** Resolves when so many requests for watchers have gone on to etcd since the actor began, or it has ended. */
  watching(count: number): Promise<void>;
}

/** What the bed does with a stage. */
export interface OpenStage extends Stage, AsyncDisposable {
  /** The await points since it was armed. */
  readonly points: readonly string[];
  readonly struck: boolean;
  /** What went wrong with striking, which is nobody's fault but the bed's. */
  readonly failure: unknown;
  /** The actor begins. */
  arm(): void;
  /** The actor has ended. */
  disarm(): void;
  /** Delivers what is still to come late. */
  deliverLate(): Promise<void>;
}

/** How to open one. */
export interface StageOptions {
  /** etcd's `host:port`. */
  readonly target: string;
  readonly name: string;
  readonly operator: Etcd;
  readonly ttlSeconds: number;
  readonly strike?: Strike | undefined;
  readonly mine?: ((kv: KeyValue<string>) => boolean) | undefined;
}

export async function openStage(options: StageOptions): Promise<OpenStage> {
  const { target, name, operator, ttlSeconds, strike, mine } = options;
  const prefix = `${name}/`;
  const clock = new SteppableClock();
  const over = new AbortController();
  const changes = new EventEmitter().setMaxListeners(0);
  const gate = new Gate({ strike, name, target, operator, clock, stallMs: (ttlSeconds + 1) * 1_000, mine }, () =>
    changes.emit('change'),
  );
  const proxy = await GrpcFaultProxy.start({ target, gate: gate.pass });
  const [actor, rival] = await Promise.all([
    Actor.open([proxy.address], { clock, ttlSeconds }),
    Actor.open([target], { ttlSeconds }),
  ]);
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await Promise.all([actor[Symbol.asyncDispose](), rival[Symbol.asyncDispose]()]);
    await proxy[Symbol.asyncDispose]();
  };
  return {
    name,
    prefix,
    etcd: actor.etcd,
    session: actor.session,
    ttlSeconds,
    rival,
    over: over.signal,
    points: gate.points,
    get struck() {
      return gate.struck;
    },
    get failure() {
      return gate.failure;
    },
    async entered(count) {
      while (!over.signal.aborted && (await operator.count({ prefix })) < count) await sleep(5);
    },
    async watching(count) {
      while (!over.signal.aborted && gate.passed('Watch.create') < count) await once(changes, 'change');
    },
    arm: () => gate.arm(),
    deliverLate: () => gate.deliverLate(),
    disarm() {
      gate.disarm();
      over.abort();
      changes.emit('change');
    },
    [Symbol.asyncDispose]() {
      closed ??= close();
      return closed;
    },
  };
}

/** The result of some work, unless it takes too long: then it rejects, and nobody listens to the work any more. */
export async function within<T>(limitMs: number, work: Promise<T>): Promise<T> {
  const stop = new AbortController();
  const late = sleep(limitMs, undefined, { signal: stop.signal }).then(
    () => Promise.reject(new Error(`not within ${limitMs} ms`)),
    () => new Promise<never>(() => {}),
  );
  try {
    return await Promise.race([work, late]);
  } finally {
    stop.abort();
  }
}

/** One actor on its stage: a client behind a gate of its own, with a session, and a rival who is not struck. */
import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Session } from '../../recipes/session.ts';
import type { Etcd, KeyValue } from '../../src/index.ts';
import { GrpcFaultProxy } from '../support/grpc-fault-proxy.ts';
import { SteppableClock } from '../support/steppable-clock.ts';
import { countingWatches } from './await-point-counter.ts';
import { Gate, type Strike } from './await-point-faults.ts';
import { Actor } from './lock-bed.ts';

/** What a scenario works with. */
export interface Stage {
  /** A name that no other run has. */
  readonly name: string;
  /** `<name>/`, below which the recipes' keys are. */
  readonly prefix: string;
  /** The actor's client: everything that an actor who may be struck sends passes the gate. */
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
  /** The client of all rivals: nobody strikes it, so they need none of their own. */
  readonly rivals: Etcd;
  readonly ttlSeconds: number;
  /** Whether the actor goes to etcd without a gate: it cannot be struck, and has no {@link OpenStage.points}. Default false. */
  readonly direct?: boolean | undefined;
  readonly strike?: Strike | undefined;
  readonly mine?: ((kv: KeyValue<string>) => boolean) | undefined;
}

export async function openStage(options: StageOptions): Promise<OpenStage> {
  const { name, operator, rivals, ttlSeconds } = options;
  const prefix = `${name}/`;
  const over = new AbortController();
  const changes = new EventEmitter().setMaxListeners(0);
  const onChange = (): void => void changes.emit('change');
  const [door, rival] = await Promise.all([
    options.direct ? openDirectly(options, onChange) : openBehindGate(options, onChange),
    Session.open(rivals, { ttlSeconds }),
  ]);
  const { actor, gate } = door;
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await Promise.all([actor[Symbol.asyncDispose](), rival.close()]);
    await door.proxy?.[Symbol.asyncDispose]();
  };
  return {
    name,
    prefix,
    etcd: actor.etcd,
    session: actor.session,
    ttlSeconds,
    rival: { etcd: rivals, session: rival },
    over: over.signal,
    points: gate?.points ?? [],
    get struck() {
      return gate?.struck ?? false;
    },
    get failure() {
      return gate?.failure;
    },
    async entered(count) {
      while (!over.signal.aborted && (await operator.count({ prefix })) < count) await sleep(5);
    },
    async watching(count) {
      while (!over.signal.aborted && door.watching() < count) await once(changes, 'change');
    },
    arm: () => gate?.arm(),
    deliverLate: async () => gate?.deliverLate(),
    disarm() {
      gate?.disarm();
      over.abort();
      onChange();
    },
    [Symbol.asyncDispose]() {
      closed ??= close();
      return closed;
    },
  };
}

/** How an actor gets to etcd. */
interface Door {
  readonly actor: Actor;
  readonly gate?: Gate;
  readonly proxy?: GrpcFaultProxy;
  /** How many watchers it has asked for. */
  readonly watching: () => number;
}

async function openBehindGate(options: StageOptions, onChange: () => void): Promise<Door> {
  const { target, name, operator, ttlSeconds, strike, mine } = options;
  const clock = new SteppableClock();
  const stallMs = (ttlSeconds + 1) * 1_000;
  const gate = new Gate({ strike, name, target, operator, clock, stallMs, mine }, onChange);
  const proxy = await GrpcFaultProxy.start({ target, gate: gate.pass });
  const actor = await Actor.open([proxy.address], { clock, ttlSeconds });
  return { actor, gate, proxy, watching: () => gate.passed('Watch.create') };
}

async function openDirectly({ target, ttlSeconds }: StageOptions, onChange: () => void): Promise<Door> {
  let created = 0;
  const transport = countingWatches(() => {
    created += 1;
    onChange();
  });
  const actor = await Actor.open([target], { transport, ttlSeconds });
  return { actor, watching: () => created };
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

/** A cluster of members that answer lease calls as a test says, on virtual time and without sockets. */
import { Caller } from '../../../src/client/connection/caller.ts';
import { Pool } from '../../../src/client/connection/pool.ts';
import { type Credentials, TokenSource } from '../../../src/client/connection/token.ts';
import { LeaseKeeper } from '../../../src/client/lease/keeper.ts';
import { Leases } from '../../../src/client/lease/leases.ts';
import { parseEndpoint } from '../../../src/client/transport/address.ts';
import {
  type CallFailure,
  type CallMetadata,
  type EndpointAddress,
  type StreamHandlers,
  type Transport,
  TransportError,
  type TransportState,
  type TransportStream,
  type UnaryOptions,
} from '../../../src/client/transport/transport.ts';
import type { LeaseId } from '../../../src/protocol/int64.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

/** What a member does with a keepalive request. A number is the TTL it answers; `silence` answers nothing. */
export type Reaction = number | 'silence' | 'end' | CallFailure;

/** A failure as the transport reports it. */
export function failure(grpcCode: GrpcCode, details: string, sent: 'no' | 'maybe' = 'maybe'): CallFailure {
  return { grpcCode, details, sent };
}

/** One keepalive stream as the member sees it. */
export class ScriptedStream {
  readonly member: ScriptedMember;
  readonly metadata: CallMetadata;
  /** What was asked, in order. */
  readonly asked: { id: bigint; at: number }[] = [];
  closed = false;
  cancelled = false;
  readonly #handlers: StreamHandlers<unknown>;
  readonly #unread: unknown[] = [];
  #wanted = 0;

  constructor(member: ScriptedMember, metadata: CallMetadata, handlers: StreamHandlers<unknown>) {
    this.member = member;
    this.metadata = metadata;
    this.#handlers = handlers;
  }

  answer(id: bigint, ttlSeconds: number): void {
    this.#unread.push({ header: { revision: 7n }, ID: id, TTL: BigInt(ttlSeconds) });
    this.#deliver();
  }

  /** Hands over what the client has asked for. */
  #deliver(): void {
    while (this.#wanted > 0 && this.#unread.length > 0 && !this.closed) {
      this.#wanted -= 1;
      this.#handlers.onMessage(this.#unread.shift());
    }
  }

  end(failed?: CallFailure): void {
    if (this.closed) return;
    this.closed = true;
    this.#handlers.onClose(failed);
  }

  client(): TransportStream<never> {
    return {
      send: (message: { ID: bigint }) => {
        if (this.closed) return;
        this.asked.push({ id: message.ID, at: this.member.cluster.clock.now() });
        queueMicrotask(() => this.#react(message.ID));
      },
      halfClose: () => {},
      pull: () => {
        this.#wanted += 1;
        queueMicrotask(() => this.#deliver());
      },
      cancel: () => {
        this.cancelled = true;
        this.end(failure(GrpcCode.CANCELLED, 'cancelled by the client'));
      },
    };
  }

  #react(id: bigint): void {
    const reaction = this.member.keepAlive(id, this);
    if (reaction === 'silence') return;
    if (reaction === 'end') this.end();
    else if (typeof reaction === 'number') {
      const { delayMs } = this.member;
      if (delayMs === 0) this.answer(id, reaction);
      else this.member.cluster.clock.after(delayMs, () => this.answer(id, reaction));
    } else this.end(reaction);
  }
}

/** One member; assign its functions to script it. */
export class ScriptedMember implements Transport {
  readonly cluster: ScriptedCluster;
  readonly name: string;
  readonly streams: ScriptedStream[] = [];
  readonly calls: { path: string; request: Record<string, unknown>; at: number }[] = [];
  state: TransportState = 'idle';
  /** Whether it can be connected to, and answers probes. */
  up = true;
  /** Whether streams opened on it find the connection gone. */
  stale = false;
  /** How long an answer to a keepalive takes. */
  delayMs = 0;
  /** What it does with a keepalive. */
  keepAlive: (id: bigint, stream: ScriptedStream) => Reaction = () => this.cluster.ttlSeconds;
  /** What it answers to a unary call; throw a TransportError to refuse. */
  unaryAnswer: (path: string, request: Record<string, unknown>) => unknown;

  constructor(cluster: ScriptedCluster, name: string) {
    this.cluster = cluster;
    this.name = name;
    this.unaryAnswer = (path, request) => cluster.defaultAnswer(path, request);
  }

  async connect(): Promise<void> {
    if (!this.up) throw new Error('down');
    this.state = 'ready';
  }

  async unary<I, O>(method: MethodDescriptor<I, O>, request: Init<I>, _options: UnaryOptions): Promise<O> {
    const record = request as Record<string, unknown>;
    this.calls.push({ path: method.path, request: record, at: this.cluster.clock.now() });
    return (await this.unaryAnswer(method.path, record)) as O;
  }

  stream<I, O>(
    _method: MethodDescriptor<I, O>,
    options: { metadata: CallMetadata },
    handlers: StreamHandlers<O>,
  ): TransportStream<I> {
    const stream = new ScriptedStream(this, options.metadata, handlers);
    this.streams.push(stream);
    if (this.stale) queueMicrotask(() => stream.end(failure(GrpcCode.UNAVAILABLE, 'not connected', 'no')));
    return stream.client();
  }

  close(): void {
    this.state = 'closed';
  }
}

export interface ScriptedClusterOptions {
  readonly members?: number;
  readonly ttlSeconds?: number;
  readonly credentials?: Credentials;
  readonly timeoutMs?: number;
  /** Where in its range every random pause lies, from 0 to 1. Default 0: the shortest. */
  readonly jitter?: number;
}

/** A client of the lease services on scripted members. */
export class ScriptedCluster {
  readonly clock = new VirtualClock();
  readonly members: ScriptedMember[];
  readonly caller: Caller;
  readonly keeper: LeaseKeeper;
  readonly leases: Leases;
  /** The time to live that grants and renewals are answered with. */
  ttlSeconds: number;
  logins = 0;
  #ids = 100n;

  constructor({
    members = 1,
    ttlSeconds = 6,
    credentials,
    timeoutMs = 5_000,
    jitter = 0,
  }: ScriptedClusterOptions = {}) {
    const { clock } = this;
    this.ttlSeconds = ttlSeconds;
    this.members = Array.from({ length: members }, (_, index) => new ScriptedMember(this, `m${index + 1}:2379`));
    const tokens = new TokenSource(credentials, async () => `token-${++this.logins}`, clock);
    // The same each time: what a test counts does not vary.
    const random = (): number => jitter;
    const pool = new Pool(
      this.members.map(({ name }) => parseEndpoint(name, false)),
      {
        clock,
        random,
        transports: (address: EndpointAddress) => this.member(address.name),
        probe: async (member) => {
          if (!this.member(member.name).up) throw new Error('down');
          return { hasLeader: true };
        },
      },
    );
    this.caller = new Caller({
      pool,
      tokens,
      clock,
      random,
      timeoutMs,
      requireLeader: true,
      secureByDefault: false,
      retry: { initialMs: 25, maxMs: 1_000, maxAttempts: 20 },
    });
    this.keeper = new LeaseKeeper(this.caller);
    this.leases = new Leases(this.caller, this.keeper, () => this.#ids++ as LeaseId);
  }

  member(name: string): ScriptedMember {
    const found = this.members.find((member) => name.endsWith(member.name));
    if (found === undefined) throw new Error(`no member ${name}`);
    return found;
  }

  /** All keepalive streams of all members. */
  get streams(): ScriptedStream[] {
    return this.members.flatMap((member) => member.streams);
  }

  get openStreams(): ScriptedStream[] {
    return this.streams.filter((stream) => !stream.closed);
  }

  /** Every keepalive asked of anybody, in time order. */
  get asked(): { id: bigint; at: number; member: string }[] {
    return this.streams
      .flatMap((stream) => stream.asked.map((ask) => ({ ...ask, member: stream.member.name })))
      .sort((a, b) => a.at - b.at);
  }

  /** Unary calls of all members whose path ends like this. */
  calls(suffix: string): { path: string; request: Record<string, unknown> }[] {
    return this.members.flatMap((member) => member.calls).filter((call) => call.path.endsWith(suffix));
  }

  script(keepAlive: ScriptedMember['keepAlive']): void {
    for (const member of this.members) member.keepAlive = keepAlive;
  }

  defaultAnswer(path: string, request: Record<string, unknown>): unknown {
    const header = { revision: 7n };
    if (path.endsWith('LeaseGrant')) return { header, ID: request['ID'], TTL: BigInt(this.ttlSeconds), error: '' };
    if (path.endsWith('LeaseRevoke')) return { header };
    if (path.endsWith('LeaseTimeToLive')) {
      return {
        header,
        ID: request['ID'],
        TTL: BigInt(this.ttlSeconds - 1),
        grantedTTL: BigInt(this.ttlSeconds),
        keys: [],
      };
    }
    throw new TransportError(failure(GrpcCode.UNIMPLEMENTED, `no script for ${path}`));
  }

  /** Lets a promise that waits for virtual time come to its end, at most `ms` of it; tells how long it took. */
  async run<T>(work: Promise<T>, ms = 60_000, stepMs = 5): Promise<T> {
    let done = false;
    const watched = work.finally(() => {
      done = true;
    });
    watched.catch(() => {});
    for (let passed = 0; passed < ms && !done; passed += stepMs) await this.clock.advance(passed === 0 ? 0 : stepMs);
    return watched;
  }
}

/** Throws what the transport throws for a failed unary call. */
export function refuse(grpcCode: GrpcCode, details: string, sent: 'no' | 'maybe' = 'maybe'): never {
  throw new TransportError(failure(grpcCode, details, sent));
}

/** A client's connection layer over members that answer as a test says: virtual time, no sockets. */
import { Caller, type CallerOptions } from '../../../src/client/connection/caller.ts';
import { login } from '../../../src/client/connection/login.ts';
import { Pool } from '../../../src/client/connection/pool.ts';
import { statusProbe } from '../../../src/client/connection/probe.ts';
import { type Credentials, TokenSource } from '../../../src/client/connection/token.ts';
import { parseEndpoint } from '../../../src/client/transport/address.ts';
import {
  type CallFailure,
  type CallMetadata,
  ConnectError,
  type ConnectFailureKind,
  type EndpointAddress,
  type StreamHandlers,
  type Transport,
  TransportError,
  type TransportState,
  type TransportStream,
  type UnaryOptions,
} from '../../../src/client/transport/transport.ts';
import { Auth, KV, Maintenance } from '../../../src/protocol/generated/etcdserverpb.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

/** What a member does with a call: answer, fail, or say nothing. */
export type Reply = { readonly answer: unknown } | CallFailure | 'silence';

export function failing(grpcCode: GrpcCode, details = 'some text', sent: 'no' | 'maybe' = 'maybe'): CallFailure {
  return { grpcCode, details, sent };
}

export const OK: Reply = { answer: { header: { revision: 7n }, kvs: [], count: 0n } };

/** One call that reached a member. */
export interface SeenCall {
  readonly path: string;
  readonly at: number;
  readonly metadata: CallMetadata;
  readonly timeoutMs: number;
}

/** A member behind an address; outlives its connections. */
export class FakeMember {
  readonly cluster: FakeCluster;
  readonly name: string;
  readonly calls: SeenCall[] = [];
  readonly transports: FakeTransport[] = [];
  /** How a connection fails; undefined when it succeeds. `hang` never ends. */
  refuses: ConnectFailureKind | 'hang' | undefined;
  reply: (path: string, call: SeenCall) => Reply = () => OK;
  status: Reply | undefined;
  facts = { version: '3.5.30', leader: 1n, isLearner: false, clusterId: 42n, memberId: 1n };
  connects = 0;

  constructor(cluster: FakeCluster, name: string) {
    this.cluster = cluster;
    this.name = name;
  }

  callsOf(path: string): SeenCall[] {
    return this.calls.filter((call) => call.path === path);
  }

  get probes(): number {
    return this.callsOf(Maintenance.status.path).length;
  }

  /** Breaks what is connected; new connections are accepted. */
  cut(): void {
    for (const transport of this.transports) transport.drop();
  }

  answerTo(path: string, call: SeenCall): Reply {
    if (path !== Maintenance.status.path) return this.reply(path, call);
    const { clusterId, memberId, ...facts } = this.facts;
    return this.status ?? { answer: { header: { clusterId, memberId }, ...facts } };
  }
}

export class FakeTransport implements Transport {
  state: TransportState = 'idle';
  readonly member: FakeMember;
  readonly #running = new Set<(failure: CallFailure) => void>();
  #connecting: ((error: ConnectError) => void) | undefined;

  constructor(member: FakeMember) {
    this.member = member;
    member.transports.push(this);
  }

  async connect(): Promise<void> {
    const { refuses } = this.member;
    this.member.connects += 1;
    if (refuses === 'hang') {
      await new Promise<void>((_, reject) => {
        this.#connecting = reject;
        this.member.cluster.clock.after(3_000, () =>
          reject(new ConnectError('timeout', 'no connection within 3000 ms')),
        );
      });
    }
    if (refuses !== undefined) throw new ConnectError(refuses as ConnectFailureKind, `${refuses}!`);
    if (this.state !== 'closed') this.state = 'ready';
  }

  unary<I, O>(method: MethodDescriptor<I, O>, request: Init<I>, options: UnaryOptions): Promise<O> {
    const { clock } = this.member.cluster;
    return new Promise<O>((resolve, reject) => {
      method.request.encode(request);
      if (this.state !== 'ready') {
        return reject(new TransportError(failing(GrpcCode.UNAVAILABLE, 'not connected', 'no')));
      }
      const { metadata, timeoutMs, signal } = options;
      const call = { path: method.path, at: clock.now(), metadata, timeoutMs };
      this.member.calls.push(call);
      const timer = clock.after(timeoutMs, () => end(failing(GrpcCode.DEADLINE_EXCEEDED, 'Deadline exceeded')));
      const abort = (): void => end(failing(GrpcCode.CANCELLED, 'aborted by the caller'));
      const end = (reply: Reply): void => {
        if (reply === 'silence' || !this.#running.delete(end)) return;
        timer.cancel();
        signal?.removeEventListener('abort', abort);
        if ('answer' in reply) resolve(reply.answer as O);
        else reject(new TransportError(reply));
      };
      this.#running.add(end);
      signal?.addEventListener('abort', abort);
      queueMicrotask(() => end(this.member.answerTo(method.path, call)));
    });
  }

  stream<I, O>(_method: MethodDescriptor<I, O>, _options: unknown, handlers: StreamHandlers<O>): TransportStream<I> {
    const end = (failure: CallFailure): void => {
      if (this.#running.delete(end)) handlers.onClose(failure);
    };
    this.#running.add(end);
    return {
      send: () => {},
      halfClose: () => {},
      pull: () => {},
      cancel: () => end(failing(GrpcCode.CANCELLED, 'cancelled by the client')),
    };
  }

  drop(): void {
    if (this.state === 'ready') this.state = 'idle';
    for (const end of [...this.#running]) end(failing(GrpcCode.UNAVAILABLE, 'Connection dropped'));
  }

  close(): void {
    this.drop();
    this.state = 'closed';
    this.#connecting?.(new ConnectError('closed', 'closed while connecting'));
  }
}

/** The connection layer on fake members. */
export class FakeCluster {
  readonly clock = new VirtualClock();
  readonly members: FakeMember[];
  readonly pool: Pool;
  readonly caller: Caller;
  readonly tokens: TokenSource;

  constructor(size: number, options: Partial<CallerOptions> & { credentials?: Credentials } = {}) {
    const { clock } = this;
    const { credentials, ...callerOptions } = options;
    this.members = Array.from({ length: size }, (_, i) => new FakeMember(this, `m${i + 1}:2379`));
    this.tokens = new TokenSource(credentials, (user, password) => login(this.caller, user, password), clock);
    const random = (): number => 0.5;
    this.pool = new Pool(
      this.members.map(({ name }) => parseEndpoint(name, false)),
      {
        clock,
        random,
        transports: (address: EndpointAddress) => new FakeTransport(this.at(address.name)),
        probe: statusProbe(() => this.tokens, 3_000),
      },
    );
    this.caller = new Caller({
      pool: this.pool,
      tokens: this.tokens,
      clock,
      random,
      timeoutMs: 5_000,
      requireLeader: true,
      secureByDefault: false,
      retry: { initialMs: 25, maxMs: 1_000, maxAttempts: 20 },
      ...callerOptions,
    });
  }

  at(name: string): FakeMember {
    let member = this.members.find((other) => other.name === name);
    if (member === undefined) {
      member = new FakeMember(this, name);
      this.members.push(member);
    }
    return member;
  }

  /** Calls so far, of all members. */
  count(path: string): number {
    return this.members.reduce((sum, member) => sum + member.callsOf(path).length, 0);
  }

  /** Connects to every member and calls each once, so that a test begins in the steady state. */
  async warm(): Promise<void> {
    await this.read();
    await this.clock.settle();
    for (const member of this.members) member.calls.length = 0;
  }

  read(options?: Parameters<Caller['unary']>[3]): Promise<unknown> {
    return this.caller.unary(KV.range, { key: Buffer.from('k') }, { kind: 'read' }, options);
  }

  serializableRead(options?: Parameters<Caller['unary']>[3]): Promise<unknown> {
    const traits = { kind: 'read', learnerOk: true, leaderless: true } as const;
    return this.caller.unary(KV.range, { key: Buffer.from('k'), serializable: true }, traits, options);
  }

  write(options?: Parameters<Caller['unary']>[3]): Promise<unknown> {
    return this.caller.unary(KV.put, { key: Buffer.from('k') }, { kind: 'write' }, options);
  }
}

/** Lets a promise's outcome be looked at without waiting for it. */
export function outcome(promise: Promise<unknown>): {
  readonly state: string;
  readonly value: unknown;
  readonly error: Error;
} {
  const result = { state: 'pending', value: undefined as unknown, error: undefined as unknown as Error };
  promise.then(
    (value) => Object.assign(result, { state: 'resolved', value }),
    (error: Error) => Object.assign(result, { state: 'rejected', error }),
  );
  return result;
}

export const RANGE = KV.range.path;
export const PUT = KV.put.path;
export const AUTHENTICATE = Auth.authenticate.path;

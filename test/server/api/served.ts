/** Calls to all services of a fake member, as a client makes them. */
import { Auth } from '../../../src/protocol/generated/etcdserverpb.ts';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { createMethods, type MethodOptions } from '../../../src/server/api/methods.ts';
import { RpcError } from '../../../src/server/refusals.ts';
import { Encoded, type Method, type MethodTable, type Outlet, type Reply } from '../../../src/server/rpc/call.ts';
import { apiOptions, type CallOptions, callOf, MachineMember } from './machine-member.ts';

/** The least time between two elections here, in ms. */
export const ELECTION_MS = 1_000;

/** What a stream has sent so far, and how it ended. */
export interface Stream<O> {
  readonly received: O[];
  /** Rejects with what the call ends with. */
  readonly ended: Promise<void>;
  /** Whether there is room; false: the reader is behind until {@link read}. */
  room: boolean;
  read(): void;
}

export class Served {
  readonly member = new MachineMember();
  readonly methods: MethodTable;

  constructor(options: Partial<MethodOptions> = {}) {
    this.methods = createMethods(this.member, { ...apiOptions(), electionTimeoutMs: ELECTION_MS, ...options });
  }

  /** A call of one message each way. */
  async call<I, O>(
    descriptor: MethodDescriptor<I, O>,
    request: Init<NoInfer<I>> = {} as Init<NoInfer<I>>,
    options: CallOptions = {},
  ) {
    const method = this.#method(descriptor, 'unary');
    const reply = await method.handle(decoded(descriptor, request), callOf(descriptor.path, options));
    return received(descriptor, reply);
  }

  /** A call that is answered with a stream. */
  stream<I, O>(descriptor: MethodDescriptor<I, O>, request: Init<NoInfer<I>>, options: CallOptions = {}): Stream<O> {
    const method = this.#method(descriptor, 'server-stream');
    const { stream, out } = outletOf(descriptor);
    const ended = method.handle(decoded(descriptor, request), callOf(descriptor.path, options), out);
    ended.catch(() => {});
    return Object.assign(stream, { ended });
  }

  /** A call of streams both ways. */
  bidi<I, O>(
    descriptor: MethodDescriptor<I, O>,
    requests: AsyncIterable<Init<NoInfer<I>>>,
    options: CallOptions = {},
  ): Stream<O> {
    const method = this.#method(descriptor, 'bidi');
    const { stream, out } = outletOf(descriptor);
    const ended = method.handle(decodedAll(descriptor, requests), callOf(descriptor.path, options), out);
    ended.catch(() => {});
    return Object.assign(stream, { ended });
  }

  /** Lets everything run that waits for no timer. */
  settle(): Promise<void> {
    return this.member.clock.settle();
  }

  /** Users `root` and `name`, whose role may do all to keys of a prefix; and authentication on. @returns Their tokens. */
  async enableAuth(name: string, prefix: string): Promise<{ readonly root: CallOptions; readonly user: CallOptions }> {
    await this.call(Auth.userAdd, { name: 'root', password: 'r' });
    await this.call(Auth.userGrantRole, { user: 'root', role: 'root' });
    await this.call(Auth.userAdd, { name, password: 'u' });
    await this.call(Auth.roleAdd, { name: 'role' });
    const key = Buffer.from(prefix);
    const rangeEnd = Buffer.from(key);
    rangeEnd.writeUInt8((key.at(-1) ?? 0) + 1, key.length - 1);
    await this.call(Auth.roleGrantPermission, { name: 'role', perm: { permType: 2, key, rangeEnd } });
    await this.call(Auth.userGrantRole, { user: name, role: 'role' });
    await this.call(Auth.authEnable);
    return { root: await this.logIn('root', 'r'), user: await this.logIn(name, 'u') };
  }

  async logIn(name: string, password: string): Promise<CallOptions> {
    const { token } = await this.call(Auth.authenticate, { name, password });
    return { metadata: { token } };
  }

  #method<Kind extends Method['kind']>({ path }: { readonly path: string }, kind: Kind) {
    const method = this.methods.get(path);
    if (method?.kind !== kind) throw new TypeError(`${path} is no ${kind} method`);
    return method as Extract<Method, { readonly kind: Kind }>;
  }
}

/** The text and the code that a call was refused with. */
export async function refusalOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    return `${error.refusal.grpcCode} ${error.refusal.text}`;
  }
  return 'not refused';
}

export function text(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString();
}

export const bytes = (content: string): Uint8Array => Buffer.from(content);

function decoded<I, O>({ request: codec }: MethodDescriptor<I, O>, request: Init<I>): I {
  return codec.decode(codec.encode(request));
}

async function* decodedAll<I, O>(descriptor: MethodDescriptor<I, O>, requests: AsyncIterable<Init<I>>) {
  for await (const request of requests) yield decoded(descriptor, request);
}

function received<I, O>({ response: codec }: MethodDescriptor<I, O>, reply: Reply<NoInfer<O>>): O {
  return codec.decode(reply instanceof Encoded ? reply.bytes : codec.encode(reply));
}

function outletOf<I, O>(descriptor: MethodDescriptor<I, O>) {
  const waiting: (() => void)[] = [];
  const stream = {
    received: [] as O[],
    room: true,
    read: (): void => {
      stream.room = true;
      for (const resume of waiting.splice(0)) resume();
    },
  };
  const out: Outlet<O> = {
    send: (message) => {
      stream.received.push(received(descriptor, message));
      return stream.room;
    },
    drained: () => new Promise((resolve) => waiting.push(resolve)),
  };
  return { stream, out };
}

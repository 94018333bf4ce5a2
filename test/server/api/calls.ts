/** The client's side of a call without a transport: requests written one by one, responses kept in memory. */
import type { Init, MessageCodec, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { RpcError } from '../../../src/server/refusals.ts';
import { Encoded, type Method, type Outlet, type Reply, type ServerCall } from '../../../src/server/rpc/call.ts';

export interface CallFields {
  readonly user?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export function callOf(path: string, { user, signal }: CallFields = {}): ServerCall {
  return {
    path,
    metadata: { get: (name) => (name === 'user' ? user : undefined) },
    signal: signal ?? new AbortController().signal,
    commonName: undefined,
    via: 'local',
  };
}

/** Decodes an answer as a client would. */
export function received<T>(codec: MessageCodec<T>, reply: Reply<T>): T {
  return codec.decode(new Uint8Array(reply instanceof Encoded ? reply.bytes : codec.encode(reply)));
}

/** A message as it comes off the wire. */
export function message<T>(codec: MessageCodec<T>, fields: Init<NoInfer<T>>): T {
  return codec.decode(new Uint8Array(codec.encode(fields)));
}

function methodOf<I, O>(methods: readonly Method[], descriptor: MethodDescriptor<I, O>): Method {
  const found = methods.find((method) => method.descriptor.path === descriptor.path);
  if (!found) throw new Error(`no ${descriptor.path}`);
  return found;
}

/** Makes a unary call. A refusal is its text, with its code before it. */
export async function ask<I, O>(
  methods: readonly Method[],
  descriptor: MethodDescriptor<I, O>,
  request: Init<NoInfer<I>>,
  fields?: CallFields,
): Promise<O> {
  const method = methodOf(methods, descriptor);
  if (method.kind !== 'unary') throw new Error('not unary');
  const reply = await method.handle(message(descriptor.request, request), callOf(descriptor.path, fields));
  return received(descriptor.response, reply as Reply<O>);
}

/** The text of what a call is refused with. */
export async function refusalOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    if (error instanceof RpcError) return error.refusal.text;
    throw error;
  }
  return 'not refused';
}

/** Keeps what is sent. With `room`, so many messages make the reader late until `read` takes them. */
export class MemoryOutlet<T> implements Outlet<T> {
  readonly sent: T[] = [];
  /** Size of what was sent and is not read, in messages and bytes; the most of it there was. */
  unread = 0;
  unreadBytes = 0;
  mostUnread = 0;
  mostUnreadBytes = 0;
  #room: number;
  readonly #codec: MessageCodec<T>;
  #waiting: (() => void)[] = [];
  #arrivals: (() => void)[] = [];

  constructor(codec: MessageCodec<T>, room = Number.POSITIVE_INFINITY) {
    this.#codec = codec;
    this.#room = room;
  }

  send(reply: Reply<T>): boolean {
    const bytes = reply instanceof Encoded ? reply.bytes : this.#codec.encode(reply);
    this.sent.push(this.#codec.decode(new Uint8Array(bytes)));
    if (this.#room !== Number.POSITIVE_INFINITY) {
      this.unread += 1;
      this.unreadBytes += bytes.length;
      this.mostUnread = Math.max(this.mostUnread, this.unread);
      this.mostUnreadBytes = Math.max(this.mostUnreadBytes, this.unreadBytes);
    }
    for (const arrived of this.#arrivals.splice(0)) arrived();
    return this.unread < this.#room;
  }

  drained(): Promise<void> {
    if (this.unread < this.#room) return Promise.resolve();
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }

  /** The reader takes everything; from now on it is late with `room` messages. */
  read(room = this.#room): void {
    this.unread = 0;
    this.unreadBytes = 0;
    this.#room = room;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Waits until so many were sent in all. */
  async count(wanted: number): Promise<readonly T[]> {
    while (this.sent.length < wanted) await new Promise<void>((resolve) => void this.#arrivals.push(resolve));
    return this.sent;
  }
}

/** Requests that are written one after the other. Ends when told to, and with the call. */
export class Requests<T> implements AsyncIterable<T> {
  readonly #queue: T[] = [];
  #ended = false;
  #wake: () => void = () => {};

  constructor(signal: AbortSignal) {
    signal.addEventListener('abort', () => this.end(), { once: true });
  }

  write(request: T): void {
    this.#queue.push(request);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const next = this.#queue.shift();
      if (next !== undefined) yield next;
      else if (this.#ended) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

/** One call of a method with streams both ways. */
export class BidiCall<I, O> {
  readonly out: MemoryOutlet<O>;
  readonly requests: Requests<I>;
  /** How it ended; `undefined` while it goes on. */
  outcome: 'well' | Error | undefined;
  readonly done: Promise<void>;
  readonly #abort = new AbortController();
  readonly #descriptor: MethodDescriptor<I, O>;

  constructor(
    methods: readonly Method[],
    descriptor: MethodDescriptor<I, O>,
    { user, room }: CallFields & { readonly room?: number | undefined } = {},
  ) {
    const method = methodOf(methods, descriptor);
    if (method.kind !== 'bidi') throw new Error('not bidi');
    this.#descriptor = descriptor;
    this.out = new MemoryOutlet(descriptor.response, room);
    this.requests = new Requests(this.#abort.signal);
    const call = callOf(descriptor.path, { user, signal: this.#abort.signal });
    this.done = method.handle(this.requests, call, this.out as Outlet<unknown>).then(
      () => {
        this.outcome = 'well';
      },
      (error: Error) => {
        this.outcome = error;
      },
    );
  }

  write(fields: Init<NoInfer<I>>): void {
    this.requests.write(message(this.#descriptor.request, fields));
  }

  /** The client goes away. */
  async cancel(): Promise<void> {
    this.#abort.abort();
    this.out.read(Number.POSITIVE_INFINITY);
    await this.done;
  }
}

/** One call of a method that answers with a stream. */
export async function stream<I, O>(
  methods: readonly Method[],
  descriptor: MethodDescriptor<I, O>,
  request: Init<NoInfer<I>>,
  out: MemoryOutlet<O>,
  fields?: CallFields,
): Promise<void> {
  const method = methodOf(methods, descriptor);
  if (method.kind !== 'server-stream') throw new Error('not a stream of the server');
  const call = callOf(descriptor.path, fields);
  await method.handle(message(descriptor.request, request), call, out as Outlet<unknown>);
}

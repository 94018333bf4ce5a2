/**
 * An etcd of one or more members that keeps a history in memory and serves watches and
 * ranges from it, on virtual time and without sockets.
 *
 * By default it behaves as etcd does. With `auto` off it answers no watch request by
 * itself, and a test says word for word what comes. All messages go through the codecs.
 */
import { Caller } from '../../../src/client/connection/caller.ts';
import { Pool } from '../../../src/client/connection/pool.ts';
import { type Credentials, TokenSource } from '../../../src/client/connection/token.ts';
import { utf8 } from '../../../src/client/kv/codec.ts';
import { View } from '../../../src/client/kv/results.ts';
import { type Target, toByteRange } from '../../../src/client/kv/target.ts';
import { parseEndpoint } from '../../../src/client/transport/address.ts';
import {
  type CallFailure,
  type CallMetadata,
  type StreamHandlers,
  type Transport,
  TransportError,
  type TransportState,
  type TransportStream,
} from '../../../src/client/transport/transport.ts';
import { WatchHub, type WatchHubOptions } from '../../../src/client/watch/hub.ts';
import type { WatchOptions } from '../../../src/client/watch/options.ts';
import type { Watcher } from '../../../src/client/watch/watcher.ts';
import {
  RangeRequest,
  RangeResponse,
  type WatchCreateRequest,
  WatchRequest,
  WatchResponse,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import type { Event, KeyValue } from '../../../src/protocol/generated/mvccpb.ts';
import { inRange, NO_BYTES, toBytes } from '../../../src/protocol/keys.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

export function failure(grpcCode: GrpcCode, details: string): CallFailure {
  return { grpcCode, details, sent: 'maybe' };
}

/** As a broken connection looks. */
export const CUT: CallFailure = failure(GrpcCode.UNAVAILABLE, 'Connection dropped');

/** One watch stream as the server sees it. */
export class FakeStream {
  readonly server: FakeEtcd;
  readonly member: string;
  readonly metadata: CallMetadata;
  readonly requests: WatchRequest[] = [];
  /** Messages that the client has asked for. */
  pulls = 0;
  closed = false;
  readonly #handlers: StreamHandlers<WatchResponse>;
  readonly #outbox: Buffer[] = [];
  readonly #watchers = new Map<number, { create: WatchCreateRequest; next: bigint }>();
  #credit = 0;
  #nextId = 0;
  #pumping = false;

  constructor(server: FakeEtcd, member: string, metadata: CallMetadata, handlers: StreamHandlers<WatchResponse>) {
    this.server = server;
    this.member = member;
    this.metadata = metadata;
    this.#handlers = handlers;
  }

  get creates(): WatchCreateRequest[] {
    return this.requests.flatMap(({ createRequest }) => (createRequest === undefined ? [] : [createRequest]));
  }

  get cancels(): number[] {
    return this.requests.flatMap(({ cancelRequest }) =>
      cancelRequest === undefined ? [] : [Number(cancelRequest.watchId)],
    );
  }

  get progressRequests(): number {
    return this.requests.filter(({ progressRequest }) => progressRequest !== undefined).length;
  }

  /** Messages that wait until the client asks for them. */
  get undelivered(): number {
    return this.#outbox.length;
  }

  /** How many watchers the server has on it. */
  get watching(): number {
    return this.#watchers.size;
  }

  respond(response: Init<WatchResponse>): void {
    this.#outbox.push(WatchResponse.encode(response));
    this.#pump();
  }

  end(reason?: CallFailure): void {
    if (this.closed) return;
    this.closed = true;
    this.#handlers.onClose(reason);
  }

  /** What has not been delivered is lost. */
  cut(reason: CallFailure = CUT): void {
    this.#outbox.length = 0;
    this.end(reason);
  }

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    queueMicrotask(() => {
      this.#pumping = false;
      if (this.closed || this.#credit === 0) return;
      const bytes = this.#outbox.shift();
      if (bytes === undefined) return;
      this.#credit -= 1;
      this.server.delivered += 1;
      const { cutAfter } = this.server;
      this.#handlers.onMessage(WatchResponse.decode(bytes));
      if (cutAfter !== undefined && this.server.delivered === cutAfter) this.cut();
      this.#pump();
    });
  }

  client(): TransportStream<WatchRequest> {
    return {
      send: (message) => {
        if (this.closed) return;
        const request = WatchRequest.decode(WatchRequest.encode(message));
        this.requests.push(request);
        if (this.server.auto) queueMicrotask(() => this.#serve(request));
      },
      halfClose: () => {},
      pull: () => {
        this.pulls += 1;
        this.#credit += 1;
        this.#pump();
      },
      cancel: () => this.cut(failure(GrpcCode.CANCELLED, 'cancelled by the client')),
    };
  }

  #serve({ createRequest, cancelRequest, progressRequest }: WatchRequest): void {
    if (this.closed) return;
    const header = { revision: this.server.revision };
    if (createRequest !== undefined) {
      const refusal = this.server.refuse(createRequest, this);
      if (refusal !== undefined) {
        this.respond({ header, watchId: -1n, created: true, canceled: true, cancelReason: refusal });
        return;
      }
      const id = this.#nextId++;
      this.respond({ header, watchId: BigInt(id), created: true });
      const { startRevision } = createRequest;
      this.#watchers.set(id, {
        create: createRequest,
        next: startRevision === 0n ? header.revision + 1n : startRevision,
      });
      this.notify();
    } else if (cancelRequest !== undefined) {
      const { watchId } = cancelRequest;
      if (this.#watchers.delete(Number(watchId))) this.respond({ header, watchId, canceled: true });
    } else if (progressRequest !== undefined && this.#watchers.size > 0) {
      const synced = [...this.#watchers.values()].every(({ next }) => next <= header.revision + 1n);
      if (synced) this.respond({ header, watchId: -1n });
    }
  }

  /** Sends what the watchers have not got. */
  notify(): void {
    if (this.closed) return;
    for (const [id, watcher] of this.#watchers) {
      if (watcher.next < this.server.compacted) {
        this.respond({ watchId: BigInt(id), canceled: true, compactRevision: this.server.compacted });
        watcher.next = 2n ** 62n;
        continue;
      }
      while (watcher.next <= this.server.revision) this.#batch(id, watcher);
    }
  }

  /** Up to `batchRevisions` revisions as one response, in fragments; the header tells the store's revision. */
  #batch(id: number, watcher: { create: WatchCreateRequest; next: bigint }): void {
    const { batchRevisions, fragmentEvents, revision } = this.server;
    const { create } = watcher;
    const end = watcher.next + BigInt(batchRevisions);
    const events = this.server.history
      .filter((at) => at.revision >= watcher.next && at.revision < end)
      .flatMap((at) => at.events)
      .filter(({ kv }) => kv !== undefined && inRange({ key: create.key, end: create.rangeEnd }, kv.key))
      .filter(({ type }) => !create.filters.includes(type));
    watcher.next = end > revision ? revision + 1n : end;
    for (let at = 0; at < events.length; at += fragmentEvents) {
      const last = at + fragmentEvents >= events.length;
      const part = events.slice(at, at + fragmentEvents);
      this.respond({ header: { revision }, watchId: BigInt(id), events: part, fragment: !last });
    }
  }
}

export interface FakeEtcdOptions extends WatchHubOptions {
  readonly members?: number;
  readonly credentials?: Credentials;
  readonly version?: string;
  readonly random?: () => number;
}

class FakeMember implements Transport {
  readonly #server: FakeEtcd;
  readonly #name: string;
  state: TransportState = 'idle';

  constructor(server: FakeEtcd, name: string) {
    this.#server = server;
    this.#name = name;
  }

  async connect(): Promise<void> {
    this.state = 'ready';
  }

  async unary<I, O>(method: MethodDescriptor<I, O>, request: Init<I>): Promise<O> {
    const bytes = method.request.encode(request);
    return method.response.decode(this.#server.unary(method.path, bytes));
  }

  stream<I, O>(
    _: MethodDescriptor<I, O>,
    options: { metadata: CallMetadata },
    handlers: StreamHandlers<O>,
  ): TransportStream<I> {
    const stream = new FakeStream(
      this.#server,
      this.#name,
      options.metadata,
      handlers as unknown as StreamHandlers<WatchResponse>,
    );
    this.#server.streams.push(stream);
    return stream.client() as unknown as TransportStream<I>;
  }

  close(): void {
    this.state = 'closed';
  }
}

/** A change to commit; without a value a delete. */
export type Change = readonly [key: string, value?: string];

const view = new View(utf8, 0);

export class FakeEtcd {
  readonly clock = new VirtualClock();
  readonly caller: Caller;
  readonly hub: WatchHub;
  readonly streams: FakeStream[] = [];
  readonly history: { revision: bigint; events: Event[] }[] = [];
  auto = true;
  revision = 1n;
  compacted = 0n;
  batchRevisions = 1000;
  fragmentEvents = Number.POSITIVE_INFINITY;
  /** Messages handed to the client so far, over all streams. */
  delivered = 0;
  /** Cuts the stream that delivers this message. */
  cutAfter: number | undefined;
  logins = 0;
  ranges: RangeRequest[] = [];
  /** Why a create is refused, if it is. */
  refuse: (create: WatchCreateRequest, stream: FakeStream) => string | undefined = () => undefined;
  /** Called before a range is answered. */
  onRange: (request: RangeRequest) => void = () => {};

  constructor({ members = 1, credentials, version = '3.5.16', random = () => 0, ...hub }: FakeEtcdOptions = {}) {
    const { clock } = this;
    const names = Array.from({ length: members }, (_, index) => `m${index + 1}:2379`);
    const pool = new Pool(
      names.map((name) => parseEndpoint(name, false)),
      {
        clock,
        random: () => 0,
        transports: ({ name }) => new FakeMember(this, name),
        probe: async () => ({ hasLeader: true, version }),
      },
    );
    this.caller = new Caller({
      pool,
      tokens: new TokenSource(credentials, async () => `token-${++this.logins}`, clock),
      clock,
      random,
      timeoutMs: 5_000,
      requireLeader: true,
      secureByDefault: false,
      retry: { initialMs: 25, maxMs: 1_000, maxAttempts: 20 },
    });
    this.hub = new WatchHub(this.caller, hub);
  }

  watch(target: Target, options: WatchOptions = {}): Watcher<string> {
    return this.hub.watch(toByteRange(target, NO_BYTES), options, view);
  }

  get open(): FakeStream[] {
    return this.streams.filter((stream) => !stream.closed);
  }

  /** The only stream that is open. */
  get stream(): FakeStream {
    const { open } = this;
    if (open.length !== 1) throw new Error(`${open.length} streams are open`);
    return open[0] as FakeStream;
  }

  settle(): Promise<void> {
    return this.clock.settle();
  }

  /** Writes in one transaction. */
  commit(...changes: Change[]): bigint {
    this.revision += 1n;
    const { revision } = this;
    const before = this.stateAt(revision - 1n);
    const events = changes.map(([key, value]): Event => {
      const old = before.get(key);
      if (value === undefined) return { type: 1, kv: tombstone(key, revision), prevKv: undefined };
      const createRevision = old?.createRevision ?? revision;
      const version = (old?.version ?? 0n) + 1n;
      const kv = {
        key: toBytes(key),
        value: toBytes(value),
        createRevision,
        modRevision: revision,
        version,
        lease: 0n,
      };
      return { type: 0, kv, prevKv: undefined };
    });
    this.history.push({ revision, events });
    for (const stream of this.open) stream.notify();
    return revision;
  }

  compact(at: bigint): void {
    this.compacted = at;
  }

  stateAt(revision: bigint): Map<string, KeyValue> {
    const state = new Map<string, KeyValue>();
    for (const at of this.history) {
      if (at.revision > revision) break;
      for (const { type, kv } of at.events) {
        if (kv === undefined) continue;
        const key = Buffer.from(kv.key).toString();
        if (type === 0) state.set(key, kv);
        else state.delete(key);
      }
    }
    return state;
  }

  unary(path: string, bytes: Uint8Array): Uint8Array {
    if (!path.endsWith('/Range')) throw new TransportError(failure(GrpcCode.UNIMPLEMENTED, path));
    const request = RangeRequest.decode(bytes);
    this.ranges.push(request);
    this.onRange(request);
    const at = request.revision === 0n ? this.revision : request.revision;
    if (at < this.compacted) {
      throw new TransportError(
        failure(GrpcCode.OUT_OF_RANGE, 'etcdserver: mvcc: required revision has been compacted'),
      );
    }
    if (at > this.revision) {
      throw new TransportError(
        failure(GrpcCode.OUT_OF_RANGE, 'etcdserver: mvcc: required revision is a future revision'),
      );
    }
    const all = [...this.stateAt(at).values()]
      .filter(({ key }) => inRange({ key: request.key, end: request.rangeEnd }, key))
      .sort((a, b) => Buffer.compare(a.key, b.key));
    const kvs = request.countOnly ? [] : request.limit === 0n ? all : all.slice(0, Number(request.limit));
    return RangeResponse.encode({
      header: { revision: this.revision },
      kvs: request.keysOnly ? kvs.map((kv) => ({ ...kv, value: NO_BYTES })) : kvs,
      more: kvs.length < all.length && !request.countOnly,
      count: BigInt(all.length),
    });
  }
}

function tombstone(key: string, revision: bigint): KeyValue {
  return { key: toBytes(key), value: NO_BYTES, createRevision: 0n, modRevision: revision, version: 0n, lease: 0n };
}

/** A put on the wire, for responses written by hand. */
export function put(key: string, modRevision: bigint, createRevision = modRevision): Init<Event> {
  return {
    type: 0,
    kv: { key: toBytes(key), value: toBytes(`${key}@${modRevision}`), modRevision, createRevision, version: 1n },
  };
}

/** What a watcher yields, in short: `+a@5`, `-a@6`, `~7` for progress, `<8` and `>8` for the marks of a resync. */
export class Recording {
  readonly entries: string[] = [];
  error: unknown;
  done = false;
  readonly finished: Promise<void>;

  constructor(watcher: Watcher<string>) {
    this.finished = this.#run(watcher);
  }

  async #run(watcher: Watcher<string>): Promise<void> {
    try {
      for await (const event of watcher) {
        if (event.type === 'put') this.entries.push(`+${event.kv.key}@${event.revision}`);
        else if (event.type === 'delete') this.entries.push(`-${event.kv.key}@${event.revision}`);
        else if (event.type === 'progress') this.entries.push(`~${event.revision}`);
        else this.entries.push(`${event.phase === 'start' ? '<' : '>'}${event.revision}`);
      }
    } catch (error) {
      this.error = error;
    }
    this.done = true;
  }
}

/** Starts reading. */
export function record(watcher: Watcher<string>): Recording {
  return new Recording(watcher);
}

/** A client of members that answer as a test says, without sockets; messages go through the real codecs. */
import { Etcd } from '../../../src/client/etcd.ts';
import type { EtcdOptions } from '../../../src/client/options.ts';
import {
  type EndpointAddress,
  type StreamHandlers,
  type StreamOptions,
  type Transport,
  TransportError,
  type TransportState,
  type TransportStream,
  type UnaryOptions,
} from '../../../src/client/transport/transport.ts';
import type {
  CompactionRequest,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RangeResponse,
  TxnRequest,
  WatchRequest,
  WatchResponse,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import type { KeyValue } from '../../../src/protocol/generated/mvccpb.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';

/** The requests of the KV service by the last part of their path. */
interface Requests {
  Range: RangeRequest;
  RangeStream: RangeRequest;
  Put: PutRequest;
  DeleteRange: DeleteRangeRequest;
  Txn: TxnRequest;
  Compact: CompactionRequest;
}

/** A call as the member saw it. */
export type SeenCall = {
  [M in keyof Requests]: { method: M; request: Requests[M]; endpoint: string; timeoutMs: number };
}[keyof Requests];

/** Answers a call; throw what {@link refusal} makes to refuse. */
export type Answer = (call: SeenCall, signal: AbortSignal | undefined) => unknown;

/** What a member throws to refuse. */
export function refusal(grpcCode: GrpcCode, details: string, sent: 'no' | 'maybe' = 'maybe'): TransportError {
  return new TransportError({ grpcCode, details, sent });
}

export class FakeMembers {
  readonly calls: SeenCall[] = [];
  answer: Answer;
  version = '3.5.30';
  /** The messages of a RangeStream, then how it ends: well, or with a failure. */
  rangeStream: (call: SeenCall) => { messages: readonly unknown[]; end?: TransportError | 'hang' } = () => {
    throw new Error('no script for a range stream');
  };
  /** Watch streams that are open; every create is granted at `watchRevision`. */
  readonly watches = new Set<FakeWatch>();
  watchRevision = 10n;
  /** Streams that were opened, and how many of them were cancelled by the client. */
  streams = { opened: 0, cancelled: 0 };

  constructor(answer: Answer = () => ({ header: { revision: 7n } })) {
    this.answer = answer;
  }

  client(options: Omit<EtcdOptions, 'transport'> = {}): Etcd {
    return new Etcd({ random: () => 0, ...options, transport: (address) => new FakeTransport(this, address) });
  }

  /** The calls of one method. */
  of<M extends keyof Requests>(method: M): Extract<SeenCall, { method: M }>[] {
    return this.calls.filter((call): call is Extract<SeenCall, { method: M }> => call.method === method);
  }
}

/** A watch stream with one watcher, id 0. */
export interface FakeWatch {
  /** The revisions that watchers were asked for from. */
  readonly from: bigint[];
  /** How often it was asked how far it is. */
  asked: number;
  /** Sends a response as soon as the client asks for one. */
  send(response: Init<WatchResponse>): void;
}

class FakeTransport implements Transport {
  state: TransportState = 'idle';
  readonly #members: FakeMembers;
  readonly #endpoint: string;

  constructor(members: FakeMembers, address: EndpointAddress) {
    this.#members = members;
    this.#endpoint = address.name;
  }

  async connect(): Promise<void> {
    this.state = 'ready';
  }

  #note<I, O>(method: MethodDescriptor<I, O>, request: Init<I>, timeoutMs: number): SeenCall {
    const seen = {
      method: method.path.split('/').at(-1),
      request: method.request.decode(method.request.encode(request)),
      endpoint: this.#endpoint,
      timeoutMs,
    } as SeenCall;
    this.#members.calls.push(seen);
    return seen;
  }

  async unary<I, O>(method: MethodDescriptor<I, O>, request: Init<I>, options: UnaryOptions): Promise<O> {
    const { version } = this.#members;
    if (method.path.endsWith('/Status')) {
      return { version, leader: 1n, isLearner: false, header: { clusterId: 1n, memberId: 1n } } as O;
    }
    const call = this.#note(method, request, options.timeoutMs);
    const answer = await this.#members.answer(call, options.signal);
    return method.response.decode(method.response.encode(answer as Init<O>));
  }

  stream<I, O>(method: MethodDescriptor<I, O>, _: StreamOptions, handlers: StreamHandlers<O>): TransportStream<I> {
    if (method.path.endsWith('/Watch')) return this.#watch(method, handlers);
    const members = this.#members;
    members.streams.opened += 1;
    let queue: unknown[] = [];
    let end: TransportError | 'hang' | undefined;
    let closed = false;
    const close = (failure?: TransportError): void => {
      if (closed) return;
      closed = true;
      handlers.onClose(failure?.failure);
    };
    return {
      send: (request) => {
        const script = members.rangeStream(this.#note(method, request, 0));
        queue = [...script.messages];
        end = script.end;
      },
      halfClose: () => {},
      pull: () =>
        queueMicrotask(() => {
          if (closed) return;
          const message = queue.shift();
          if (message !== undefined)
            handlers.onMessage(method.response.decode(method.response.encode(message as Init<O>)));
          else if (end !== 'hang') close(end);
        }),
      cancel: () => {
        if (closed) return;
        members.streams.cancelled += 1;
        close(refusal(GrpcCode.CANCELLED, 'cancelled by the client'));
      },
    };
  }

  #watch<I, O>(method: MethodDescriptor<I, O>, handlers: StreamHandlers<O>): TransportStream<I> {
    const { watches, watchRevision } = this.#members;
    const queue: Init<WatchResponse>[] = [];
    let pulls = 0;
    const pump = (): void => {
      while (pulls > 0 && queue.length > 0) {
        pulls -= 1;
        handlers.onMessage(method.response.decode(method.response.encode(queue.shift() as Init<O>)));
      }
    };
    const watch: FakeWatch = {
      from: [],
      asked: 0,
      send: (response) => {
        queue.push(response);
        queueMicrotask(pump);
      },
    };
    watches.add(watch);
    return {
      send: (request) => {
        const { createRequest, progressRequest } = request as Init<WatchRequest>;
        if (progressRequest !== undefined) watch.asked += 1;
        if (createRequest === undefined) return;
        watch.from.push(createRequest.startRevision ?? 0n);
        watch.send({ header: { revision: watchRevision }, created: true });
      },
      halfClose: () => {},
      pull: () => {
        pulls += 1;
        queueMicrotask(pump);
      },
      cancel: () => {
        if (watches.delete(watch)) handlers.onClose(refusal(GrpcCode.CANCELLED, 'cancelled by the client').failure);
      },
    };
  }

  close(): void {
    this.state = 'closed';
    this.#members.watches.clear();
  }
}

/** A key-value pair on the wire. */
export function wireKv(key: string, value: string | Uint8Array = 'v', modRevision = 5n): KeyValue {
  const [keyBytes, valueBytes] = [new Uint8Array(Buffer.from(key)), new Uint8Array(Buffer.from(value))];
  return { key: keyBytes, value: valueBytes, createRevision: 2n, modRevision, version: 1n, lease: 0n };
}

/** Answers ranges from a sorted list of keys, all unchanged at `revision`. */
export function rangesOf(kvs: readonly KeyValue[], revision = 9n): (request: RangeRequest) => Init<RangeResponse> {
  return ({ key, rangeEnd, limit }) => {
    const inside = kvs.filter((kv) => {
      if (rangeEnd.length === 0) return Buffer.compare(kv.key, key) === 0;
      const unbounded = rangeEnd.length === 1 && rangeEnd[0] === 0;
      return Buffer.compare(kv.key, key) >= 0 && (unbounded || Buffer.compare(kv.key, rangeEnd) < 0);
    });
    const shown = limit > 0n ? inside.slice(0, Number(limit)) : inside;
    return { header: { revision }, kvs: shown, count: BigInt(inside.length), more: shown.length < inside.length };
  };
}

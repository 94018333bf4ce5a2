/**
 * One call of Watch: many watchers, whose responses share one stream.
 *
 * Invariants: what is sent of a watcher is, in this order, that it was created, its events by revision, that it is over.
 * A batch of events is sent whole or, if the reader is behind, not taken at all: the hub reads it from the store's
 * history again once there is room. So a reader that stops reading costs one batch, and what it has asked for while it
 * did not read: its requests are not read either until it does. Nobody else waits for it.
 *
 * Permissions are looked at when a watcher is made and never again, as with etcd. A refusal is an answer: the stream
 * goes on. It ends with the call; that the client has no more requests (half-close) does not end it.
 *
 * Source: etcd's API reference (`Watch`), and its servers 3.4 and 3.5 as observed.
 *
 * @module
 */
import {
  WatchCreateRequestFilterType as Filter,
  type WatchCreateRequest,
  type WatchRequest,
  type WatchResponse,
} from '../../protocol/generated/etcdserverpb.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import { GrpcCode } from '../../protocol/status.ts';
import { onAbort } from '../../support/signals.ts';
import type { ServingMember } from '../member/serving.ts';
import type { KvRecord } from '../mvcc/record.ts';
import type { KeyRange } from '../mvcc/store.ts';
import type { Watcher, WatchSink } from '../mvcc/watch.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import type { Outlet } from '../rpc/call.ts';
import type { ApiOptions } from './guard.ts';
import { headerOf, memberHeader } from './header.ts';
import { encodeEvents, encodeFragments, versionBefore } from './watch-encode.ts';
import type { WatchHeaders } from './watch-header.ts';
import { ProgressTicker } from './watch-progress.ts';

/** Id in answers that are about no watcher, or about all of them. */
const NO_ID = -1n;

/** What messages may have more than proposals, in bytes. */
const OVERHEAD_BYTES = 512 * 1024;

/** What a stream of watches stands on. */
export interface WatchStreamParts {
  readonly member: ServingMember;
  readonly options: ApiOptions;
  /** Shared by all streams of the member. */
  readonly headers: WatchHeaders;
  readonly out: Outlet<WatchResponse>;
  /** Fires when the call is over. */
  readonly signal: AbortSignal;
  /** Rejects with {@link RpcError} if the client may not make this request. */
  readonly check: (request: WatchRequest) => Promise<unknown>;
}

/** See the head of this file. */
export class WatchStream {
  readonly #parts: WatchStreamParts;
  readonly #subscriptions = new Map<bigint, Subscription>();
  readonly #ticker: ProgressTicker;
  #nextId = 0n;
  /** Resolves when the reader has room; there while it is behind. */
  #room: Promise<void> | undefined;

  constructor(parts: WatchStreamParts) {
    this.#parts = parts;
    this.#ticker = new ProgressTicker(parts.member, parts.options, () => this.#tick());
  }

  /** Whether the reader takes more. */
  get hasRoom(): boolean {
    return this.#room === undefined;
  }

  /** Serves the call to its end. */
  async run(requests: AsyncIterable<WatchRequest>): Promise<void> {
    const { signal } = this.#parts;
    try {
      for await (const request of requests) {
        await this.#handle(request);
        // What is answered must be read before more is asked.
        await this.#room;
      }
      await new Promise<void>((resolve) => void onAbort(signal, resolve));
    } finally {
      this.#ticker.stop();
      const { watches } = this.#parts.member.state;
      for (const { watcher } of this.#subscriptions.values()) if (watcher) watches.cancel(watcher);
      this.#subscriptions.clear();
    }
  }

  /** Sends events, if there is room. */
  deliver(subscription: Subscription, records: readonly KvRecord[], revision: number): boolean {
    if (this.#room) return false;
    const { member, options, headers } = this.#parts;
    const { compactRevision } = member.state.store;
    const previousOf = subscription.prevKv ? (record: KvRecord) => versionBefore(record, compactRevision) : undefined;
    const batch = { header: headers.at(revision), watchId: subscription.id, records, previousOf };
    const maxBytes = options.maxRequestBytes + OVERHEAD_BYTES;
    const messages = subscription.fragment ? encodeFragments(batch, maxBytes) : [encodeEvents(batch)];
    for (const message of messages) this.#send(message);
    return true;
  }

  /** Tells that a watcher is over, as what it needs is compacted. Its id stays taken until the client cancels it. */
  compacted(subscription: Subscription, compactRevision: number): void {
    const header = memberHeader(this.#parts.member);
    this.#send({ header, watchId: subscription.id, canceled: true, compactRevision: BigInt(compactRevision) });
  }

  async #handle({ createRequest, cancelRequest, progressRequest }: WatchRequest): Promise<void> {
    if (createRequest) await this.#create(createRequest);
    else if (cancelRequest) this.#cancel(cancelRequest.watchId);
    else if (progressRequest) this.#progress();
  }

  async #create(request: WatchCreateRequest): Promise<void> {
    const reason = (await this.#refusalOf(request)) ?? this.#unfit(request);
    // The call may have ended meanwhile.
    if (this.#parts.signal.aborted) return;
    const { member } = this.#parts;
    const header = headerOf(member);
    if (reason !== undefined) {
      this.#send({ header, watchId: NO_ID, created: true, canceled: true, cancelReason: reason });
      return;
    }
    const subscription = new Subscription(this, this.#takeId(request.watchId), request);
    this.#subscriptions.set(subscription.id, subscription);
    this.#send({ header, watchId: subscription.id, created: true });
    const range = rangeOf(request);
    const startRevision = Number(request.startRevision);
    const watcher = member.state.watches.watch({ range, startRevision, sink: subscription, wanted: wantedBy(request) });
    subscription.watcher = watcher;
    if (!watcher.upToDate) member.wakeWatches?.();
    if (subscription.progressNotify) this.#ticker.start();
  }

  /** Why the client may not watch, in the words of a client in Go, as etcd puts it there. */
  async #refusalOf(createRequest: WatchCreateRequest): Promise<string | undefined> {
    try {
      await this.#parts.check({ createRequest, cancelRequest: undefined, progressRequest: undefined });
      return undefined;
    } catch (error) {
      if (error instanceof RpcError) return goStatusText(error.refusal);
      throw error;
    }
  }

  #unfit(request: WatchCreateRequest): string | undefined {
    if (request.startRevision < 0n) return Refusals.Compacted.text;
    const { key, end } = rangeOf(request);
    if (end !== '' && end !== '\0' && key >= end) return 'mvcc: watcher range is empty';
    const taken = request.watchId !== 0n && this.#subscriptions.has(request.watchId);
    return taken ? 'mvcc: duplicate watch ID provided on the WatchStream' : undefined;
  }

  /** 0 asks for the next free one. */
  #takeId(wanted: bigint): bigint {
    if (wanted !== 0n) return wanted;
    while (this.#subscriptions.has(this.#nextId)) this.#nextId += 1n;
    const id = this.#nextId;
    this.#nextId += 1n;
    return id;
  }

  #cancel(id: bigint): void {
    const subscription = this.#subscriptions.get(id);
    if (!subscription) return;
    const { member } = this.#parts;
    this.#subscriptions.delete(id);
    if (subscription.watcher) member.state.watches.cancel(subscription.watcher);
    if (subscription.progressNotify && !this.#wantsTicks()) this.#ticker.stop();
    this.#send({ header: headerOf(member), watchId: id, canceled: true });
  }

  /** Without an answer if one of the watchers can't say yet that it knows everything, or there is none: as etcd. */
  #progress(): void {
    const { member } = this.#parts;
    if (this.#subscriptions.size === 0) return;
    for (const subscription of this.#subscriptions.values()) if (!subscription.isCurrent(member)) return;
    this.#send({ header: headerOf(member), watchId: NO_ID });
  }

  #tick(): void {
    const { member } = this.#parts;
    for (const subscription of this.#subscriptions.values()) {
      if (!subscription.progressNotify) continue;
      const { quiet } = subscription;
      subscription.quiet = true;
      // Who is behind in reading does not want to read more.
      if (quiet && this.hasRoom && subscription.isCurrent(member) && !subscription.isOver) {
        this.#send({ header: headerOf(member), watchId: subscription.id });
      }
    }
  }

  #wantsTicks(): boolean {
    for (const { progressNotify } of this.#subscriptions.values()) if (progressNotify) return true;
    return false;
  }

  #send(message: Parameters<Outlet<WatchResponse>['send']>[0]): void {
    const { out, member, signal } = this.#parts;
    if (out.send(message) || this.#room) return;
    this.#room = out.drained().then(() => {
      this.#room = undefined;
      if (!signal.aborted) member.wakeWatches?.();
    });
  }
}

/** One watcher of a stream. */
class Subscription implements WatchSink {
  readonly id: bigint;
  readonly prevKv: boolean;
  readonly fragment: boolean;
  readonly progressNotify: boolean;
  /** Whether it has had no event since the last tick. */
  quiet = true;
  /** What it is to the hub; undefined once it is over. */
  watcher: Watcher | undefined;
  /** Whether the hub has ended it. */
  isOver = false;
  readonly #stream: WatchStream;

  constructor(stream: WatchStream, id: bigint, { prevKv, fragment, progressNotify }: WatchCreateRequest) {
    this.#stream = stream;
    this.id = id;
    this.prevKv = prevKv;
    this.fragment = fragment;
    this.progressNotify = progressNotify;
  }

  offer(records: readonly KvRecord[], revision: number): boolean {
    const taken = this.#stream.deliver(this, records, revision);
    if (taken) this.quiet = false;
    return taken;
  }

  hasRoom(): boolean {
    return this.#stream.hasRoom;
  }

  compacted(compactRevision: number): void {
    this.isOver = true;
    this.watcher = undefined;
    this.#stream.compacted(this, compactRevision);
  }

  /** Whether nothing is to come of what happened so far; one that waits for the future can't say so. */
  isCurrent(member: ServingMember): boolean {
    const { watcher } = this;
    if (!watcher) return true;
    return watcher.upToDate && watcher.nextRevision <= member.state.store.revision + 1;
  }
}

function rangeOf({ key, rangeEnd }: WatchCreateRequest): KeyRange {
  return { key: key.length === 0 ? '\0' : toLatin1(key), end: toLatin1(rangeEnd) };
}

function wantedBy({ filters }: WatchCreateRequest): ((record: KvRecord) => boolean) | undefined {
  const noPut = filters.includes(Filter.NOPUT);
  const noDelete = filters.includes(Filter.NODELETE);
  return noPut || noDelete ? ({ isTombstone }) => !(isTombstone ? noDelete : noPut) : undefined;
}

const CODE_NAMES: ReadonlyMap<GrpcCode, string> = new Map(
  Object.entries(GrpcCode).map(([name, code]) => [code, name === 'CANCELLED' ? 'Canceled' : pascalCase(name)]),
);

function pascalCase(name: string): string {
  return name.toLowerCase().replace(/(?:^|_)(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** An error as a client in Go prints it. */
function goStatusText({ grpcCode, text }: Refusal): string {
  return `rpc error: code = ${CODE_NAMES.get(grpcCode)} desc = ${text}`;
}

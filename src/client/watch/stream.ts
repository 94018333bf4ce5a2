/**
 * One gRPC watch stream: many watchers told apart by the ids that the server gives them.
 *
 * What makes it work, all of it etcd's contract:
 * 1. The server answers the create requests of a stream in the order they were sent, each
 *    by exactly one response with `created` set: with the new id, or, refused, with
 *    `canceled` set too and the id -1. So creates are sent without waiting for each other,
 *    and the n-th such response belongs to the n-th request.
 * 2. Ids count up from 0 and are not used again, so what comes for an id that was
 *    cancelled can be told from everything else, and is dropped. A cancel of an id the
 *    server does not know gets no reply: nothing here waits for one.
 * 3. After a cancel because of compaction the server keeps the id until it is cancelled
 *    explicitly.
 *
 * A server that breaks the first rule (a gRPC proxy may answer a create that joins a known
 * range before an older one) is found out by the ids; the stream then reports `disordered`
 * and its owner opens another one with `serial`, where a create waits for the one before.
 *
 * A reply to a progress request speaks for the watchers that were there when the server made
 * it. It may come behind the `created` of a watcher that was not, since a server queues the
 * two in different places, and then says nothing about that watcher's history. So it counts
 * for a watcher only if it provably was made later: its revision is above the one that the
 * watcher was created at, or more replies have come than had been asked for by then.
 *
 * Messages are asked for one at a time. A stream made with `onDemand` asks only while its
 * owner wants more: then HTTP/2's flow control stops the server.
 *
 * @module
 */

import { Watch, type WatchRequest, type WatchResponse } from '../../protocol/generated/etcdserverpb.ts';
import type { CallOptions } from '../call-options.ts';
import { supports } from '../capabilities.ts';
import type { Caller, OpenStream } from '../connection/caller.ts';
import type { Member } from '../connection/member.ts';
import type { CallFailure } from '../transport/transport.ts';
import type { PendingCreate, ProgressSource, Subscription } from './subscription.ts';

/** Is told what happens on a stream. */
export interface WatchStreamOwner {
  created(subscription: Subscription, response: WatchResponse): void;
  /** A create was refused; the subscription is off the stream. */
  refused(subscription: Subscription, response: WatchResponse): void;
  /** Events, or progress of one watcher. */
  received(subscription: Subscription, response: WatchResponse): void;
  /** The server has ended one watcher; it is off the stream. */
  canceled(subscription: Subscription, response: WatchResponse): void;
  /** The server was asked, and says that everything up to this revision has been sent to this watcher. */
  progressed(subscription: Subscription, revision: bigint): void;
  /** The server answers out of order. The stream is closed. */
  disordered(): void;
  /** The stream has ended, other than by `close`. */
  broken(stream: WatchStream, failure: CallFailure | undefined): void;
  /** Whether to ask for another message. */
  wantsMore(): boolean;
}

export interface WatchStreamOptions extends Pick<CallOptions, 'requireLeader' | 'signal'> {
  /** Whether each create waits for the answer to the one before. */
  readonly serial: boolean;
  readonly avoid: ReadonlySet<Member>;
}

export class WatchStream implements ProgressSource {
  readonly #owner: WatchStreamOwner;
  readonly #serial: boolean;
  #open: OpenStream<WatchRequest> | undefined;
  readonly #unanswered = new Fifo<PendingCreate>();
  /** Only with `serial`: creates that were not sent yet. */
  readonly #unsent = new Fifo<PendingCreate>();
  readonly #byId = new Map<number, Subscription>();
  /** How many creates the server has granted: the id that comes next. */
  #granted = 0;
  /** Progress requests sent, and replies that came. Some requests are never answered. */
  #asked = 0;
  #replied = 0;
  #pulling = false;
  /** Set once the stream is over, in whatever way. */
  #over = false;
  #failure: CallFailure | undefined;

  private constructor(owner: WatchStreamOwner, serial: boolean) {
    this.#owner = owner;
    this.#serial = serial;
  }

  /**
   * Opens a stream. It may be over already when it is returned: look at `over`.
   *
   * @throws EtcdError when there is no member to open it on.
   */
  static async open(caller: Caller, options: WatchStreamOptions, owner: WatchStreamOwner): Promise<WatchStream> {
    const stream = new WatchStream(owner, options.serial);
    const { requireLeader, signal, avoid } = options;
    stream.#open = await caller.open(
      Watch.watch,
      { kind: 'read' },
      { requireLeader, signal, avoid },
      {
        onMessage: (message) => stream.#receive(message),
        onClose: (failure) => stream.#closed(failure),
      },
    );
    stream.wake();
    return stream;
  }

  get member(): Member {
    return (this.#open as OpenStream<WatchRequest>).member;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Why it is over, if a failure ended it. */
  get failure(): CallFailure | undefined {
    return this.#failure;
  }

  /** Starts a watcher. */
  create(subscription: Subscription): void {
    const pending: PendingCreate = { subscription };
    subscription.pending = pending;
    if (this.#serial && this.#unanswered.size > 0) this.#unsent.push(pending);
    else this.#sendCreate(pending, subscription);
  }

  #sendCreate(pending: PendingCreate, subscription: Subscription): void {
    this.#unanswered.push(pending);
    this.#open?.send({ createRequest: subscription.createRequest() });
  }

  /** Ends a watcher at the server, or will as soon as its id is known. */
  remove(subscription: Subscription): void {
    const { pending, watchId } = subscription;
    if (pending !== undefined) pending.subscription = undefined;
    if (watchId >= 0) {
      this.#byId.delete(watchId);
      this.#cancel(watchId);
    }
    subscription.leftStream();
  }

  #cancel(watchId: number): void {
    this.#open?.send({ cancelRequest: { watchId: BigInt(watchId) } });
  }

  /** Whether the server answers a progress request only after the events before it. */
  get ordersProgress(): boolean {
    return supports(this.member.facts.version, 'orderedProgress');
  }

  /** Asks the server to say how far it is. It may not answer. Does nothing where the answer could not be trusted. */
  requestProgress(): void {
    if (!this.ordersProgress) return;
    this.#asked += 1;
    this.#open?.send({ progressRequest: {} });
  }

  #progressed(revision: bigint): void {
    if (!this.ordersProgress) return;
    this.#replied += 1;
    for (const subscription of this.#byId.values()) {
      if (revision > subscription.streamRevision || this.#replied > subscription.asksBefore) {
        this.#owner.progressed(subscription, revision);
      }
    }
  }

  /** Asks for the next message, if the owner wants one and none is on its way. */
  wake(): void {
    if (this.#over || this.#pulling || !this.#owner.wantsMore()) return;
    this.#pulling = true;
    this.#open?.pull();
  }

  /** Ends the stream, and nothing more is reported of it. */
  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#byId.clear();
    this.#open?.cancel();
  }

  #closed(failure: CallFailure | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#failure = failure;
    this.#byId.clear();
    this.#owner.broken(this, failure);
  }

  #receive(response: WatchResponse): void {
    this.#pulling = false;
    if (this.#over) return;
    this.#dispatch(response);
    this.wake();
  }

  #dispatch(response: WatchResponse): void {
    if (response.created) {
      this.#answered(response);
      return;
    }
    const id = Number(response.watchId);
    const subscription = this.#byId.get(id);
    if (subscription !== undefined) {
      if (response.canceled) this.#endedByServer(id, subscription, response);
      else this.#owner.received(subscription, response);
    } else if (id === -1 && !response.canceled) {
      this.#progressed(response.header?.revision ?? 0n);
    }
  }

  /** The answer to the oldest create request that has none. */
  #answered(response: WatchResponse): void {
    const pending = this.#unanswered.shift();
    if (pending === undefined) return;
    const { subscription } = pending;
    if (response.canceled) {
      if (subscription !== undefined) {
        subscription.leftStream();
        this.#owner.refused(subscription, response);
      }
    } else {
      const id = Number(response.watchId);
      // While only one create is open, its answer can be no other's, whatever the id.
      if (id !== this.#granted && this.#unanswered.size > 0) {
        this.close();
        this.#owner.disordered();
        return;
      }
      this.#granted += 1;
      if (subscription === undefined) {
        this.#cancel(id);
      } else {
        this.#byId.set(id, subscription);
        subscription.watchId = id;
        subscription.pending = undefined;
        subscription.streamRevision = response.header?.revision ?? 0n;
        subscription.asksBefore = this.#asked;
        this.#owner.created(subscription, response);
      }
    }
    this.#sendUnsent();
  }

  #sendUnsent(): void {
    while (!this.#over && this.#unanswered.size === 0) {
      const pending = this.#unsent.shift();
      if (pending === undefined) return;
      if (pending.subscription !== undefined) this.#sendCreate(pending, pending.subscription);
    }
  }

  #endedByServer(id: number, subscription: Subscription, response: WatchResponse): void {
    this.#byId.delete(id);
    if (response.compactRevision !== 0n) this.#cancel(id);
    subscription.leftStream();
    this.#owner.canceled(subscription, response);
  }
}

/** A queue whose ends are both cheap. */
class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    }
    return item;
  }
}

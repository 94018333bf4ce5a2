/**
 * The session: a lease that is kept alive, and everything that stands on it.
 *
 * A recipe's keys hang on its session's lease, so they go when the process does. The
 * session knows, by a monotonic clock, until when that lease is certainly its own; when
 * that time is over, or the server says so sooner, it is lost, and with it everything
 * built on it: waiters reject, signals fire, guards fail. A lost session stays lost. To go
 * on is to open another one, visibly; `supervise` (supervise.ts) does that.
 *
 * @module
 */

import { type CallOptions, type Clock, type Etcd, type LeaseId, LeaseLostError, type LiveLease } from '../src/index.ts';
import { patiently } from './patience.ts';

/** How to open a session. */
export interface SessionOptions extends CallOptions {
  /**
   * How long the session outlives its process, in seconds, and so how long others wait for
   * what it held. Default 15. The server raises it to its minimum, 2 s by default.
   */
  readonly ttlSeconds?: number | undefined;
  /** Who this is, for people who look at the keys. Default: host and process id. */
  readonly owner?: string | undefined;
}

/** Something that works under a session and is to be stopped before the session closes. */
export interface SessionUser {
  /** Stops, lets what runs under it come to an end, and takes its keys away; a rejection is left to the lease's end. */
  release(): Promise<void>;
}

const DEFAULT_TTL_SECONDS = 15;

/** How long a close waits for what runs under the session to let go. */
const RELEASE_TIMEOUT_MS = 5_000;

/**
 * A lease with all that stands on it.
 *
 * @example
 * ```ts
 * await using session = await Session.open(etcd, { ttlSeconds: 15 });
 * await using lock = await new Mutex(session, 'orders').acquire();
 * ```
 */
export class Session implements AsyncDisposable {
  /** The client that it was opened with. */
  readonly etcd: Etcd;
  /** The lease that all its keys hang on. */
  readonly lease: LiveLease;
  /** Who it is, as given; undefined for host and process id. */
  readonly owner: string | undefined;
  readonly #users = new Set<SessionUser>();
  #closing: Promise<void> | undefined;

  private constructor(etcd: Etcd, lease: LiveLease, owner: string | undefined) {
    this.etcd = etcd;
    this.lease = lease;
    this.owner = owner;
  }

  /**
   * Grants the lease, in one round trip, and starts to keep it alive.
   *
   * @throws InvalidArgumentError for a `ttlSeconds` that is no whole number of at least 1; AbortError;
   * EtcdError when nobody has answered by the deadline: a lease that was granted all the same runs out.
   */
  static async open(etcd: Etcd, options: SessionOptions = {}): Promise<Session> {
    const { ttlSeconds = DEFAULT_TTL_SECONDS, owner, ...call } = options;
    return new Session(etcd, await etcd.lease({ ttlSeconds, ...call }), owner);
  }

  /**
   * Goes on with the lease of a session whose process or client has ended without closing it,
   * and so with the keys that hang on it. Two sessions on one lease at the same time cannot be
   * told apart by the store: what one of them holds, the other holds too.
   *
   * @throws EtcdError `lease-not-found` when the lease has run out meanwhile.
   */
  static async resume(etcd: Etcd, id: LeaseId, options: Omit<SessionOptions, 'ttlSeconds'> = {}): Promise<Session> {
    const { owner, ...call } = options;
    return new Session(etcd, await etcd.leases.keepAlive(id, call), owner);
  }

  /** The lease's id. */
  get id(): LeaseId {
    return this.lease.id;
  }

  /** Fires, before the server can let the lease run out, when the session is lost or closed. */
  get signal(): AbortSignal {
    return this.lease.signal;
  }

  /** Whether the session is certainly still ours, by the clock, now. */
  get alive(): boolean {
    return this.#closing === undefined && this.lease.alive;
  }

  /** How long that is certain without another keepalive, in milliseconds. */
  remainingMs(): number {
    return this.lease.remainingMs();
  }

  /** @throws LeaseLostError when the session is lost or closed. */
  assertAlive(): void {
    this.lease.assertAlive();
    if (this.#closing !== undefined) throw new LeaseLostError(this.id, 'revoked');
  }

  /** The client's clock. */
  get clock(): Clock {
    return this.etcd.clock;
  }

  /** Has something stopped before the session closes. Returns what takes it off again. */
  use(user: SessionUser): () => void {
    this.assertAlive();
    this.#users.add(user);
    return () => this.#users.delete(user);
  }

  /**
   * Closes the session in order: what runs under it stops and takes its keys away, then
   * the lease is revoked. Does what it can in five seconds; what is left then goes with the
   * lease. Can be called twice.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const users = [...this.#users];
    this.#users.clear();
    if (this.lease.alive && users.length > 0) {
      const releases = Promise.allSettled(users.map((user) => user.release()));
      await patiently(this.clock, releases, RELEASE_TIMEOUT_MS);
    }
    await this.lease[Symbol.asyncDispose]();
  }

  /** Closes the session; see {@link Session.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

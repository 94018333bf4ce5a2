/** What strikes at an await point: the faults, and the gate in front of etcd that lets one strike at one message. */

import { type Etcd, EtcdError, type KeyValue, type LeaseId } from '../../src/index.ts';
import { LeaseGrantRequest, WatchRequest } from '../../src/protocol/generated/etcdserverpb.ts';
import type { ClientMessage, Verdict } from '../support/grpc-fault-proxy.ts';
import { sendUnary } from '../support/grpc-send.ts';
import type { SteppableClock } from '../support/steppable-clock.ts';

/**
 * - `reply-lost`: etcd does what it is asked to; its reply is lost.
 * - `cut`: the connection breaks before the message has reached etcd.
 * - `late`: the same, but etcd gets the message all the same: later, when the actor has sent it again and gone on, as when
 *   the first was in the sockets of a member that was stopped. Of streams, the same as `cut`.
 * - `lease-revoked`: while the message is held up, the actor's leases are revoked behind its back.
 * - `key-deleted`: while it is held up, an operator deletes the actor's keys.
 * - `compacted`: while it is held up, others write, and the store is compacted up to the newest revision.
 * - `compacted-and-cut`: the same, and the connection breaks: watches resume where there is no history any more.
 * - `stalled`: while it is held up, the actor's event loop is stuck beyond the time to live; its lease still lives.
 * - `stalled-and-revoked`: the same, and its lease is gone, as it would be.
 */
export const FAULTS = [
  'reply-lost',
  'cut',
  'late',
  'lease-revoked',
  'key-deleted',
  'compacted',
  'compacted-and-cut',
  'stalled',
  'stalled-and-revoked',
] as const;

export type Fault = (typeof FAULTS)[number];

/** Which fault, and where. */
export interface Strike {
  readonly point: string;
  readonly fault: Fault;
}

/** What a gate needs to strike. */
export interface GateOptions {
  readonly strike: Strike | undefined;
  readonly name: string;
  /** etcd's `host:port`. */
  readonly target: string;
  /** A client that is not struck. */
  readonly operator: Etcd;
  readonly clock: SteppableClock;
  /** How far a stall makes the actor's clock jump, in milliseconds. */
  readonly stallMs: number;
  readonly mine: ((kv: KeyValue<string>) => boolean) | undefined;
}

/** By how many further messages a late one is late: the repetition of it, and whatever the actor does next. */
const LATE_BY = 3;

/** Names the messages of one actor, records them, and strikes at one of them. */
export class Gate {
  /** The points so far, since it was armed. */
  readonly points: string[] = [];
  struck = false;
  /** Why the strike failed, if it did. */
  failure: unknown;
  readonly #options: GateOptions;
  readonly #arrived = new Map<string, number>();
  readonly #passed = new Map<string, number>();
  readonly #leases = new Set<LeaseId>();
  /** A message that etcd is yet to get, and after how many further ones. */
  #late: { readonly message: ClientMessage; after: number } | undefined;
  readonly #onPoint: () => void;
  #armed = false;

  constructor(options: GateOptions, onPoint: () => void) {
    this.#options = options;
    this.#onPoint = onPoint;
  }

  /** From now on messages count. */
  arm(): void {
    this.#armed = true;
  }

  disarm(): void {
    this.#armed = false;
  }

  /** How many messages of a kind have gone on, or been cut off, since it was armed. */
  passed(kind: string): number {
    return this.#passed.get(kind) ?? 0;
  }

  /** For the proxy. Never rejects. */
  readonly pass = async (message: ClientMessage): Promise<Verdict> => {
    const kind = this.#kindOf(message);
    if (!this.#armed || kind === undefined) return 'forward';
    const count = raise(this.#arrived, kind);
    const point = `${kind}#${count}`;
    if (this.#late !== undefined && !isStream(message) && --this.#late.after === 0) await this.deliverLate();
    this.points.push(point);
    const verdict =
      this.#options.strike?.point === point ? await this.#struckBy(this.#options.strike, message) : 'forward';
    raise(this.#passed, kind);
    this.#onPoint();
    return verdict;
  };

  /** Delivers what is late. For the bed too, when the actor has ended. Never rejects. */
  async deliverLate(): Promise<void> {
    const late = this.#late;
    if (late === undefined) return;
    this.#late = undefined;
    try {
      await sendUnary(this.#options.target, late.message.call.path, late.message.payload);
    } catch (error) {
      this.failure = error;
    }
  }

  async #struckBy({ fault }: Strike, message: ClientMessage): Promise<Verdict> {
    this.struck = true;
    if (fault === 'late' && !isStream(message)) this.#late = { message, after: LATE_BY };
    try {
      return await this.#strike(fault);
    } catch (error) {
      this.failure = error;
      return 'forward';
    }
  }

  async #strike(fault: Fault): Promise<Verdict> {
    const { clock, stallMs } = this.#options;
    if (fault === 'reply-lost') return 'swallow';
    if (fault === 'lease-revoked' || fault === 'stalled-and-revoked') await this.#revokeLeases();
    if (fault === 'key-deleted') await this.#deleteKeys();
    if (fault === 'compacted' || fault === 'compacted-and-cut') await this.#compact();
    if (fault === 'stalled' || fault === 'stalled-and-revoked') clock.step(stallMs);
    return fault === 'cut' || fault === 'late' || fault === 'compacted-and-cut' ? 'cut' : 'forward';
  }

  async #revokeLeases(): Promise<void> {
    const { operator } = this.#options;
    for (const id of this.#leases) {
      await operator.leases.revoke(id).catch((error: unknown) => {
        if (!(error instanceof EtcdError && error.code === 'lease-not-found')) throw error;
      });
    }
  }

  async #deleteKeys(): Promise<void> {
    const { operator, name, mine = this.#isMine } = this.#options;
    const { kvs } = await operator.range({ prefix: name });
    for (const kv of kvs) if (mine(kv)) await operator.delete(kv.key);
  }

  async #compact(): Promise<void> {
    const { operator, name } = this.#options;
    for (let writes = 0; writes < 2; writes++) await operator.put(`${name}!other`, String(writes));
    await operator.compact(await operator.revision()).catch((error: unknown) => {
      // Another run was quicker, which comes to the same.
      if (!(error instanceof EtcdError && error.code === 'compacted')) throw error;
    });
  }

  readonly #isMine = (kv: KeyValue<string>): boolean => kv.lease !== undefined && this.#leases.has(kv.lease);

  /** What a message is; undefined for what no program waits for (the client's own looks at a member). */
  #kindOf({ call, payload }: ClientMessage): string | undefined {
    const [, service, method] = /^\/etcdserverpb\.(KV|Lease|Watch)\/(\w+)$/.exec(call.path) ?? [];
    if (method === 'LeaseGrant') this.#leases.add(LeaseGrantRequest.decode(payload).ID as LeaseId);
    if (service !== 'Watch') return method;
    const request = WatchRequest.decode(payload);
    if (request.createRequest !== undefined) return 'Watch.create';
    return request.cancelRequest !== undefined ? 'Watch.cancel' : 'Watch.progress';
  }
}

function isStream({ call }: ClientMessage): boolean {
  return /\/(Watch|LeaseKeepAlive)$/.test(call.path);
}

function raise(counts: Map<string, number>, kind: string): number {
  const count = (counts.get(kind) ?? 0) + 1;
  counts.set(kind, count);
  return count;
}

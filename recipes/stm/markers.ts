/**
 * Markers: what makes the outcome of a commit certain when its answer is lost.
 *
 * Every commit that writes also writes a marker, a key of this client's own, and demands
 * that nobody has written the marker since this client last did. From that follows:
 *
 * 1. One request is applied at most once, however often it arrives: the first time changes
 *    the marker's revision.
 * 2. After a lost answer, the marker tells: it holds the commit's nonce, or it does not.
 * 3. Where it does not, it is written once more (voided). From then on the request, should
 *    it still be on its way, can never be applied.
 *
 * Markers hang on a lease that is never renewed. It is used for its first minute, then
 * another is granted; so nothing has to be deleted, no timer and no stream is kept, and a
 * client that is idle or gone leaves nothing behind after two minutes. There are as many
 * markers as there were commits under way at once. They cost one small write in the commit,
 * and a grant a minute.
 *
 * A lease id is drawn from 63 random bits and never used again. When the lease is gone, a
 * straggling request fails for want of it, or of the marker that went with it.
 *
 * Source: the sequence number of an idempotent producer (Kafka, KIP-98), with etcd's own
 * revision in place of the number.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import {
  type Compare,
  type Etcd,
  formatId,
  type KeyValue,
  type LeaseId,
  type Op,
  type Revision,
} from '../../src/index.ts';
import { mayPass } from '../contender.ts';

/** Where markers are kept unless the options say otherwise. */
export const MARKER_PREFIX = 'etcdkit-stm/';

/** How long markers outlive the client, at most. */
const TTL_SECONDS = 120;

/** How long new commits use a lease: what is left of it then is for finding out about them. */
const USE_MS = 60_000;

/** What became of a commit whose answer was lost. */
export type Fate = { readonly fate: 'applied'; readonly revision: Revision } | { readonly fate: 'void' | 'unknown' };

/** One marker, for one commit at a time. */
export class Marker {
  readonly key: string;
  readonly lease: LeaseId;
  /** The revision that last wrote it; 0 when it has not been written. */
  #revision: Revision | 0n = 0n;
  #nonce = '';

  constructor(key: string, lease: LeaseId) {
    this.key = key;
    this.lease = lease;
  }

  /** Begins a commit: what it demands, and what it writes. */
  begin(etcd: Etcd): { readonly condition: Compare; readonly write: Op<unknown> } {
    this.#nonce = randomBytes(6).toString('hex');
    return { condition: this.#unwritten(etcd), write: etcd.op.put(this.key, this.#nonce, { lease: this.lease }) };
  }

  /** The commit was applied at a revision. */
  written(revision: Revision): void {
    this.#revision = revision;
  }

  /** Whether it is still as this client left it; if not, somebody else has deleted or written it. */
  isOurs(kv: KeyValue<unknown> | undefined): boolean {
    return (kv?.modRevision ?? 0n) === this.#revision;
  }

  /**
   * Finds out what became of the commit, and makes sure that it stays so: one round trip.
   * Can be called again when it failed.
   */
  async resolve(etcd: Etcd, timeoutMs: number): Promise<Fate> {
    const voided = `void ${this.#nonce}`;
    try {
      const done = await etcd.txn(
        {
          if: [this.#unwritten(etcd)],
          then: [etcd.op.put(this.key, voided, { lease: this.lease })],
          else: [etcd.op.get(this.key)],
        },
        { timeoutMs },
      );
      if (done.succeeded) {
        this.#revision = done.revision;
        return { fate: 'void' };
      }
      const [kv] = done.results;
      if (kv?.value !== this.#nonce && kv?.value !== voided) return { fate: 'unknown' };
      this.#revision = kv.modRevision;
      return kv.value === voided ? { fate: 'void' } : { fate: 'applied', revision: kv.modRevision };
    } catch (error) {
      if (mayPass(error)) throw error;
      return { fate: 'unknown' };
    }
  }

  /** Finds out what became of a commit that was answered, so that it can't be applied any more: one round trip. */
  async look(etcd: Etcd): Promise<Fate> {
    const kv = await etcd.get(this.key).catch(() => 'unknown' as const);
    if (kv === 'unknown') return { fate: 'unknown' };
    if (this.isOurs(kv)) return { fate: 'void' };
    if (kv?.value !== this.#nonce) return { fate: 'unknown' };
    this.#revision = kv.modRevision;
    return { fate: 'applied', revision: kv.modRevision };
  }

  #unwritten(etcd: Etcd): Compare {
    return etcd.key(this.key).modRevision.equals(this.#revision);
  }
}

interface Generation {
  readonly lease: LeaseId;
  /** By the client's clock. */
  readonly usableUntil: number;
  readonly prefix: string;
  readonly free: Marker[];
  made: number;
}

/** The markers of one client below one prefix. */
export class Markers {
  static readonly #all = new WeakMap<Etcd, Map<string, Markers>>();
  readonly #etcd: Etcd;
  readonly #prefix: string;
  #generation: Generation | undefined;
  #granting: Promise<Generation> | undefined;

  private constructor(etcd: Etcd, prefix: string) {
    this.#etcd = etcd;
    this.#prefix = prefix;
  }

  /** Those that all transactions of a client share. */
  static of(etcd: Etcd, prefix: string): Markers {
    const byPrefix = Markers.#all.get(etcd) ?? new Map<string, Markers>();
    Markers.#all.set(etcd, byPrefix);
    const markers = byPrefix.get(prefix) ?? new Markers(etcd, prefix);
    byPrefix.set(prefix, markers);
    return markers;
  }

  /** Takes a marker that no other commit uses; once a minute this costs a round trip. @throws EtcdError */
  async take(): Promise<Marker> {
    let generation = this.#generation;
    if (generation === undefined || this.#etcd.clock.now() >= generation.usableUntil) {
      this.#granting ??= this.#grant().finally(() => {
        this.#granting = undefined;
      });
      generation = await this.#granting;
    }
    const { free, prefix, lease } = generation;
    return free.pop() ?? new Marker(`${prefix}-${generation.made++}`, lease);
  }

  /** Gives back a marker whose commit is certain to have been applied, or never to be. */
  giveBack(marker: Marker): void {
    if (this.#generation?.lease === marker.lease) this.#generation.free.push(marker);
  }

  /** Uses a lease no more: the server does not know it. */
  forget(lease: LeaseId): void {
    if (this.#generation?.lease === lease) this.#generation = undefined;
  }

  async #grant(): Promise<Generation> {
    const usableUntil = this.#etcd.clock.now() + USE_MS;
    const { id } = await this.#etcd.leases.grant({ ttlSeconds: TTL_SECONDS });
    this.#generation = { lease: id, usableUntil, prefix: `${this.#prefix}${formatId(id)}`, free: [], made: 0 };
    return this.#generation;
  }
}

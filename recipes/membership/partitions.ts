/**
 * Partitions: work that is divided among the members of a group, each part with one owner.
 *
 * Keys: the members' (see membership.ts), and `<group>/claims/<partition>/<lease>-<nonce>`
 * for each partition that is owned, its value the owner's id. A claim is made by one
 * transaction, whose conditions are that nobody claims the partition and that the claimant
 * is still a member; so at any revision a partition has one owner at most. Its create
 * revision is the fencing token.
 *
 * How it comes about: every member follows the group, and works out by the same rule
 * (balance.ts) who is to have what. Who has too much stops its work there, waits for it, and
 * gives the claim up; only then does the one who is to have it claim it. So a member that
 * joins or leaves moves as few partitions as there have to be, and nothing else stops.
 *
 * Round trips: claim 1, give up 1. A change of the members wakes them all, since all may
 * have to act; a transaction is sent only for what one is to have oneself.
 *
 * Guaranteed: one owner at a time, and what goes through the claim's `guard` or `kv` is done
 * by the owner or not at all. Not guaranteed: that every partition always has an owner;
 * between one and the next there is a gap, after a crash as long as the lease.
 *
 * Good for hundreds of partitions: every member follows all claims, and recomputes at every
 * change. On one machine with two cores and etcd 3.5 the first member claimed 64 partitions
 * in 0.2 s and 512 in 2.6 s; a second one then had its half in 0.5 and 1.9 s.
 *
 * Source: kazoo's `SetPartitioner`, which stops all work at every change of the group; the
 * incremental hand-over is that of Kafka's cooperative rebalancing (KIP-429).
 *
 * @module
 */

import { type CallOptions, InvalidArgumentError, type KeyValue, type Revision } from '../../src/index.ts';
import { doing } from '../../src/telemetry/recipes.ts';
import { Contender, mayPass } from '../contender.ts';
import { FencedKv } from '../fenced-kv.ts';
import { following } from '../following.ts';
import { Held } from '../held.ts';
import { recipePrefix } from '../names.ts';
import { elapsed } from '../patience.ts';
import type { Session } from '../session.ts';
import { expectMany, pause, throwIfFired } from '../waiting.ts';
import { balance } from './balance.ts';
import { membersOf, membersPrefix, placeOf } from './group.ts';
import type { Member } from './member.ts';
import { Membership } from './membership.ts';

/** What is divided. */
export interface PartitionsOptions {
  /** The names of the partitions, or how many there are (`0`, `1`, …). All members must say the same. */
  readonly partitions: number | readonly string[];
}

/** How to take part. */
export interface TakePartOptions {
  /** Who this is; see {@link Membership.join}. Default: one that is unique. */
  readonly id?: string | undefined;
  /** Ends taking part. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How long the work on a partition may take to stop before its claim is given up all the
   * same, in milliseconds. Default 30 000.
   */
  readonly stopTimeoutMs?: number | undefined;
}

/** Who owns a partition. */
export interface PartitionOwner {
  readonly partition: string;
  /** The owner's id. */
  readonly owner: string;
  /** The fencing token: grows from owner to owner. */
  readonly token: Revision;
}

/** A partition that is owned; its token fences what is done with it. */
export class PartitionClaim extends Held {
  readonly partition: string;
  /** The store, for as long as this is owned; see {@link FencedKv}. */
  readonly kv: FencedKv<string, string | Uint8Array>;

  /** Internal: made by {@link Partitions}. */
  constructor(partition: string, contender: Contender) {
    super(`the partition ${partition}`, contender);
    this.partition = partition;
    this.kv = new FencedKv(this, contender.session.etcd);
  }
}

/** The work on one partition: it ends when the signal fires, and has the claim until then. */
export type PartitionWork = (claim: PartitionClaim, signal: AbortSignal) => Promise<void>;

/** How many claims are made at once. */
const CLAIMS_AT_ONCE = 16;
const STOP_TIMEOUT_MS = 30_000;

/**
 * Partitions that many sessions divide among them, by name.
 *
 * @example
 * ```ts
 * const partitions = new Partitions(session, 'ingest', { partitions: 16 });
 * await partitions.run(async (claim, signal) => {
 *   while (!signal.aborted) await claim.kv.put(`ingest/offset/${claim.partition}`, await ingest(claim.partition));
 * }, { signal });
 * ```
 */
export class Partitions {
  readonly name: string;
  readonly partitions: readonly string[];
  readonly #session: Session;
  readonly #claims: string;

  /** @throws InvalidArgumentError for an empty name, no partitions, or one that is named twice. */
  constructor(session: Session, name: string, { partitions }: PartitionsOptions) {
    this.#session = session;
    this.name = name;
    this.#claims = claimsPrefix(name);
    this.partitions = typeof partitions === 'number' ? numbered(partitions) : [...partitions];
    const distinct = new Set(this.partitions);
    if (distinct.size === 0 || distinct.size !== this.partitions.length || distinct.has('')) {
      throw new InvalidArgumentError('the partitions must be one or more different names that are not empty');
    }
  }

  /** Who owns what, in the order of the partitions; what nobody owns is not in it. One round trip. */
  async owners(options: CallOptions = {}): Promise<PartitionOwner[]> {
    const { kvs } = await this.#session.etcd.range({ prefix: this.#claims }, options);
    const owners = ownersOf(kvs, this.#claims);
    return this.partitions.flatMap((partition) => {
      const kv = owners.get(partition);
      return kv === undefined ? [] : [{ partition, owner: kv.value, token: kv.createRevision }];
    });
  }

  /**
   * Takes part: joins the group, and does the work on each partition it is to have, for as
   * long as it is to have it. Work that returns early keeps its partition. When it ends,
   * for whatever reason, all work has stopped, and nothing of it is left in the store, but
   * for a claim that was under way when it was called off: that is cleared away when it comes.
   *
   * @throws AbortError when `signal` fires; LostError when the session is lost; what `work`
   * throws while it has its partition.
   */
  async run(work: PartitionWork, options: TakePartOptions = {}): Promise<never> {
    const { id, signal, stopTimeoutMs = STOP_TIMEOUT_MS } = options;
    if (!(stopTimeoutMs > 0)) throw new InvalidArgumentError(`stopTimeoutMs ${stopTimeoutMs} is not a positive number`);
    const membership = new Membership(this.#session, this.name);
    const member = await membership.join({ id, signal });
    const share = new Share(this.#session, this.name, this.partitions, member, work, stopTimeoutMs);
    try {
      await share.follow(signal);
    } catch (error) {
      await share.close();
      throwIfFired(signal);
      throw error;
    }
    throw new TypeError('following a group does not end');
  }
}

/** What one member has. */
class Share {
  readonly #session: Session;
  readonly #name: string;
  readonly #root: string;
  readonly #members: string;
  readonly #claims: string;
  readonly #partitions: readonly string[];
  readonly #member: Member<string>;
  readonly #work: PartitionWork;
  readonly #stopTimeoutMs: number;
  readonly #stop = new AbortController();
  /** From before a claim is sent until it has been given up: what stops it, and when that is done. */
  readonly #mine = new Map<string, { readonly stop: AbortController; readonly done: Promise<void> }>();
  /** The last state that was acted on. */
  #state: readonly KeyValue<string>[] = [];
  /** What was to be claimed while it was under way: to be looked at again when that is done. */
  readonly #again = new Set<string>();
  /** What is to be claimed. */
  #wanted: string[] = [];
  #claiming = 0;

  constructor(
    session: Session,
    name: string,
    partitions: readonly string[],
    member: Member<string>,
    work: PartitionWork,
    stopTimeoutMs: number,
  ) {
    this.#session = session;
    this.#name = name;
    this.#root = recipePrefix(name);
    this.#members = membersPrefix(name);
    this.#claims = claimsPrefix(name);
    this.#partitions = partitions;
    this.#member = member;
    this.#work = work;
    this.#stopTimeoutMs = stopTimeoutMs;
    expectMany(this.#stop.signal);
  }

  /** Acts on every state of the group. Ends by throwing. */
  async follow(signal: AbortSignal | undefined): Promise<void> {
    const ends = [signal, this.#member.signal].filter((each) => each !== undefined);
    const abort = (event: Event): void => this.#stop.abort((event.target as AbortSignal).reason);
    for (const end of ends) end.addEventListener('abort', abort, { once: true });
    try {
      for (const end of ends) end.throwIfAborted();
      for await (const { kvs } of following(this.#session.etcd, this.#root, this.#stop.signal)) this.#act(kvs);
    } catch (error) {
      throw this.#stop.signal.aborted ? this.#stop.signal.reason : error;
    } finally {
      for (const end of ends) end.removeEventListener('abort', abort);
    }
  }

  /** Stops all work, leaves the group, so that others may have what comes free, and gives the claims up. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#wanted = [];
    for (const { stop } of this.#mine.values()) stop.abort();
    await this.#member.leave().catch(() => {});
    await Promise.all([...this.#mine.values()].map(({ done }) => done));
  }

  #act(kvs: readonly KeyValue<string>[]): void {
    this.#state = kvs;
    // An id can have had two owners, one after the other; what tells them apart is the lease.
    const members = membersOf(kvs, this.#members).map(({ id, lease }) => `${lease} ${id}`);
    const claims = ownersOf(kvs, this.#claims);
    const owners = new Map([...claims].map(([partition, { lease, value }]) => [partition, `${lease} ${value}`]));
    const me = `${this.#session.id} ${this.#member.id}`;
    // Somebody has deleted our key, and it is being put again: until then others leave alone what we have.
    if (!members.includes(me)) return;
    const plan = balance(members, this.#partitions, owners);
    for (const [partition, { stop }] of this.#mine) {
      if (owners.get(partition) === me && plan.get(partition) !== me) stop.abort();
    }
    this.#wanted = this.#partitions.filter((partition) => plan.get(partition) === me && !owners.has(partition));
    this.#claimSome();
  }

  #claimSome(): void {
    while (this.#claiming < CLAIMS_AT_ONCE && !this.#stop.signal.aborted) {
      const partition = this.#wanted.shift();
      if (partition === undefined) return;
      if (this.#mine.has(partition)) this.#again.add(partition);
      else this.#take(partition);
    }
  }

  #take(partition: string): void {
    const stop = new AbortController();
    this.#claiming++;
    const done = this.#own(partition, stop.signal)
      .catch((error: unknown) => {
        this.#stop.abort(error);
        return false;
      })
      .then((owned) => {
        this.#mine.delete(partition);
        // Who was refused is told a state from after the end of what was the reason (see following.ts), unless that has
        // come already, in the meantime. Who has given up may have heard of it already, too.
        const again = this.#again.delete(partition) || owned;
        if (again && !this.#stop.signal.aborted) this.#act(this.#state);
      });
    this.#mine.set(partition, { stop, done });
  }

  /** Claims a partition, works on it, and gives it up. */
  async #own(partition: string, stop: AbortSignal): Promise<boolean> {
    let contender: Contender | undefined;
    try {
      const which = { recipe: 'Partitions', name: this.#name, verb: 'claim' };
      contender = await doing(this.#session.etcd, which, () => this.#claim(partition));
    } finally {
      this.#claiming--;
      this.#claimSome();
    }
    if (contender === undefined) return false;
    const claim = new PartitionClaim(partition, contender);
    try {
      await this.#workOn(claim, stop);
    } finally {
      await claim[Symbol.asyncDispose]();
    }
    return true;
  }

  /** One try; while the cluster cannot be reached, one try after another. */
  async #claim(partition: string): Promise<Contender | undefined> {
    const { etcd } = this.#session;
    const prefix = `${this.#claims}${recipePrefix(partition)}`;
    const { signal } = this.#stop;
    for (let tries = 0; !signal.aborted; tries++) {
      // Whoever comes back after a deletion is seen by others, and by the copy here, before its own conditions say so.
      await this.#member.settled();
      try {
        const entry = await Contender.enter(this.#session, {
          prefix,
          value: this.#member.id,
          signal,
          if: [etcd.keys({ prefix }).lease.equals(0n), ...this.#member.conditions],
          look: () => etcd.op.range({ prefix }, { limit: 1, keysOnly: true }),
        });
        return entry.entered ? entry.contender : undefined;
      } catch (error) {
        if (signal.aborted) return undefined;
        if (!mayPass(error)) throw error;
        await pause(this.#session, tries, signal);
      }
    }
    return undefined;
  }

  /** Resolves when the claim is to be given up: the work has stopped, or took too long to. */
  async #workOn(claim: PartitionClaim, stop: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([stop, claim.signal]);
    const over = new AbortController();
    const stopped = aborted(signal).then(() => elapsed(this.#session.clock, this.#stopTimeoutMs, over.signal));
    try {
      const working = claim.during(() => this.#work(claim, signal));
      await Promise.race([working, stopped]);
      // Done early: it keeps what it has, and does not start anew.
      await aborted(signal);
    } catch (error) {
      if (claim.held && !stop.aborted) throw error;
    } finally {
      over.abort();
    }
  }
}

/** Where the claims of a group's partitions are. */
function claimsPrefix(name: string): string {
  return `${recipePrefix(name)}claims/`;
}

function ownersOf(kvs: readonly KeyValue<string>[], prefix: string): Map<string, KeyValue<string>> {
  const owners = new Map<string, KeyValue<string>>();
  for (const kv of kvs) {
    const partition = placeOf(kv, prefix);
    if (partition !== undefined) owners.set(partition, kv);
  }
  return owners;
}

function numbered(count: number): string[] {
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new InvalidArgumentError(`partitions ${count} is not a positive whole number`);
  }
  return Array.from({ length: count }, (_, index) => String(index));
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

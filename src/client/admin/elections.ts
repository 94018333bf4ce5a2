/**
 * The elections that the server itself offers (`v3electionpb`).
 *
 * They are here so that every call of etcd can be made, and to take part in elections that
 * other programs hold this way. They do not renew the lease and do not say when leadership
 * is lost; the recipe `Election` does, and can be mixed with these.
 *
 * The server sends the errors of this service without their code; they are recognised by text.
 *
 * Source: https://etcd.io/docs/v3.5/dev-guide/api_concurrency_reference_v3/
 *
 * @module
 */

import {
  Election,
  type LeaderResponse,
  type LeaderKey as WireLeaderKey,
} from '../../protocol/generated/v3electionpb.ts';
import type { LeaseId, Revision } from '../../protocol/int64.ts';
import { type Key, toBytes } from '../../protocol/keys.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { streamMessages } from '../connection/server-stream.ts';
import { EtcdError } from '../errors.ts';
import { type ResponseHeader, toHeader } from '../header.ts';
import { utf8 } from '../kv/codec.ts';
import { KeyValue } from '../kv/key-value.ts';
import { IDEMPOTENT, READ, WRITE } from './traits.ts';
import { callAndWait, checkLease } from './waiting.ts';

/** Proof of a leadership, for {@link ElectionApi.proclaim} and {@link ElectionApi.resign}. */
export interface LeaderKey {
  /** The election. */
  readonly name: Uint8Array;
  /** The key that stands for the leadership; it is held while the key exists with this create revision. */
  readonly key: Uint8Array;
  /** The revision that created the key: the fencing token. */
  readonly revision: Revision;
  readonly lease: LeaseId;
}

/** An election was won. */
export interface CampaignResult {
  readonly header: ResponseHeader;
  readonly leader: LeaderKey;
}

/** `etcd.elections`. */
export class ElectionApi {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /**
   * Stands for election and waits until it is won. The same lease that stands already only
   * changes its value.
   *
   * There is no default deadline: the wait ends by an answer, by `timeoutMs`, by `signal`, or
   * when the connection breaks. After a failure that may have been too late, `applied` is
   * `maybe`: revoke the lease. Never repeated.
   *
   * @throws EtcdError with code `lease-not-found`.
   */
  async campaign(name: Key, lease: LeaseId, value: Key, options?: CallOptions): Promise<CampaignResult> {
    checkLease(lease);
    const request = { name: toBytes(name), lease, value: toBytes(value) };
    const answer = await callAndWait(this.#caller, Election.campaign, request, 'the leadership', options);
    return { header: toHeader(answer.header), leader: toLeaderKey(answer.leader) };
  }

  /**
   * Changes the leader's value. Not repeated after an ambiguous failure: a late repetition
   * could undo a newer value.
   *
   * @throws EtcdError with `etcdCode` `ElectionNotLeader` when the leadership is no longer held.
   */
  async proclaim(leader: LeaderKey, value: Key, options?: CallOptions): Promise<{ readonly header: ResponseHeader }> {
    const request = { leader: toWire(leader), value: toBytes(value) };
    const { header } = await this.#caller.unary(Election.proclaim, request, WRITE, options);
    return { header: toHeader(header) };
  }

  /** Gives the leadership back. One that is not held is no error; repeated when a reply is lost. */
  async resign(leader: LeaderKey, options?: CallOptions): Promise<{ readonly header: ResponseHeader }> {
    // The server compares the create revision, so a late repetition cannot hit a later leadership.
    const { header } = await this.#caller.unary(Election.resign, { leader: toWire(leader) }, IDEMPOTENT, options);
    return { header: toHeader(header) };
  }

  /** The leader's key and value; undefined when there is no leader. */
  async leader(name: Key, options?: CallOptions): Promise<KeyValue | undefined> {
    try {
      return toKeyValue(await this.#caller.unary(Election.leader, { name: toBytes(name) }, READ, options));
    } catch (error) {
      if (error instanceof EtcdError && error.etcdCode === 'ElectionNoLeader') return undefined;
      throw error;
    }
  }

  /**
   * Follows an election: the leader there is, then every proclamation and every successor.
   * Says nothing while there is no leader, and may leave out a leader that was gone at once.
   *
   * One stream to one member, and the loop throws when it breaks: begin a new one then, which
   * starts with the leader of that moment. `timeoutMs` is for opening it; `signal`, or
   * leaving the loop, ends it.
   */
  async *observe(name: Key, options: CallOptions = {}): AsyncGenerator<KeyValue, void, void> {
    for await (const answer of streamMessages(this.#caller, Election.observe, { name: toBytes(name) }, READ, options)) {
      const leader = toKeyValue(answer);
      if (leader !== undefined) yield leader;
    }
  }
}

function toKeyValue({ kv }: LeaderResponse): KeyValue | undefined {
  return kv && new KeyValue(kv, utf8, 0);
}

function toLeaderKey(wire: WireLeaderKey | undefined): LeaderKey {
  if (wire === undefined) throw new EtcdError('server', 'the server named no leader key', { applied: 'maybe' });
  const { name, key, rev, lease } = wire;
  return { name: Uint8Array.from(name), key: Uint8Array.from(key), revision: rev as Revision, lease: lease as LeaseId };
}

function toWire({ name, key, revision, lease }: LeaderKey): WireLeaderKey {
  return { name, key, rev: revision, lease };
}

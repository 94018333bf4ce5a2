/**
 * One endpoint of the client: its connection, and what is known of the member behind it.
 *
 * A connection counts as usable only after the member has answered a Status call on it.
 * One round trip, once per connection, tells what no handshake does: that the process
 * behind the port answers at all, is an etcd, belongs to our cluster, which version it is,
 * whether it sees a leader, and whether it is a learner.
 *
 * @module
 */

import type { ClusterId, MemberId } from '../../protocol/int64.ts';
import { backoffMs } from '../../support/backoff.ts';
import type { Clock } from '../../support/clock.ts';
import { publish } from '../../telemetry/channels.ts';
import { ConnectError, type EndpointAddress, type Transport } from '../transport/transport.ts';

/** What a member said of itself when it was last asked. Parts are absent when it may not tell. */
export interface MemberFacts {
  readonly version?: string | undefined;
  readonly memberId?: MemberId | undefined;
  readonly clusterId?: ClusterId | undefined;
  readonly hasLeader?: boolean | undefined;
  readonly isLearner?: boolean | undefined;
}

/** The last attempt to connect to a member, or to probe it, that failed. */
export interface ConnectFailure {
  readonly error: ConnectError;
  /** When, on the client's clock. */
  readonly at: number;
}

/** Asks a member for its facts. Rejects with a ConnectError when it does not answer as an etcd does. */
export type Probe = (member: Member) => Promise<MemberFacts>;

/** How long to leave a member alone after it failed: by calls, and by connections. */
const BACKOFF = { initialMs: 100, maxMs: 5_000 };

export class Member {
  readonly address: EndpointAddress;
  readonly transport: Transport;
  facts: MemberFacts = {};
  /** Whether the last thing it did was to fail; only a probe clears it. */
  #suspect = false;
  #probed = false;
  #failures = 0;
  #restUntil = 0;
  #connecting: Promise<void> | undefined;
  #lastFailure: ConnectFailure | undefined;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #probe: Probe;

  constructor(address: EndpointAddress, transport: Transport, probe: Probe, clock: Clock, random: () => number) {
    this.address = address;
    this.transport = transport;
    this.#probe = probe;
    this.#clock = clock;
    this.#random = random;
  }

  get name(): string {
    return this.address.name;
  }

  /** Connected, probed, and not known to be bad. */
  get healthy(): boolean {
    return !this.#suspect && this.facts.hasLeader !== false && this.usable;
  }

  /** Connected and probed; perhaps failing. */
  get usable(): boolean {
    return this.#probed && this.transport.state === 'ready';
  }

  /** Why it could not be connected to, if that is how things stand. */
  get lastFailure(): ConnectFailure | undefined {
    return this.usable ? undefined : this.#lastFailure;
  }

  /** When it may be tried again, on the clock. */
  get restUntil(): number {
    return this.#restUntil;
  }

  get connecting(): boolean {
    return this.#connecting !== undefined;
  }

  /** Makes the connection and asks for the facts; shared by all who wait. Never rejects: look at `healthy`. */
  connect(): Promise<void> {
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(): Promise<void> {
    try {
      if (this.transport.state !== 'ready') {
        this.#probed = false;
        await this.transport.connect();
      }
      const facts = await this.#probe(this);
      const wasHealthy = this.healthy;
      this.facts = facts;
      this.#probed = true;
      this.#suspect = false;
      this.#lastFailure = undefined;
      if (facts.hasLeader === false) this.#rest();
      else this.#failures = 0;
      if (!wasHealthy) publish('etcdkit:connection', () => ({ endpoint: this.name, event: 'ready' }));
    } catch (error) {
      const known = error instanceof ConnectError ? error : new ConnectError('protocol', (error as Error).message);
      this.#lastFailure = { error: known, at: this.#clock.now() };
      this.#suspect = true;
      this.#rest();
      const reason = known.message;
      publish('etcdkit:connection', () => ({ endpoint: this.name, event: 'failed', reason }));
    }
  }

  /** A call on it worked. */
  succeeded(): void {
    this.#failures = 0;
  }

  /** A call on it failed in a way that makes it doubtful: it rests, then must answer a probe. */
  suspect(reason: string): void {
    if (this.#suspect) return;
    this.#suspect = true;
    this.#rest();
    publish('etcdkit:connection', () => ({ endpoint: this.name, event: 'suspect', reason }));
  }

  /** It said that it has no leader. */
  leaderless(): void {
    this.facts = { ...this.facts, hasLeader: false };
    this.suspect('no leader');
  }

  /** It said that it is a learner. */
  learner(): void {
    this.facts = { ...this.facts, isLearner: true };
  }

  #rest(): void {
    this.#restUntil = this.#clock.now() + backoffMs(BACKOFF, this.#failures, this.#random);
    this.#failures += 1;
  }

  close(): void {
    this.#probed = false;
    this.transport.close();
    publish('etcdkit:connection', () => ({ endpoint: this.name, event: 'closed' }));
  }
}

/**
 * One endpoint of the client: its connection, and what is known of the member behind it.
 *
 * A connection counts as usable only after the member has answered a Status call on it.
 * One round trip, once per connection, tells what no handshake does: that the process
 * behind the port answers at all, is an etcd, belongs to our cluster, which version it is,
 * whether it sees a leader, and whether it is a learner.
 *
 * A connection on which that call went unanswered is dropped, whatever else runs on it: the
 * other end may be gone without a word, and then only a new connection finds the way.
 *
 * @module
 */

import type { ClusterId, MemberId } from '../../protocol/int64.ts';
import { backoffMs } from '../../support/backoff.ts';
import type { Clock } from '../../support/clock.ts';
import { type CallTelemetry, NO_CALL_TELEMETRY } from '../../telemetry/calls.ts';
import { ConnectError, type EndpointAddress, type Transport, type TransportFactory } from '../transport/transport.ts';

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
const BACKOFF = { initialMs: 100, maxMs: 2_000 };

/** As how many failures a failure right after a good probe counts. */
const RELAPSE = 2;

/** How long a call must have gone unanswered to cast doubt on its member; and how many shorter ones in a row do. */
const SILENCE_MS = 1_000;
const SILENT_CALLS = 3;

/** How often a learner is asked whether it still is one: nobody tells us of its promotion. */
const LEARNER_PROBE_MS = 5_000;

export class Member {
  readonly address: EndpointAddress;
  facts: MemberFacts = {};
  readonly #transports: TransportFactory;
  #transport: Transport;
  /** Whether the last thing it did was to fail; only a probe clears it. */
  #suspect = false;
  #probed = false;
  #closed = false;
  /** Failures since a call on it worked. */
  #failures = 0;
  #silentCalls = 0;
  #restUntil = 0;
  #connecting: Promise<void> | undefined;
  #lastFailure: ConnectFailure | undefined;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #probe: Probe;
  readonly #telemetry: CallTelemetry;

  constructor(
    address: EndpointAddress,
    transports: TransportFactory,
    probe: Probe,
    clock: Clock,
    random: () => number,
    telemetry: CallTelemetry = NO_CALL_TELEMETRY,
  ) {
    this.address = address;
    this.#transports = transports;
    this.#transport = transports(address);
    this.#probe = probe;
    this.#clock = clock;
    this.#random = random;
    this.#telemetry = telemetry;
  }

  get name(): string {
    return this.address.name;
  }

  /** The connection; another one after the member was found not to answer on the last. */
  get transport(): Transport {
    return this.#transport;
  }

  /** Connected, probed, not known to be bad, and not without a leader. */
  get healthy(): boolean {
    return this.facts.hasLeader !== false && this.answering;
  }

  /** Connected, probed, and not known to be bad. Without a leader it still serves what it has itself. */
  get answering(): boolean {
    return !this.#suspect && this.usable;
  }

  /** Connected and probed; perhaps failing. */
  get usable(): boolean {
    return this.#probed && this.#transport.state === 'ready';
  }

  /** Whether it should be connected to, or asked for its facts, now. */
  get needsProbe(): boolean {
    if (this.#connecting !== undefined || this.#closed || this.#clock.now() < this.#restUntil) return false;
    return this.facts.isLearner === true || !this.healthy;
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
      if (this.#transport.state !== 'ready') {
        this.#probed = false;
        await this.#transport.connect();
      }
      this.#learn(await this.#probe(this));
    } catch (error) {
      if (this.#closed) return;
      const known = error instanceof ConnectError ? error : new ConnectError('protocol', (error as Error).message);
      this.#lastFailure = { error: known, at: this.#clock.now() };
      this.#suspect = true;
      this.#rest();
      if (this.#transport.state === 'ready') this.#renewTransport();
      const reason = known.message;
      this.#telemetry.connection({ endpoint: this.name, event: 'failed', reason });
    }
  }

  #learn(facts: MemberFacts): void {
    const wasHealthy = this.healthy;
    this.facts = facts;
    this.#probed = true;
    this.#suspect = false;
    this.#silentCalls = 0;
    this.#lastFailure = undefined;
    if (facts.hasLeader === false) return this.#rest();
    // A probe is no proof that calls work: should they fail again, the next rest is not the shortest.
    this.#failures = Math.min(this.#failures, RELAPSE);
    if (facts.isLearner) this.#restUntil = this.#clock.now() + LEARNER_PROBE_MS;
    if (!wasHealthy) this.#telemetry.connection({ endpoint: this.name, event: 'ready' });
  }

  #renewTransport(): void {
    this.#probed = false;
    this.#transport.close();
    this.#transport = this.#transports(this.address);
  }

  /** A call on it worked. */
  succeeded(): void {
    this.#failures = 0;
    this.#silentCalls = 0;
  }

  /** A call on it failed in a way that makes it doubtful: it rests, then must answer a probe. */
  suspect(reason: string): void {
    if (this.#suspect) return;
    this.#suspect = true;
    this.#rest();
    this.#telemetry.connection({ endpoint: this.name, event: 'suspect', reason });
  }

  /** It did not answer a call in the time that the call had, which may have been too short to mean anything. */
  silent(waitedMs: number): void {
    this.#silentCalls += 1;
    if (waitedMs >= SILENCE_MS || this.#silentCalls >= SILENT_CALLS) this.suspect('no answer');
  }

  /** It said that it has no leader. */
  leaderless(): void {
    if (this.facts.hasLeader === false) return;
    this.facts = { ...this.facts, hasLeader: false };
    this.#rest();
    this.#telemetry.connection({ endpoint: this.name, event: 'suspect', reason: 'no leader' });
  }

  /** It said that it is a learner. */
  learner(): void {
    if (this.facts.isLearner) return;
    this.facts = { ...this.facts, isLearner: true };
    this.#restUntil = this.#clock.now() + LEARNER_PROBE_MS;
  }

  #rest(): void {
    this.#restUntil = this.#clock.now() + backoffMs(BACKOFF, this.#failures, this.#random);
    this.#failures += 1;
  }

  /** Final: drops the connection, and what runs on it fails. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#probed = false;
    this.#transport.close();
    this.#telemetry.connection({ endpoint: this.name, event: 'closed' });
  }
}

/**
 * The clients of a tortured cluster: writers, holders of leases and watchers, each of which moves on to another member
 * when one fails it, and takes down all it did and was told for the checkers.
 *
 * None asks twice: what has no answer is unknown. What was asked has failed only where the answer says that nothing was
 * done and nothing will be: a lease that is not there.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Lease, Watch } from '../../../src/protocol/generated/etcdserverpb.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { canWrite, type KeyRange, type Recorder, type Request, type Response } from '../../checkers/history.ts';
import type { LeaseCall, LeaseHistory, LeaseKeepalive } from '../../checkers/lease-checker.ts';
import { randomRequest } from '../../checkers/support/random-request.ts';
import type { WatchEvent, WatcherHistory, WatchStep } from '../../checkers/watch-checker.ts';
import { ask, watchStep } from '../../checkers/wire.ts';
import type { Random } from '../../simulation/world/random.ts';
import type { ClusterSeat } from './cluster-seats.ts';
import { WireClient, WireFailure } from './wire-client.ts';

const ANSWER_MS = 2_500;
const PAUSE_MS = 4;
const RETRY_MS = 40;
const KEEPALIVE_MS = 900;
const LEASE_TTL_SECONDS = 3;
/** How long a watch stays with a member, at most. */
const STAY_MS = 5_000;

/** What all clients share. */
export interface Field {
  readonly seats: readonly ClusterSeat[];
  readonly recorder: Recorder;
  readonly stop: AbortSignal;
}

/** A connection to some member; after a failure, to some other. */
class Line {
  client: WireClient | undefined;
  session = '';
  readonly #field: Field;
  readonly #random: Random;

  constructor(field: Field, random: Random) {
    this.#field = field;
    this.#random = random;
  }

  async open(): Promise<WireClient | undefined> {
    if (this.client !== undefined) return this.client;
    const seat = this.#random.pick(this.#field.seats);
    if (!seat.member.running) return undefined;
    const session = `${seat.name} in life ${seat.life}`;
    const opening = WireClient.open(seat.clientUrl);
    const client = await Promise.race([opening, sleep(ANSWER_MS)]).catch(() => undefined);
    if (client === undefined) {
      void opening.then(
        (late) => late.close(),
        () => {},
      );
      return undefined;
    }
    this.session = session;
    this.client = client;
    return client;
  }

  drop(): void {
    this.client?.close();
    this.client = undefined;
  }

  /** Does it, or gives the connection up. @throws WireFailure */
  async use<T>(call: (client: WireClient) => Promise<T>): Promise<T> {
    const { client } = this;
    if (client === undefined) throw new WireFailure(undefined, 'not connected');
    const timer = setTimeout(() => client.close(), ANSWER_MS);
    try {
      return await call(client);
    } catch (error) {
      if (!saysNotFound(error)) this.drop();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}

function saysNotFound(error: unknown): boolean {
  return error instanceof WireFailure && error.code === GrpcCode.NOT_FOUND;
}

/** What is not about the connection or the cluster is the test's own fault. */
function throwUnlessLost(error: unknown): void {
  if (!(error instanceof WireFailure)) throw error;
  if (error.code === GrpcCode.INVALID_ARGUMENT || error.code === GrpcCode.UNIMPLEMENTED) throw error;
}

/** Asks for this and that. */
export class ClusterWriter {
  answered = 0;
  readonly #field: Field;
  readonly #name: string;
  readonly #random: Random;
  readonly #line: Line;
  #revision = 1;

  constructor(field: Field, name: string, random: Random) {
    this.#field = field;
    this.#name = name;
    this.#random = random;
    this.#line = new Line(field, random.fork('line'));
  }

  async run(): Promise<void> {
    for (let count = 0; !this.#field.stop.aborted; count += 1) {
      if ((await this.#line.open()) === undefined) await sleep(RETRY_MS);
      else await this.#ask(this.#request(`${this.#name}-${count}`));
      // Now and then for no reason at all, so that followers are asked as often as leaders.
      if (this.#random.chance(0.01)) this.#line.drop();
      await sleep(PAUSE_MS);
    }
    this.#line.drop();
  }

  #request(value: string): Request {
    for (;;) {
      const request = randomRequest(this.#random, value, this.#revision);
      // Conditions with nothing to do are answered by a member's own copy, as etcd does it: the checkers hold that for
      // stale, and rightly.
      if (request.kind !== 'txn' || request.success.length + request.failure.length > 0) return request;
    }
  }

  async #ask(request: Request): Promise<void> {
    if (request.kind === 'revoke') return;
    const open = this.#field.recorder.call(this.#name, request);
    const { session } = this.#line;
    try {
      const response = await this.#line.use((client) =>
        ask(request, (method, message) => client.unary(method, message)),
      );
      this.#revision = response.revision;
      this.answered += 1;
      open.answered(response, session);
    } catch (error) {
      throwUnlessLost(error);
      if (saysNotFound(error) || !canWrite(request)) open.failed();
      else await sleep(RETRY_MS);
    }
  }
}

/** Takes leases, keeps them for a while, and leaves them, or ends them. */
export class LeaseHolder {
  readonly leases: LeaseHistory[] = [];
  readonly #field: Field;
  readonly #name: string;
  readonly #random: Random;
  readonly #line: Line;
  #next: bigint;

  /** @param firstId Of ids that nobody else uses. */
  constructor(field: Field, name: string, random: Random, firstId: bigint) {
    this.#field = field;
    this.#name = name;
    this.#random = random;
    this.#line = new Line(field, random.fork('line'));
    this.#next = firstId;
  }

  async run(): Promise<void> {
    while (!this.#field.stop.aborted) {
      if ((await this.#line.open()) === undefined) await sleep(RETRY_MS);
      else await this.#hold();
    }
    this.#line.drop();
  }

  async #hold(): Promise<void> {
    const id = this.#next++;
    const grant = await this.#timed((client) =>
      client.unary(Lease.leaseGrant, { ID: id, TTL: BigInt(LEASE_TTL_SECONDS) }),
    );
    if (grant.answer === undefined) return void (await sleep(RETRY_MS));
    const keepalives: LeaseKeepalive[] = [];
    const revokes: LeaseCall[] = [];
    const ttlSeconds = Number(grant.answer.TTL);
    this.leases.push({ id, ttlSeconds, grant: grant.call, keepalives, revokes, questions: [] });
    await this.#recorded({ kind: 'put', key: `lease/${id}`, value: `${id}`, lease: id }, (client, request) =>
      ask(request as Exclude<Request, { kind: 'revoke' }>, (method, message) => client.unary(method, message)),
    );
    for (let left = this.#random.below(6); left > 0 && !this.#field.stop.aborted; left--) {
      await sleep(KEEPALIVE_MS);
      const { call, answer } = await this.#timed((client) => renew(client, id));
      keepalives.push({ ...call, ttlSeconds: answer });
      if (answer === 0) return;
    }
    if (this.#random.chance(0.3)) await this.#revoke(id, revokes);
  }

  async #revoke(id: bigint, revokes: LeaseCall[]): Promise<void> {
    const sentAtMs = performance.now();
    const outcome = await this.#recorded({ kind: 'revoke', lease: id }, async (client) => {
      const { header } = await client.unary(Lease.leaseRevoke, { ID: id });
      return { revision: Number(header?.revision), result: { kind: 'revoke' } };
    });
    if (outcome === 'failed') return;
    revokes.push({ sentAtMs, answeredAtMs: outcome === 'answered' ? performance.now() : undefined });
  }

  /** A request that the history of all has, too. */
  async #recorded(
    request: Request,
    call: (client: WireClient, request: Request) => Promise<Response>,
  ): Promise<'answered' | 'failed' | 'unknown'> {
    if ((await this.#line.open()) === undefined) return 'failed';
    const { session } = this.#line;
    const open = this.#field.recorder.call(this.#name, request);
    try {
      open.answered(await this.#line.use((client) => call(client, request)), session);
      return 'answered';
    } catch (error) {
      throwUnlessLost(error);
      if (!saysNotFound(error)) return 'unknown';
      open.failed();
      return 'failed';
    }
  }

  async #timed<T>(call: (client: WireClient) => Promise<T>): Promise<{ call: LeaseCall; answer: T | undefined }> {
    await this.#line.open();
    const sentAtMs = performance.now();
    try {
      const answer = await this.#line.use(call);
      return { call: { sentAtMs, answeredAtMs: performance.now() }, answer };
    } catch (error) {
      throwUnlessLost(error);
      return { call: { sentAtMs }, answer: undefined };
    }
  }
}

/** @returns the TTL; 0: there is no such lease. */
function renew(client: WireClient, id: bigint): Promise<number> {
  return new Promise((resolve, reject) => {
    const stream = client.stream(Lease.leaseKeepAlive, ({ TTL }) => {
      resolve(Number(TTL));
      stream.end();
    });
    stream.send({ ID: id });
    void stream.closed.then(() => reject(new WireFailure(undefined, 'no answer to a keepalive')));
  });
}

/** Watches a range, now at this member, now at that. */
export class ClusterWatcher {
  readonly steps: WatchStep[] = [];
  /** When a revision was first seen here. */
  readonly seenAtMs = new Map<number, number>();
  readonly name: string;
  readonly range: KeyRange;
  readonly startRevision: number;
  /** The last revision that it has had an event of. */
  delivered: number;
  readonly #random: Random;
  readonly #line: Line;
  #next: number;
  readonly #ended = new AbortController();
  #wake: () => void = () => {};

  constructor(field: Field, name: string, random: Random, range: KeyRange, startRevision: number) {
    this.name = name;
    this.#random = random;
    this.range = range;
    this.startRevision = startRevision;
    this.delivered = startRevision - 1;
    this.#next = startRevision;
    this.#line = new Line(field, random.fork('line'));
  }

  /** As its checker takes it. */
  get history(): WatcherHistory {
    const { name, range, startRevision, steps } = this;
    return { name, range, startRevision, steps, prevKv: true };
  }

  get events(): WatchEvent[] {
    return this.steps.flatMap((step) => (step.kind === 'events' ? step.events : []));
  }

  /** Goes on when the clients stop: until {@link end}. */
  async run(): Promise<void> {
    for (let attempt = 0; !this.#ended.signal.aborted; ) {
      const client = await this.#line.open();
      if (client === undefined) {
        await sleep(RETRY_MS);
        continue;
      }
      if (attempt++ > 0) this.steps.push({ kind: 'resumed', startRevision: this.#next });
      await this.#stay(client).catch(throwUnlessLost);
      this.#line.drop();
    }
  }

  /** Resolves once it has an event of that revision, or the time is over. */
  async reach(revision: number, ms: number): Promise<void> {
    const deadline = performance.now() + ms;
    while (this.delivered < revision && performance.now() < deadline) await sleep(RETRY_MS);
  }

  end(): void {
    this.#ended.abort();
    this.#wake();
  }

  async #stay(client: WireClient): Promise<void> {
    let leave = (): void => {};
    const left = new Promise<void>((resolve) => {
      leave = resolve;
    });
    this.#wake = leave;
    let leaving = false;
    const stream = client.stream(Watch.watch, (message) => {
      if (leaving) return;
      const step = watchStep(message);
      this.steps.push(step);
      if (step.kind === 'events') this.#heard(step.events);
      if (step.kind !== 'canceled') return;
      // Nothing may come after it.
      leaving = true;
      this.#next = Math.max(this.#next, step.compactRevision ?? 0);
      leave();
    });
    const [key, rangeEnd] = [Buffer.from(this.range.key, 'latin1'), Buffer.from(this.range.end ?? '', 'latin1')];
    stream.send({ createRequest: { key, rangeEnd, startRevision: BigInt(this.#next), prevKv: true } });
    // Once all clients have stopped it stays where it is, but for a member that says nothing.
    const timer = setTimeout(leave, this.#random.between(200, STAY_MS));
    await Promise.race([left, stream.closed]);
    leaving = true;
    clearTimeout(timer);
  }

  #heard(events: readonly WatchEvent[]): void {
    const now = performance.now();
    for (const { kv } of events) if (!this.seenAtMs.has(kv.modRevision)) this.seenAtMs.set(kv.modRevision, now);
    this.delivered = events.at(-1)?.kv.modRevision ?? this.delivered;
    this.#next = this.delivered + 1;
  }
}

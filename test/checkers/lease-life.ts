/**
 * One lease: when it had to be there, when it had to be gone, and what was seen of it.
 *
 * All that shows that a lease is gone is put together as signs, each with the time by which it is certain: the revision
 * that took its keys, a keepalive or a question that was told of no lease, a revoke that was answered. The earliest
 * sign bounds its end from above.
 */
import type { Attachment, LeaseFinding, LeaseHistory, LeaseKeepalive, LeaseTruth } from './lease-checker.ts';

/** The revision in which a lease's keys were taken away. */
export interface End {
  readonly revision: number;
  readonly seenAtMs: number;
}

/** The lease was gone by then. */
interface Sign {
  readonly byMs: number;
  readonly what: string;
}

const SECOND_MS = 1_000;

/** See the head of this file. */
export class LeaseLife {
  readonly #lease: LeaseHistory;
  readonly #truth: LeaseTruth;
  readonly #crowdMs: number;
  readonly #end: End | undefined;
  readonly #attached: readonly Attachment[];
  readonly #ttlMs: number;
  readonly #gone: Sign | undefined;

  /** @param crowdMs By how much its end may be put off by those of others. */
  constructor(
    lease: LeaseHistory,
    truth: LeaseTruth,
    crowdMs: number,
    end: End | undefined,
    attached: readonly Attachment[],
  ) {
    this.#lease = lease;
    this.#truth = truth;
    this.#crowdMs = crowdMs;
    this.#end = end;
    this.#attached = attached;
    this.#ttlMs = lease.ttlSeconds * SECOND_MS;
    this.#gone = this.#signs().reduce<Sign | undefined>(
      (first, sign) => (first === undefined || sign.byMs < first.byMs ? sign : first),
      undefined,
    );
  }

  check(): LeaseFinding[] {
    return [
      ...this.#checkTtl(),
      ...this.#checkEarly(),
      ...this.#checkShortened(),
      ...this.#checkLate(),
      ...this.#checkAfterEnd(),
      ...this.#checkLeftBehind(),
    ];
  }

  /** Those that say that the lease was there. */
  get #renewals(): LeaseKeepalive[] {
    return this.#lease.keepalives.filter(({ ttlSeconds = 0 }) => ttlSeconds > 0);
  }

  #signs(): Sign[] {
    const { keepalives, questions, revokes } = this.#lease;
    const signs: Sign[] = [];
    if (this.#end !== undefined)
      signs.push({ byMs: this.#end.seenAtMs, what: `its keys went in revision ${this.#end.revision}` });
    for (const { answeredAtMs, ttlSeconds } of keepalives)
      if (answeredAtMs !== undefined && ttlSeconds === 0)
        signs.push({ byMs: answeredAtMs, what: 'a keepalive was told that it is gone' });
    for (const { answeredAtMs, grantedSeconds } of questions)
      if (answeredAtMs !== undefined && grantedSeconds === 0)
        signs.push({ byMs: answeredAtMs, what: 'a question was told that it is gone' });
    for (const { answeredAtMs } of revokes)
      if (answeredAtMs !== undefined) signs.push({ byMs: answeredAtMs, what: 'it was revoked' });
    return signs;
  }

  /** A keepalive gives the time that was granted, no other. */
  #checkTtl(): LeaseFinding[] {
    const other = this.#renewals.find(({ ttlSeconds }) => ttlSeconds !== this.#lease.ttlSeconds);
    if (other === undefined) return [];
    const message = `the keepalive of ${other.sentAtMs} ms got a TTL of ${other.ttlSeconds} s, not ${this.#lease.ttlSeconds}`;
    return [this.#finding('wrong-ttl', message)];
  }

  #checkEarly(): LeaseFinding[] {
    const gone = this.#gone;
    if (gone === undefined || this.#lease.revokes.some(({ sentAtMs }) => sentAtMs <= gone.byMs)) return [];
    // What was sent after the end and answered as if it was there is another fault.
    const renewed = this.#lastSent(gone.byMs);
    if (renewed === undefined || gone.byMs >= renewed + this.#ttlMs) return [];
    const message =
      `${gone.what} by ${gone.byMs} ms; it was renewed by a request of ${renewed} ms ` +
      `and so had until ${renewed + this.#ttlMs} ms`;
    return [this.#finding('early', message, this.#end?.revision)];
  }

  /** When the latest renewal was sent that was answered, of those that were sent by then. */
  #lastSent(byMs: number, answeredByMs = Infinity): number | undefined {
    const { grant } = this.#lease;
    const sent = [grant, ...this.#renewals]
      .filter(({ answeredAtMs }) => answeredAtMs !== undefined && answeredAtMs <= answeredByMs)
      .map(({ sentAtMs }) => sentAtMs)
      .filter((sentAtMs) => sentAtMs <= byMs);
    return sent.length > 0 ? Math.max(...sent) : undefined;
  }

  /** Nobody is told of less time than is left, as far as one leader tells all of it. */
  #checkShortened(): LeaseFinding[] {
    const { questions } = this.#lease;
    for (const { sentAtMs, answeredAtMs, remainingSeconds, grantedSeconds } of questions) {
      if (answeredAtMs === undefined || grantedSeconds === 0) continue;
      const renewed = this.#lastSent(Infinity, sentAtMs);
      if (renewed === undefined || !this.#oneReign(renewed, answeredAtMs)) continue;
      const least = Math.floor((renewed + this.#ttlMs - answeredAtMs) / SECOND_MS);
      if (remainingSeconds >= least || least < 0) continue;
      const message =
        `the question of ${sentAtMs} ms was told of ${remainingSeconds} s; ` +
        `a renewal sent at ${renewed} ms leaves ${least} s at least`;
      return [this.#finding('shortened', message)];
    }
    return [];
  }

  #oneReign(fromMs: number, toMs: number): boolean {
    return this.#truth.reigns.some((reign) => reign.fromMs <= fromMs && toMs <= reign.toMs);
  }

  #checkLate(): LeaseFinding[] {
    for (const { atMs, what } of this.#proofs()) {
      const due = this.#dueMs(atMs);
      if (due === undefined || atMs <= due) continue;
      return [this.#finding('late', `${what} at ${atMs} ms; it had to be gone by ${due} ms`, this.#end?.revision)];
    }
    return [];
  }

  /** What shows that the lease was there at a time. */
  #proofs(): { readonly atMs: number; readonly what: string }[] {
    const { endMs } = this.#truth;
    const hung = this.#attached.filter(({ from }) => from <= (this.#end?.revision ?? Infinity));
    return [
      ...this.#renewals.map(({ sentAtMs }) => ({ atMs: sentAtMs, what: 'it was renewed by a request' })),
      ...this.#lease.questions
        .filter(({ grantedSeconds }) => grantedSeconds > 0)
        .map(({ sentAtMs }) => ({ atMs: sentAtMs, what: 'it was found by a question' })),
      ...hung.map(({ key, to }) => ({ atMs: Math.min(this.#seenAt(to), endMs), what: `${key} hung on it` })),
    ].sort((a, b) => a.atMs - b.atMs);
  }

  #seenAt(revision: number): number {
    return revision === Infinity ? Infinity : this.#truth.seenAtMs(revision);
  }

  /** By when it had to be gone, as of what was sent before that time; undefined if no leader had the time to end it. */
  #dueMs(atMs: number): number | undefined {
    const { limits, reigns } = this.#truth;
    const { grant, keepalives } = this.#lease;
    // One that was told that the lease is gone has renewed nothing.
    const renewing = [grant, ...keepalives.filter(({ ttlSeconds }) => ttlSeconds !== 0)];
    const latest = renewing
      .filter((call) => call === grant || call.sentAtMs < atMs)
      .map(({ sentAtMs, answeredAtMs }) => answeredAtMs ?? sentAtMs + limits.inFlightMs);
    const renewed = Math.max(...latest);
    for (const { fromMs, toMs } of reigns) {
      if (toMs <= renewed) continue;
      const from = Math.max(renewed, fromMs + limits.electionTimeoutMs);
      const due = from + this.#ttlMs + limits.slackMs + this.#crowdMs;
      if (due <= toMs) return due;
    }
    return undefined;
  }

  /** Nothing renews a lease that is gone, finds it, or hangs on it. */
  #checkAfterEnd(): LeaseFinding[] {
    const gone = this.#gone;
    if (gone === undefined) return [];
    const since = `after ${gone.byMs} ms, by when ${gone.what}`;
    const found: LeaseFinding[] = [];
    const renewed = this.#renewals.find(({ sentAtMs }) => sentAtMs > gone.byMs);
    if (renewed) found.push(this.#finding('renewed-after-end', `it was renewed at ${renewed.sentAtMs} ms, ${since}`));
    const seenBy = gone.byMs + (this.#truth.limits.sightMs ?? 0);
    const endRevision = this.#end?.revision ?? Infinity;
    const put = this.#attached.find(({ from }) => from > endRevision || this.#seenAt(from) > seenBy);
    if (put)
      found.push(
        this.#finding('attached-after-end', `${put.key} was put with it in revision ${put.from}, ${since}`, put.from),
      );
    return found;
  }

  /** Every key that hung on it when it ended is gone by then. */
  #checkLeftBehind(): LeaseFinding[] {
    const gone = this.#gone;
    if (gone === undefined) return [];
    const seenBy = gone.byMs + (this.#truth.limits.sightMs ?? 0);
    const end = this.#end?.revision;
    const stays = this.#attached.find(
      ({ from, to }) =>
        (end !== undefined && from <= end && to > end) || (this.#seenAt(from) < gone.byMs && this.#seenAt(to) > seenBy),
    );
    if (stays === undefined) return [];
    const until = stays.to === Infinity ? 'for ever' : `until revision ${stays.to}`;
    const message = `${stays.key} hung on it ${until}, after ${gone.byMs} ms, by when ${gone.what}`;
    return [this.#finding('left-behind', message, stays.from)];
  }

  #finding(rule: string, message: string, revision?: number): LeaseFinding {
    return { rule, lease: this.#lease.id, revision, message: `lease ${this.#lease.id}: ${message}` };
  }
}

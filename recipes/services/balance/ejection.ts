/**
 * Taking instances that fail out of the choice, and letting them back.
 *
 * An instance is `in`, `out` for a time, or on `trial`:
 *
 *     in ── failures ──> out ── time ──> trial ── as many successes as asked for ──> in
 *                         ^                │
 *                         └─── a failure ──┘
 *
 * 1. Three things take an instance out: so many failures in a row; too great a share of failures over a window with enough
 *    requests in it; and, where that is asked for, a share of successes far below that of the others (outliers.ts).
 * 2. The time grows: twice as long with each ejection, up to a limit. After it has been in for as long as the first ejection
 *    takes, one step is forgotten, after twice as long two, and so on.
 * 3. On trial it gets one request at a time. One that never ends blocks the trial no longer than the first ejection takes.
 * 4. Never more than `maxShare` of the instances are out or on trial, and one is always in: where nearly everything fails,
 *    what they have in common has failed, and running to the rest would only break that too. If nevertheless all that a
 *    caller may choose from are out, it is given all of them.
 * 5. What came of a request that was begun before the instance last changed its state says nothing new, and is not counted.
 *    Else a hundred requests that ran into one outage, and end one after another, would each make it longer.
 *
 * Nothing here waits: time passes when somebody asks. With nothing out, every call is O(1).
 *
 * Sources: Envoy's outlier detection, gRPC's proposal A50; the trial is the half-open state of a circuit breaker (Nygard, "Release It!", 2007).
 *
 * @module
 */

import type { BalancerTools, Candidate, Report } from './balancer.ts';
import { OutcomeWindow, SLICES } from './outcome-window.ts';
import { type OutlierOptions, type OutlierSettings, outlierSettings, outliersAmong, type Tally } from './outliers.ts';

/** When instances are taken out, and for how long. */
export interface EjectionOptions {
  /** So many failures in a row take an instance out. `Infinity` for never. Default 5. */
  readonly consecutiveFailures?: number | undefined;
  /** A greater share of failures than this over the window takes an instance out. 1 for never. Default 0.5. */
  readonly failureShare?: number | undefined;
  /** The length of the window, in milliseconds. Default 10000. */
  readonly windowMs?: number | undefined;
  /** With fewer requests in the window the share says nothing. Default 20. */
  readonly minimumRequests?: number | undefined;
  /** How long the first ejection takes, in milliseconds. Default 10000. */
  readonly ejectionMs?: number | undefined;
  /** How long one takes at most, in milliseconds. Default 300000. */
  readonly maxEjectionMs?: number | undefined;
  /** The largest share of the instances that is out at a time. Default 0.5. */
  readonly maxShare?: number | undefined;
  /** So many successes in a row on trial let it back. Default 1. */
  readonly trialSuccesses?: number | undefined;
  /**
   * Takes out instances that fail far more often than the others over the window, though not often enough to be taken out
   * by themselves. `{}` for the defaults of each part. Default: nobody is compared.
   */
  readonly outliers?: OutlierOptions | undefined;
}

/** An instance that is out or on trial. */
export interface Ejected {
  readonly id: string;
  readonly state: 'out' | 'trial';
  /** Why it was taken out; `trial` when it failed there. */
  readonly reason: 'consecutive-failures' | 'failure-share' | 'success-rate' | 'trial';
  /** Until when it is out, by the clock that was handed in, in milliseconds. */
  readonly untilMs: number;
  /** The how manyth in a row, as far as not forgotten; 1 for the first. */
  readonly times: number;
}

interface Standing extends Omit<Ejected, 'id' | 'state'> {
  state: 'in' | 'out' | 'trial';
  reason: Ejected['reason'];
  untilMs: number;
  times: number;
  /** When the state was entered; requests that were begun before do not count. On trial: when the request was begun. */
  changedAt: number;
  failuresInRow: number;
  readonly window: OutcomeWindow;
  /** On trial: since when a request is under way; undefined for none. */
  tryingSince: number | undefined;
  trialSuccesses: number;
}

/** Clocks of whole milliseconds make a request seem begun by up to so much earlier than it was. */
const CLOCK_GRAIN_MS = 1;

const DEFAULTS = {
  consecutiveFailures: 5,
  failureShare: 0.5,
  windowMs: 10_000,
  minimumRequests: 20,
  ejectionMs: 10_000,
  maxEjectionMs: 300_000,
  maxShare: 0.5,
  trialSuccesses: 1,
};

/** Which instances are out. Give it every pick and every outcome, and ask it before each pick. */
export class Ejection<I extends Pick<Candidate, 'id'>> {
  readonly #options: typeof DEFAULTS;
  readonly #outliers: OutlierSettings | undefined;
  readonly #now: () => number;
  #records = new Map<string, Standing>();
  /** Those who are not `in`. */
  readonly #notIn = new Map<string, Standing>();
  /** When all were compared last. */
  #comparedAt = Number.NEGATIVE_INFINITY;
  #admitted: { readonly from: readonly I[]; readonly result: readonly I[]; readonly untilMs: number } | undefined;

  /** @throws RangeError when an option makes no sense. */
  constructor(options: EjectionOptions, tools: Pick<BalancerTools, 'now'>) {
    this.#options = complete(options);
    this.#outliers = options.outliers === undefined ? undefined : outlierSettings(options.outliers);
    this.#now = tools.now;
  }

  /** The instances there are from now on. What is known of those that stay is kept; that of others is forgotten. */
  update(instances: readonly I[]): void {
    const records = new Map<string, Standing>();
    for (const { id } of instances) records.set(id, this.#records.get(id) ?? this.#fresh());
    this.#records = records;
    for (const id of [...this.#notIn.keys()]) if (!records.has(id)) this.#notIn.delete(id);
    // With fewer instances fewer may be out. Those go first whose time is over first.
    const soonest = [...this.#notIn].sort(([, a], [, b]) => a.untilMs - b.untilMs);
    for (const [id, record] of soonest) if (this.#notIn.size > this.#mostOut()) this.#takeIn(id, record, this.#now());
    this.#admitted = undefined;
  }

  /**
   * The candidates that may be chosen: those that are in, and those whose trial is free. All of them if that would be none. The
   * same array as before while nothing changes.
   */
  admit(candidates: readonly I[]): readonly I[] {
    if (this.#notIn.size === 0) return candidates;
    const now = this.#now();
    const known = this.#admitted;
    if (known !== undefined && known.from === candidates && now < known.untilMs) return known.result;
    const kept = candidates.filter(({ id }) => this.#isOpen(id, now));
    const result = kept.length === 0 || kept.length === candidates.length ? candidates : kept;
    this.#admitted = { from: candidates, result, untilMs: this.#nextChange(now) };
    return result;
  }

  /** An instance was chosen. */
  picked(instance: I): void {
    const record = this.#notIn.get(instance.id);
    if (record === undefined) return;
    const now = this.#now();
    if (!this.#isOpen(instance.id, now)) return;
    record.state = 'trial';
    record.tryingSince = now;
    record.changedAt = now;
    this.#admitted = undefined;
  }

  /** A request has ended. */
  done(instance: I, report: Report): void {
    const record = this.#records.get(instance.id);
    if (record === undefined || record.state === 'out') return;
    const now = this.#now();
    const isOld = now - report.latencyMs < record.changedAt - CLOCK_GRAIN_MS;
    if (isOld) return;
    if (record.state === 'trial') this.#tried(instance.id, record, report, now);
    else if (report.outcome !== 'cancelled') this.#count(instance.id, record, report.outcome === 'failure', now);
  }

  /** Those that are out or on trial now. */
  get ejected(): readonly Ejected[] {
    const now = this.#now();
    return [...this.#notIn].map(([id, { reason, untilMs, times }]) => {
      return { id, state: now < untilMs ? 'out' : 'trial', reason, untilMs, times };
    });
  }

  #count(id: string, record: Standing, isFailure: boolean, now: number): void {
    record.window.add(now, isFailure);
    record.failuresInRow = isFailure ? record.failuresInRow + 1 : 0;
    if (!isFailure) return;
    if (record.failuresInRow >= this.#options.consecutiveFailures) {
      this.#takeOut(id, record, 'consecutive-failures', now);
      return;
    }
    const { total, failures } = record.window.counts(now);
    if (total >= this.#options.minimumRequests && failures > total * this.#options.failureShare) {
      this.#takeOut(id, record, 'failure-share', now);
      return;
    }
    if (this.#outliers !== undefined) this.#compare(this.#outliers, now);
  }

  /** Takes the outliers out. Counts change by the slice of their window, and more often nobody need look. */
  #compare(settings: OutlierSettings, now: number): void {
    if (now - this.#comparedAt < this.#options.windowMs / SLICES) return;
    this.#comparedAt = now;
    const tallies: Tally[] = [];
    for (const [id, { state, window }] of this.#records) {
      if (state === 'in') tallies.push({ id, ...window.counts(now) });
    }
    for (const id of outliersAmong(tallies, settings)) {
      const record = this.#records.get(id);
      if (record !== undefined) this.#takeOut(id, record, 'success-rate', now);
    }
  }

  #tried(id: string, record: Standing, report: Report, now: number): void {
    record.tryingSince = undefined;
    this.#admitted = undefined;
    if (report.outcome === 'failure') this.#takeOut(id, record, 'trial', now);
    else if (report.outcome === 'success' && ++record.trialSuccesses >= this.#options.trialSuccesses) {
      this.#takeIn(id, record, now);
    }
  }

  #takeOut(id: string, record: Standing, reason: Ejected['reason'], now: number): void {
    if (record.state === 'in' && this.#notIn.size >= this.#mostOut()) return;
    const { ejectionMs, maxEjectionMs } = this.#options;
    const forgotten = record.state === 'in' ? Math.floor((now - record.changedAt) / ejectionMs) : 0;
    record.times = Math.max(record.times - forgotten, 0) + 1;
    record.untilMs = now + Math.min(ejectionMs * 2 ** (record.times - 1), maxEjectionMs);
    record.reason = reason;
    record.state = 'out';
    record.changedAt = now;
    record.tryingSince = undefined;
    record.trialSuccesses = 0;
    this.#notIn.set(id, record);
    this.#admitted = undefined;
  }

  #takeIn(id: string, record: Standing, now: number): void {
    record.state = 'in';
    record.changedAt = now;
    record.failuresInRow = 0;
    record.window.clear();
    this.#notIn.delete(id);
    this.#admitted = undefined;
  }

  /** Whether it may be chosen now. */
  #isOpen(id: string, now: number): boolean {
    const record = this.#notIn.get(id);
    return record === undefined || now >= this.#opensAt(record);
  }

  #opensAt({ tryingSince, untilMs }: Standing): number {
    return tryingSince === undefined ? untilMs : tryingSince + this.#options.ejectionMs;
  }

  /** When the next one may be chosen that may not now. */
  #nextChange(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const record of this.#notIn.values()) {
      const at = this.#opensAt(record);
      if (at > now && at < next) next = at;
    }
    return next;
  }

  #mostOut(): number {
    const count = this.#records.size;
    return Math.min(Math.floor(count * this.#options.maxShare), count - 1);
  }

  #fresh(): Standing {
    return {
      state: 'in',
      reason: 'consecutive-failures',
      untilMs: 0,
      times: 0,
      changedAt: Number.NEGATIVE_INFINITY,
      failuresInRow: 0,
      window: new OutcomeWindow(this.#options.windowMs),
      tryingSince: undefined,
      trialSuccesses: 0,
    };
  }
}

function complete(options: EjectionOptions): typeof DEFAULTS {
  const all = { ...DEFAULTS };
  for (const name of Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[]) {
    const value = options[name] ?? DEFAULTS[name];
    const isShare = name === 'failureShare' || name === 'maxShare';
    if (!(value > 0 || (name === 'maxShare' && value === 0)) || (isShare && value > 1)) {
      throw new RangeError(`${name} is out of range`);
    }
    all[name] = value;
  }
  return all;
}

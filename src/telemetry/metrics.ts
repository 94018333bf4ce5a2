/**
 * The metrics, made when a program has set up a meter provider and not before.
 *
 * `@opentelemetry/api` has no proxy for meters: an instrument made while there is no
 * provider is dead for good. So {@link instruments} looks at the global provider each time
 * (some nanoseconds) and makes the instruments anew when it is another one. Without one it
 * answers `undefined`, and whoever asked does nothing more.
 *
 * Gauges (how far watches lag, what waits in their buffers, how stale a registry is) are
 * read when they are collected, from what is registered with {@link observe}: events pay
 * nothing for them. What registers itself has to take itself off again.
 *
 * @module
 */

import {
  type Attributes,
  type Counter,
  createNoopMeter,
  type Gauge,
  type Histogram,
  type Meter,
  type MeterProvider,
  metrics,
  type ObservableResult,
  type UpDownCounter,
} from '@opentelemetry/api';
import { DURATION_BOUNDS_SECONDS, LONG_BOUNDS_SECONDS, METRIC } from './semconv.ts';

/** Something whose state is read when metrics are collected. What is undefined is not reported. */
export interface Observed {
  readonly attributes?: Attributes | undefined;
  /** By how many revisions the watch that is furthest behind trails the store. */
  watchLag?(): number | undefined;
  /** How many events wait to be read, in all watches together. */
  watchBuffered?(): number | undefined;
  /** For how long what a registry's reader knows may have been out of date, in seconds; 0 when it follows. */
  registryStalenessSeconds?(): number | undefined;
}

const observed = new Set<Observed>();

/** Has something's state reported. Returns what takes it off again. */
export function observe(source: Observed): () => void {
  observed.add(source);
  instruments();
  return () => observed.delete(source);
}

const SECONDS = { unit: 's', advice: { explicitBucketBoundaries: DURATION_BOUNDS_SECONDS } };
const LONG_SECONDS = { unit: 's', advice: { explicitBucketBoundaries: LONG_BOUNDS_SECONDS } };

/** The instruments of one meter. What each says, and in which unit, is in its description. */
export class Instruments {
  readonly callDuration: Histogram;
  readonly retries: Counter;
  readonly connections: Counter;
  readonly streams: UpDownCounter;
  readonly watchActive: UpDownCounter;
  readonly watchEvents: Counter;
  readonly watchResumes: Counter;
  readonly leaseActive: UpDownCounter;
  readonly leaseRemaining: Histogram;
  readonly leaseRenewal: Histogram;
  readonly leaseLost: Counter;
  readonly wait: Histogram;
  readonly hold: Histogram;
  readonly elections: Counter;
  readonly stmAttempts: Histogram;
  readonly queueDepth: Gauge;

  constructor(meter: Meter) {
    const long = (name: string, description: string): Histogram =>
      meter.createHistogram(name, { ...LONG_SECONDS, description });
    const counter = (name: string, description: string): Counter => meter.createCounter(name, { description });
    const level = (name: string, description: string): UpDownCounter =>
      meter.createUpDownCounter(name, { description });
    this.callDuration = meter.createHistogram(METRIC.callDuration, {
      ...SECONDS,
      description: 'Duration of calls, all attempts included',
    });
    this.retries = counter(METRIC.retries, 'Calls sent again');
    this.connections = counter(METRIC.connections, 'Connections made, failed, doubted and closed');
    this.streams = level(METRIC.streams, 'Streams that are open');
    this.watchActive = level(METRIC.watchActive, 'Watches that are open');
    this.watchEvents = counter(METRIC.watchEvents, 'Watch events that came');
    this.watchResumes = counter(METRIC.watchResumes, 'Watch streams that broke and were replaced');
    this.leaseActive = level(METRIC.leaseActive, 'Leases that are held');
    this.leaseRemaining = long(METRIC.leaseRemaining, 'Time a lease had left when its renewal was answered');
    this.leaseRenewal = meter.createHistogram(METRIC.leaseRenewal, {
      ...SECONDS,
      description: 'Time from sending a renewal to its answer',
    });
    this.leaseLost = counter(METRIC.leaseLost, 'Leases lost');
    this.wait = long(METRIC.wait, 'Time from asking for a lock, permit, leadership or item to getting it or not');
    this.hold = long(METRIC.hold, 'Time for which a lock, permit or leadership was held');
    this.elections = counter(METRIC.elections, 'Leaderships won and ended');
    this.stmAttempts = meter.createHistogram(METRIC.stmAttempts, {
      advice: { explicitBucketBoundaries: [1, 2, 3, 5, 10, 20, 50, 100] },
      description: 'Attempts that a transaction took',
    });
    this.queueDepth = meter.createGauge(METRIC.queueDepth, {
      description: 'Items in a queue when it was counted last',
    });
    this.#gauges(meter);
  }

  #gauges(meter: Meter): void {
    const gauge = (name: string, unit: string, description: string, read: (from: Observed) => number | undefined) =>
      meter.createObservableGauge(name, { unit, description }).addCallback((result: ObservableResult) => {
        // Of several clients in one process the worst counts: gauges of one name and attributes would replace each other.
        const worst = new Map<string, { value: number; attributes: Attributes | undefined }>();
        for (const source of observed) {
          const value = read(source);
          if (value === undefined) continue;
          const id = JSON.stringify(source.attributes ?? {});
          if (value > (worst.get(id)?.value ?? -1)) worst.set(id, { value, attributes: source.attributes });
        }
        for (const { value, attributes } of worst.values()) result.observe(value, attributes);
      });
    gauge(METRIC.watchLag, '{revision}', 'Revisions that the slowest watch is behind the store', (from) =>
      from.watchLag?.(),
    );
    gauge(METRIC.watchBuffered, '{event}', 'Watch events that wait to be read', (from) => from.watchBuffered?.());
    gauge(METRIC.registryStaleness, 's', 'For how long a registry has not followed the store', (from) =>
      from.registryStalenessSeconds?.(),
    );
  }
}

let provider: MeterProvider | undefined;
let current: Instruments | undefined;

/** The instruments; undefined while the program has no meter provider. */
export function instruments(): Instruments | undefined {
  const now = metrics.getMeterProvider();
  if (now === provider) return current;
  provider = now;
  const meter = now.getMeter('etcdkit');
  current = meter === createNoopMeter() ? undefined : new Instruments(meter);
  return current;
}

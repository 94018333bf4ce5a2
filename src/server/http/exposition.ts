/**
 * Metrics as Prometheus reads them: each is read off what counts it when somebody asks.
 *
 * prom-client writes the text. What it counts in itself is not used: it takes a hundred times as long as an addition,
 * and the package is loaded only once somebody asks for metrics at all.
 *
 * @module
 */
import { type Metric, Registry } from 'prom-client';
import { addProcessMetrics } from './process-metrics.ts';
import type { Durations } from './tallies.ts';

/** Labels of a value, by name. */
export type Labels = Readonly<Record<string, string>>;

/** A value with its labels. */
export type Labelled<T> = readonly [Labels, T];

interface Value {
  readonly metricName?: string;
  readonly labels: Labels;
  readonly value: number;
}

/** See the head of this file. */
export class Exposition {
  readonly #registry = new Registry();

  constructor() {
    addProcessMetrics(this.#registry);
  }

  /** A value that goes up and down. */
  gauge(name: string, help: string, value: () => number): void {
    this.gauges(name, help, () => [[{}, value()]]);
  }

  gauges(name: string, help: string, values: () => Iterable<Labelled<number>>): void {
    this.#add('gauge', name, help, () => plain(values()));
  }

  /** A value that only grows, as long as the server lives. */
  counter(name: string, help: string, value: () => number): void {
    this.counters(name, help, () => [[{}, value()]]);
  }

  counters(name: string, help: string, values: () => Iterable<Labelled<number>>): void {
    this.#add('counter', name, help, () => plain(values()));
  }

  histogram(name: string, help: string, durations: Durations): void {
    this.histograms(name, help, () => [[{}, durations]]);
  }

  histograms(name: string, help: string, values: () => Iterable<Labelled<Durations>>): void {
    this.#add('histogram', name, help, () =>
      Array.from(values(), ([labels, durations]) => buckets(name, labels, durations)).flat(),
    );
  }

  render(): Promise<string> {
    return this.#registry.metrics();
  }

  #add(type: 'gauge' | 'counter' | 'histogram', name: string, help: string, values: () => readonly Value[]): void {
    const metric = { name, help, type, aggregator: 'sum', get: async () => ({ name, help, type, values: values() }) };
    // The registry only asks for this; its types know no metrics but its own.
    this.#registry.registerMetric(metric as unknown as Metric);
  }
}

function plain(values: Iterable<Labelled<number>>): readonly Value[] {
  return Array.from(values, ([labels, value]) => ({ labels, value }));
}

/** Each bucket counts what is in the ones before it too. */
function buckets(name: string, labels: Labels, { bounds, counts, sumSeconds }: Durations): readonly Value[] {
  const values: Value[] = [];
  let count = 0;
  for (const [at, within] of counts.entries()) {
    count += within;
    const le = at < bounds.length ? String(bounds[at]) : '+Inf';
    values.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: count });
  }
  values.push({ metricName: `${name}_sum`, labels, value: sumSeconds });
  values.push({ metricName: `${name}_count`, labels, value: count });
  return values;
}

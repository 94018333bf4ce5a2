/** A meter provider that keeps everything it is told, from `collectMetrics` until it is disposed of. */
import {
  type Attributes,
  createNoopMeter,
  type Meter,
  type MeterProvider,
  metrics,
  type ObservableCallback,
} from '@opentelemetry/api';

export interface Recorded {
  readonly value: number;
  readonly attributes: Attributes;
}

export class Metrics implements Disposable {
  readonly #recorded = new Map<string, Recorded[]>();
  readonly #callbacks = new Map<string, ObservableCallback>();

  constructor() {
    const keep = (name: string) => {
      const list = this.#recorded.get(name) ?? [];
      this.#recorded.set(name, list);
      const add = (value: number, attributes: Attributes = {}): void => void list.push({ value, attributes });
      return { add, record: add };
    };
    const own: Partial<Meter> = {
      createCounter: keep,
      createUpDownCounter: keep,
      createHistogram: keep,
      createGauge: keep,
      createObservableGauge: (name) => ({
        addCallback: (callback) => void this.#callbacks.set(name, callback),
        removeCallback: () => {},
      }),
    };
    const meter = Object.assign(Object.create(createNoopMeter()) as Meter, own);
    const provider: MeterProvider = { getMeter: () => meter };
    metrics.setGlobalMeterProvider(provider);
  }

  /** What an instrument was told, in that order. */
  of(name: string): readonly Recorded[] {
    return this.#recorded.get(name) ?? [];
  }

  /** The sum of it. */
  sum(name: string): number {
    return this.of(name).reduce((sum, { value }) => sum + value, 0);
  }

  /** What an observed gauge shows now. */
  observe(name: string): Recorded[] {
    const seen: Recorded[] = [];
    const result = { observe: (value: number, attributes: Attributes = {}) => void seen.push({ value, attributes }) };
    void this.#callbacks.get(name)?.(result);
    return seen;
  }

  [Symbol.dispose](): void {
    metrics.disable();
  }
}

export function collectMetrics(): Metrics {
  return new Metrics();
}

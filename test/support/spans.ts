/**
 * Spans of this process, for tests.
 *
 * Files of the unit suite share their modules, and a tracer keeps the first provider that it has seen. So there is one
 * provider for good, which makes spans only while a test collects them; propagator and context manager come and go.
 */
import { context, ProxyTracerProvider, propagation, type Tracer, type TracerProvider, trace } from '@opentelemetry/api';
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  type Sampler,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node';

const off = new ProxyTracerProvider();
let current: TracerProvider = off;
let isRegistered = false;

const switching: TracerProvider = {
  getTracer(name, version, options): Tracer {
    const tracer = (): Tracer => current.getTracer(name, version, options);
    return {
      startSpan: (...args) => tracer().startSpan(...args),
      startActiveSpan: (...args: unknown[]) => Reflect.apply(tracer().startActiveSpan, tracer(), args) as never,
    };
  },
};

/** What is collected, from {@link collectSpans} until it is disposed of. */
export class Spans implements AsyncDisposable {
  readonly #exporter = new InMemorySpanExporter();
  readonly #provider: NodeTracerProvider;

  constructor(sampler?: Sampler) {
    if (current !== off) throw new Error('spans are collected already');
    const spanProcessors = [new SimpleSpanProcessor(this.#exporter)];
    this.#provider = new NodeTracerProvider(sampler ? { spanProcessors, sampler } : { spanProcessors });
    // Registering takes the place of the global provider too, which has to stay.
    if (!isRegistered) trace.setGlobalTracerProvider(switching);
    isRegistered = true;
    this.#provider.register();
    current = this.#provider;
  }

  /** Spans that have ended, in that order. */
  get finished(): readonly ReadableSpan[] {
    return this.#exporter.getFinishedSpans();
  }

  /** Those of a name. */
  named(name: string): readonly ReadableSpan[] {
    return this.finished.filter((span) => span.name === name);
  }

  /** Those right below one. */
  below(parent: ReadableSpan): readonly ReadableSpan[] {
    const { spanId } = parent.spanContext();
    return this.finished.filter(({ parentSpanContext }) => parentSpanContext?.spanId === spanId);
  }

  /** Forgets what has ended. */
  clear(): void {
    this.#exporter.reset();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    current = off;
    propagation.disable();
    context.disable();
    await this.#provider.shutdown();
  }
}

/** Collects the spans of this process. @param sampler Default: all. */
export function collectSpans(sampler?: Sampler): Spans {
  return new Spans(sampler);
}

/** The only span of a name. @throws when there is none, or another. */
export function one(spans: Spans, name: string): ReadableSpan {
  const [span, ...more] = spans.named(name);
  if (span === undefined || more.length > 0) throw new Error(`${span ? more.length + 1 : 0} spans ${name}, not one`);
  return span;
}

/** The names of the spans right below one, without the server's address and without repetition, as they ended. */
export function below(spans: Spans, parent: ReadableSpan | undefined): string[] {
  const names = parent === undefined ? [] : spans.below(parent).map(({ name }) => name.replace(/ \S+:\d+$/, ''));
  return [...new Set(names)];
}

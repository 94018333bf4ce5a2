/** etcd's own tracing goes on with the trace of a call, as the bundled server does. */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { context, trace } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import { Etcd } from '../../src/index.ts';
import { KV } from '../../src/protocol/generated/etcdserverpb.ts';
import { call, SPAN_ID, TRACE_ID, traceparent } from '../server/tracing/traced-calls.ts';
import { EtcdCluster } from '../support/etcd-cluster.ts';
import { collectSpans } from '../support/spans.ts';

const EXPORT = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';

/** A collector of OTLP over gRPC that keeps the bytes it gets: ids lie in them as they are. */
class Collector implements AsyncDisposable {
  readonly #server = new Server();
  #bytes = Buffer.alloc(0);
  port = 0;

  static async open(): Promise<Collector> {
    const collector = new Collector();
    const raw = (bytes: Buffer): Buffer => bytes;
    const method = {
      path: EXPORT,
      requestStream: false,
      responseStream: false,
      requestSerialize: raw,
      requestDeserialize: raw,
      responseSerialize: raw,
      responseDeserialize: raw,
    };
    collector.#server.addService(
      { export: method },
      {
        export: ({ request }: { request: Buffer }, done: (error: null, reply: Buffer) => void) => {
          collector.#bytes = Buffer.concat([collector.#bytes, request]);
          done(null, Buffer.alloc(0));
        },
      },
    );
    collector.port = await new Promise((resolve, reject) => {
      collector.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      );
    });
    return collector;
  }

  /** Whether it got a span of a trace, below a span. */
  has(traceId: string, parentId: string): boolean {
    return [traceId, parentId].every((hex) => this.#bytes.includes(Buffer.from(hex, 'hex')));
  }

  get text(): string {
    return this.#bytes.toString('latin1');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
  }
}

describe('etcd 3.5 with its tracing on', () => {
  it("has spans below a traced call's, and below those of our client", async () => {
    await using collector = await Collector.open();
    await using cluster = await EtcdCluster.start({
      version: '3.5',
      flags: [
        '--experimental-enable-distributed-tracing',
        `--experimental-distributed-tracing-address=127.0.0.1:${collector.port}`,
      ],
    });
    const [member] = cluster.members;
    const message = { key: Buffer.from('a'), value: Buffer.from('1') };
    expect((await call(member!.address, KV.put, message, traceparent())).code).toBe(0);
    // Without a trace that is kept it keeps none either: its sampling rate is 0 unless a flag says otherwise.
    expect((await call(member!.address, KV.deleteRange, { key: message.key })).code).toBe(0);
    expect((await call(member!.address, KV.range, { key: message.key }, traceparent('00'))).code).toBe(0);
    await using spans = collectSpans();
    await using etcd = new Etcd({ endpoints: cluster.endpoints });
    const root = trace.getTracer('test').startSpan('root');
    await context.with(trace.setSpan(context.active(), root), () => etcd.put('b', '2'));
    root.end();
    const [put] = spans.below(spans.named('root')[0]!);
    const { traceId, spanId } = put!.spanContext();
    // It sends what it has every five seconds, and when it ends.
    await member!.terminate();
    expect(collector.text).toContain('etcdserverpb.KV/Put');
    expect(collector.text).not.toMatch(/KV\/(DeleteRange|Range)/);
    expect(collector.has(TRACE_ID, SPAN_ID)).toBe(true);
    expect(collector.has(traceId, spanId)).toBe(true);
  });
});

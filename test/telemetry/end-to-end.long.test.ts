/**
 * One trace from a lock's caller to the disks of three members: client, recipe and servers are processes of their own
 * that send their spans to one collector, by the one call of etcdkit/telemetry and by the environment.
 */

import { context, type Span, trace } from '@opentelemetry/api';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Mutex, Session } from '../../recipes/index.ts';
import { Etcd } from '../../src/index.ts';
import { startTelemetry } from '../../src/telemetry/setup.ts';
import { ServerProcess } from '../server/cli/server-process.ts';
import { TempFolder } from '../support/lifeline.ts';
import { type Mood, OtlpReceiver, type ReceivedSpan } from '../support/otlp-receiver.ts';
import { freePorts, releasePorts } from '../support/ports.ts';

const MEMBERS = ['infra0', 'infra1', 'infra2'];
const SERVER = 2;

/** What becomes of one write: at the member that was asked, at the leader, and at each disk. */
const TREE = [
  'etcdserverpb.KV/Txn',
  '  raft.propose',
  ...Array<string>(MEMBERS.length).fill('    apply'),
  '    raft.replicate',
  ...Array<string>(MEMBERS.length).fill('    wal.sync'),
];

/** Members as processes that are told of a collector by nothing but the environment. */
class Members implements AsyncDisposable {
  readonly endpoints: string[] = [];
  readonly processes: ServerProcess[] = [];
  readonly #folder = new TempFolder('etcdkit-traces');
  #ports: readonly number[] = [];

  static async start(environment: Readonly<Record<string, string>>, names = MEMBERS.slice()): Promise<Members> {
    const members = new Members();
    const ports = await freePorts(2 * names.length);
    members.#ports = ports;
    const peerOf = (at: number): string => `http://127.0.0.1:${ports[2 * at + 1]}`;
    const cluster = names.map((name, at) => `${name}=${peerOf(at)}`).join(',');
    for (const [at, name] of names.entries()) {
      const client = `http://127.0.0.1:${ports[2 * at]}`;
      members.endpoints.push(client);
      const args = [
        `--name=${name}`,
        `--data-dir=${members.#folder.file(name)}`,
        `--listen-client-urls=${client}`,
        `--advertise-client-urls=${client}`,
        `--listen-peer-urls=${peerOf(at)}`,
        `--initial-advertise-peer-urls=${peerOf(at)}`,
        `--initial-cluster=${cluster}`,
        '--heartbeat-interval=50',
        '--election-timeout=500',
      ];
      members.processes.push(new ServerProcess(args, environment));
    }
    await Promise.all(members.processes.map((one) => one.printed('ready to serve client requests')));
    return members;
  }

  /** Ends them in good order: what they have is sent. */
  async stop(): Promise<void> {
    for (const { child } of this.processes) child.kill('SIGTERM');
    await Promise.all(this.processes.map(({ ended }) => ended));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.processes.map((one) => one[Symbol.asyncDispose]()));
    releasePorts(this.#ports);
    await this.#folder.remove();
  }
}

/** Runs something in a span of the caller's own, and gives the id of its trace. */
async function traced(work: () => Promise<unknown>): Promise<string> {
  const span: Span = trace.getTracer('orders').startSpan('order');
  try {
    await context.with(trace.setSpan(context.active(), span), work);
  } finally {
    span.end();
  }
  return span.spanContext().traceId;
}

function below(spans: readonly ReceivedSpan[], parent: ReceivedSpan): ReceivedSpan[] {
  return spans.filter(({ parentSpanId }) => parentSpanId === parent.spanId);
}

/** The trace as people read it: names by depth, in one order. */
function picture(spans: readonly ReceivedSpan[], parent: ReceivedSpan, depth = 0): string[] {
  const line = `${'  '.repeat(depth)}${parent.name}`;
  const parts = below(spans, parent).map((part) => picture(spans, part, depth + 1));
  return [line, ...parts.sort((a, b) => (a.join() < b.join() ? -1 : 1)).flat()];
}

const instanceOf = ({ resource }: ReceivedSpan): unknown => resource['service.instance.id'];

afterEach(() => vi.unstubAllEnvs());

describe('three members, a client and a lock, with one collector', () => {
  it('are one trace, from who asks for the lock to each disk', { timeout: 120_000 }, async () => {
    await using collector = await OtlpReceiver.open();
    await using members = await Members.start({
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
      // What they have they send when they end.
      OTEL_BSP_SCHEDULE_DELAY: '600000',
      OTEL_TRACES_SAMPLER: 'parentbased_always_off',
    });
    vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', collector.endpoint);
    await using telemetry = await startTelemetry({ serviceName: 'orders' });
    await using etcd = new Etcd({ endpoints: members.endpoints });
    const traceId = await traced(async () => {
      await using session = await Session.open(etcd, { ttlSeconds: 30 });
      await using lock = await new Mutex(session, 'stock').acquire({ timeoutMs: 10_000 });
      lock.assertHeld();
    });
    await telemetry.flush();
    await members.stop();
    expect(collector.faults).toEqual([]);
    const spans = collector.spans.filter((span) => span.traceId === traceId);
    const [root, ...others] = spans.filter(({ name }) => name === 'order');
    expect(others).toEqual([]);
    // Whole: nothing hangs in the air.
    const ids = new Set(spans.map(({ spanId }) => spanId));
    expect(spans.filter((span) => span !== root && !ids.has(span.parentSpanId ?? ''))).toEqual([]);
    const acquire = spans.find(({ name }) => name === 'Mutex.acquire');
    const calls = spans.filter(({ kind, name }) => kind === SERVER && name === 'etcdserverpb.KV/Txn');
    const own = calls.filter((span) => isBelow(spans, acquire!, span));
    expect(own.length).toBeGreaterThan(0);
    for (const call of own) {
      expect(call.resource['service.name']).toBe('etcd');
      expect(picture(spans, call)).toEqual(TREE);
      const work = below(spans, below(spans, call)[0]!);
      const instances = (name: string): unknown[] => work.filter((span) => span.name === name).map(instanceOf);
      expect(instances('wal.sync').sort()).toEqual(MEMBERS);
      expect(instances('apply').sort()).toEqual(MEMBERS);
    }
    // Nobody else's work: the servers sample what their clients do.
    expect(collector.spans.filter((span) => span.traceId !== traceId)).toEqual([]);
    expect(JSON.stringify(spans)).not.toContain('stock');
  });
});

function isBelow(spans: readonly ReceivedSpan[], ancestor: ReceivedSpan, span: ReceivedSpan): boolean {
  const parent = spans.find(({ spanId }) => spanId === span.parentSpanId);
  return parent !== undefined && (parent === ancestor || isBelow(spans, ancestor, parent));
}

describe('a server whose collector', () => {
  /** One member, one trace for each put, and a collector that it cannot count on. */
  async function putAll(collector: OtlpReceiver, moods: readonly Mood[]): Promise<void> {
    await using members = await Members.start(
      { OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, OTEL_BSP_SCHEDULE_DELAY: '50' },
      ['infra0'],
    );
    await using etcd = new Etcd({ endpoints: members.endpoints });
    for (const mood of moods) {
      collector.mood = mood;
      const before = collector.requests;
      for (let i = 0; i < 50 || collector.requests === before; i++) await etcd.put(mood, String(i));
    }
    await members.stop();
    expect(members.processes[0]!.lines.filter(({ level }) => level === 'fatal')).toEqual([]);
  }

  it('never answers serves and ends as without it', async () => {
    await using collector = await OtlpReceiver.open();
    await putAll(collector, ['silent']);
    expect(collector.spans).toEqual([]);
  });

  it('is busy sends again what it was asked to send later', async () => {
    await using collector = await OtlpReceiver.open();
    await putAll(collector, ['busy', 'ready']);
    expect(collector.faults).toEqual([]);
    const puts = collector.spans.filter(({ name }) => name === 'etcdserverpb.KV/Put');
    expect(puts.length).toBeGreaterThan(50);
  });

  it('is gone serves and ends as without it', async () => {
    const collector = await OtlpReceiver.open();
    const { endpoint } = collector;
    await collector[Symbol.asyncDispose]();
    await using members = await Members.start({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, ['infra0']);
    await using etcd = new Etcd({ endpoints: members.endpoints });
    for (let i = 0; i < 50; i++) await etcd.put('a', String(i));
    await members.stop();
    expect((await members.processes[0]!.ended).signal).toBe('SIGTERM');
  });
});

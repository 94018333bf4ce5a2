/**
 * Fifty services of twenty instances each, in four processes, and one that discovers them all and sends requests, through
 * news, deploys, a killed process, compaction and an outage. Nothing is measured against a clock: what is gone and what is
 * there is what a second reader of the store has seen.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { expect, it, onTestFinished, vi } from 'vitest';
import type { Discovery } from '../../../../recipes/services/discovery/discovery.ts';
import { ServiceRegistry } from '../../../../recipes/services/service-registry.ts';
import type { Etcd, Revision } from '../../../../src/index.ts';
import { TestCluster } from '../../../../src/testing/index.ts';
import { tieProcess } from '../../../support/lifeline.ts';
import { layout, numbered } from './bed.ts';

const SERVICES = 50;
const PROCESSES = 4;
/** Of each service in each process. */
const INSTANCES = 5;
const TTL_SECONDS = 6;
const WAIT = { timeout: 60_000, interval: 50 };

class Child {
  readonly label: string;
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(label: string, endpoint: string) {
    this.label = label;
    const file = path.join(import.meta.dirname, 'children', 'instances.ts');
    const args = ['--import', 'tsx', file, endpoint, label, `${SERVICES}`, `${INSTANCES}`, `${TTL_SECONDS}`];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    tieProcess(child);
    child.stdin.on('error', () => {});
    this.#process = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  async done(): Promise<void> {
    expect((await this.#lines.next()).value).toBe('done');
  }

  async command(line: string): Promise<void> {
    this.#process.stdin?.write(`${line}\n`);
    await this.done();
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }
}

/** What the store has, as seen by a reader of its own, and the revisions at which keys went. */
class Truth {
  readonly keys = new Set<string>();
  readonly goneAt = new Map<string, Revision>();

  async follow(etcd: Etcd, signal: AbortSignal): Promise<void> {
    const watch = etcd.watch({ prefix: layout.root }, { signal, from: 1n as Revision, resync: true });
    for await (const event of watch) {
      if (event.type === 'put') {
        this.keys.add(event.kv.key);
        this.goneAt.delete(event.kv.key);
      } else if (event.type === 'delete' && this.keys.delete(event.kv.key)) {
        this.goneAt.set(event.kv.key, event.kv.modRevision);
      }
    }
  }
}

/** Sends requests to all services, one after the other, until it is told to stop. */
class Load {
  readonly views: readonly Discovery[];
  readonly truth: Truth;
  readonly astray: string[] = [];
  requests = 0;
  #timer: ReturnType<typeof setInterval>;

  constructor(views: readonly Discovery[], truth: Truth) {
    this.views = views;
    this.truth = truth;
    this.#timer = setInterval(() => this.#round(), 100);
  }

  #round(): void {
    for (const view of this.views) {
      using picked = view.pick();
      this.requests += 1;
      const { id } = picked.instance;
      const goneAt = this.truth.goneAt.get(layout.keyOf(view.name, id));
      // It has the news, and others to pick from.
      if (goneAt !== undefined && view.revision >= goneAt && view.suspects.size < view.instances.length) {
        this.astray.push(`${view.name} ${id}`);
      }
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** How long news took from its writer to here, in milliseconds, sorted. */
async function latencies(views: readonly Discovery[], write: () => Promise<void>): Promise<number[]> {
  const found: number[] = [];
  const feeds = views.map((view) => view.changes());
  const reading = feeds.map(async (feed) => {
    for await (const { instance } of feed) {
      const at = instance.metadata['at'];
      if (at !== undefined) found.push(Date.now() - Number(at));
    }
  });
  await write();
  await vi.waitFor(() => expect(found.length).toBe(views.length * PROCESSES), WAIT);
  await Promise.all(feeds.map(async (feed) => feed.return?.()));
  await Promise.all(reading);
  return found.sort((a, b) => a - b);
}

const total = (views: readonly Discovery[]): number => views.reduce((sum, { instances }) => sum + instances.length, 0);

it('a thousand instances, and nobody is missed or asked in vain', { timeout: 280_000 }, async () => {
  await using cluster = await TestCluster.start({ members: 1 });
  const [member] = cluster.members;
  const endpoint = cluster.endpoints[0] as string;
  const children = numbered(PROCESSES, 'p').map((label) => new Child(label, endpoint));
  onTestFinished(() => {
    for (const child of children) child.kill();
  });
  const [etcd, other] = [cluster.client(), cluster.client()];
  const stop = new AbortController();
  const truth = new Truth();
  const following = truth.follow(other, stop.signal).catch(() => {});
  await Promise.all(children.map((child) => child.done()));

  const registry = new ServiceRegistry(etcd);
  const views = await Promise.all(
    Array.from({ length: SERVICES }, (_, index) => registry.discover(`service-${index}`, { timeoutMs: 60_000 })),
  );
  expect(total(views)).toBe(SERVICES * PROCESSES * INSTANCES);
  const load = new Load(views, truth);
  onTestFinished(() => load.stop());

  const sorted = await latencies(views, async () => {
    for (const child of children) await child.command('news');
  });
  const quantile = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN;
  console.log(`propagation of ${sorted.length} updates: p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms`);

  await Promise.all(children.map((child) => child.command('deploy')));
  await vi.waitFor(() => expect(total(views)).toBe(SERVICES * PROCESSES * INSTANCES), WAIT);

  const [victim] = children;
  victim?.kill();
  await vi.waitFor(() => expect(total(views)).toBe(SERVICES * (PROCESSES - 1) * INSTANCES), WAIT);
  await etcd.compact(await etcd.revision());

  // Away for longer than the leases live.
  const before = views.map(({ instances }) => instances);
  await member?.kill();
  await new Promise((resolve) => setTimeout(resolve, TTL_SECONDS * 1_000 + 2_000));
  expect(views.map(({ instances }) => instances)).toEqual(before);
  await member?.restart();
  const missing = new Set<string>();
  const living = before.map((instances) => instances.map(({ id }) => id));
  const watching = setInterval(() => {
    for (const [index, view] of views.entries()) {
      const ids = new Set(view.instances.map(({ id }) => id));
      for (const id of living[index] ?? []) if (!ids.has(id)) missing.add(`${view.name} ${id}`);
    }
  }, 50);
  onTestFinished(() => clearInterval(watching));
  // Each renews its lease, or registers again: afterwards all hang on leases that are kept alive.
  await new Promise((resolve) => setTimeout(resolve, TTL_SECONDS * 2_000));
  await vi.waitFor(() => expect(views.every(({ staleSince }) => staleSince === undefined)).toBe(true), WAIT);
  stop.abort();
  await following;
  expect(total(views)).toBe(SERVICES * (PROCESSES - 1) * INSTANCES);
  expect([...missing]).toEqual([]);
  expect(load.astray).toEqual([]);
  expect(load.requests).toBeGreaterThan(1_000);
});

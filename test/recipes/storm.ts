/**
 * The lock storm: many contenders from several processes on one lock, through faults, and a judgement of what they did.
 *
 * What is checked comes from three sources: the history of a key that only guarded writes touch (the store's word), what
 * the contenders say they believed and when (one clock for the whole machine), and the keys that are left in the end.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Etcd, type Revision } from '../../src/index.ts';
import type { EtcdCluster } from '../support/etcd-cluster.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { tieProcess } from '../support/lifeline.ts';

/** How to storm. */
export interface StormOptions {
  readonly cluster: EtcdCluster;
  /** What to call the lock; nothing else may use it. */
  readonly name: string;
  readonly contenders: number;
  readonly processes: number;
  /** How long faults go on. Then all is healed, and goes on until every contender has had the lock. */
  readonly faultsMs: number;
  /** How long that may take. */
  readonly calmMs: number;
}

/** What came of it. */
export interface StormReport {
  /** How often the lock was handed out, as far as anybody lived to tell. */
  readonly grants: number;
  /** Guarded writes that the store has. */
  readonly guardedWrites: number;
  /** Guarded writes with a token lower than one before: each is a double hold. None may be. */
  readonly stale: readonly string[];
  /** Times that two believed to hold it at once, though no lock had been taken from its holder. None may be. */
  readonly overlaps: readonly string[];
  /** Contenders that never had it. None may be left. */
  readonly starved: readonly string[];
  /** Keys left in the end. None may be. */
  readonly leftovers: readonly string[];
  readonly faults: Readonly<Record<string, number>>;
  /** From one holder's last word to the next one's first, in milliseconds. */
  readonly handOverMs: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
}

interface Grant {
  readonly who: string;
  readonly token: string;
  readonly from: number;
  readonly until: number;
  readonly guarded: number;
}

interface Worker {
  readonly child: ChildProcess;
  readonly proxies: readonly FaultProxy[];
  stopped: boolean;
}

/** Runs it; the processes and proxies are gone when this resolves. */
export async function lockStorm(options: StormOptions): Promise<StormReport> {
  const { cluster, name, contenders, processes, faultsMs, calmMs } = options;
  await using etcd = new Etcd({ endpoints: cluster.endpoints });
  const history = new History(etcd, name);
  await history.ready;
  const grants: Grant[] = [];
  const workers: Worker[] = [];
  for (let index = 0; index < processes; index++) {
    const share = Math.floor(contenders / processes) + (index < contenders % processes ? 1 : 0);
    workers.push(await startWorker(cluster, name, share, `p${index}`, grants));
  }
  const everybody = workers.length;
  const taken = new Set<string>();
  const faults = new Faults(cluster, etcd, name, workers, taken, history);
  try {
    await faults.rage(faultsMs);
    await faults.heal();
    const waitingFor = new Set(names(contenders, everybody));
    const deadline = performance.now() + calmMs;
    const seen = (): number => {
      for (const { who } of grants) waitingFor.delete(who);
      return waitingFor.size;
    };
    while (seen() > 0 && performance.now() < deadline) await sleep(50);
    await stopAll(workers);
    const leftovers = (await etcd.range({ prefix: `${name}/` })).kvs.map(({ key }) => key);
    await history.upTo(await etcd.revision());
    seen();
    return {
      grants: grants.length,
      guardedWrites: history.tokens.length,
      stale: history.stale(),
      overlaps: overlaps(grants, taken),
      starved: [...waitingFor],
      leftovers,
      faults: faults.counts,
      handOverMs: handOvers(grants),
    };
  } finally {
    for (const { child } of workers) child.kill('SIGKILL');
    await Promise.all(workers.flatMap(({ proxies }) => proxies.map((proxy) => proxy[Symbol.asyncDispose]())));
  }
}

function names(contenders: number, processes: number): string[] {
  return Array.from({ length: contenders }, (_, index) => `p${index % processes}-${Math.floor(index / processes)}`);
}

async function startWorker(
  cluster: EtcdCluster,
  name: string,
  count: number,
  label: string,
  grants: Grant[],
): Promise<Worker> {
  const targets = cluster.endpoints.map((endpoint) => new URL(endpoint).host);
  const proxies = await Promise.all(targets.map((target) => FaultProxy.start({ target })));
  const endpoints = proxies.map(({ address }) => address).join(',');
  const script = path.join(import.meta.dirname, 'children', 'storm-worker.ts');
  const args = ['--import', 'tsx', script, endpoints, name, String(count), label];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  tieProcess(child);
  createInterface({ input: child.stdout }).on('line', (line) => grants.push(JSON.parse(line) as Grant));
  child.stdin.on('error', () => {});
  return { child, proxies, stopped: false };
}

async function stopAll(workers: readonly Worker[]): Promise<void> {
  await Promise.all(
    workers.map(async ({ child }) => {
      if (child.exitCode !== null) return;
      // 'close' comes after the last line was read.
      const closed = once(child, 'close');
      child.stdin?.end('stop\n');
      await closed;
    }),
  );
}

/** Every guarded write, in the order of the store. */
class History {
  readonly tokens: { readonly token: bigint; readonly who: string }[] = [];
  readonly ready: Promise<Revision>;
  #read: Revision = 0n as Revision;

  constructor(etcd: Etcd, name: string) {
    const watcher = etcd.watch(`${name}-last`);
    this.ready = watcher.ready;
    void (async () => {
      for await (const event of watcher) {
        if (event.type !== 'put') continue;
        this.#read = event.revision;
        const [token = '', who = ''] = event.kv.value.split(' ');
        if (token !== '') this.tokens.push({ token: BigInt(token), who });
      }
    })().catch(() => {});
    this.#etcd = etcd;
    this.#key = `${name}-last`;
  }

  readonly #etcd: Etcd;
  readonly #key: string;

  /** How far it is, for who would compact. */
  get read(): Revision {
    return this.#read;
  }

  async upTo(_revision: Revision): Promise<void> {
    const { revision } = await this.#etcd.put(this.#key, '');
    while (this.#read < revision) await sleep(10);
  }

  stale(): string[] {
    const found: string[] = [];
    let highest = { token: 0n, who: 'nobody' };
    for (const write of this.tokens) {
      if (write.token < highest.token)
        found.push(`${write.who} (${write.token}) after ${highest.who} (${highest.token})`);
      else highest = write;
    }
    return found;
  }
}

/** Breaks things, one after another. */
class Faults {
  readonly counts: Record<string, number> = {};
  readonly #cluster: EtcdCluster;
  readonly #etcd: Etcd;
  readonly #name: string;
  readonly #workers: readonly Worker[];
  readonly #taken: Set<string>;
  readonly #history: History;

  constructor(
    cluster: EtcdCluster,
    etcd: Etcd,
    name: string,
    workers: readonly Worker[],
    taken: Set<string>,
    history: History,
  ) {
    this.#cluster = cluster;
    this.#etcd = etcd;
    this.#name = name;
    this.#workers = workers;
    this.#taken = taken;
    this.#history = history;
  }

  async rage(durationMs: number): Promise<void> {
    const kinds: Record<string, () => Promise<void>> = {
      cut: async () => each(pick(this.#workers), (proxy) => proxy.cut()),
      reset: async () => each(pick(this.#workers), (proxy) => proxy.reset()),
      'cut replies': async () => each(pick(this.#workers), (proxy) => void proxy.cutAfter(random(2_000), 'to-client')),
      blackhole: () => this.#blackhole(pick(this.#workers)),
      delay: () => this.#delay(pick(this.#workers)),
      'stop process': () => this.#pause(pick(this.#workers)),
      'revoke holder': () => this.#fromHolder((_key, lease) => this.#etcd.leases.revoke(lease as never)),
      'delete holder': () => this.#fromHolder((key) => this.#etcd.delete(key)),
      compact: async () => {
        if (this.#history.read > 0n) await this.#etcd.compact(this.#history.read);
      },
      'stop server': () => this.#pauseServer(),
      'kill server': () => this.#killServer(),
    };
    const end = performance.now() + durationMs;
    while (performance.now() < end) {
      const [kind, fault] = pick(Object.entries(kinds));
      this.counts[kind] = (this.counts[kind] ?? 0) + 1;
      await fault().catch(() => {});
      await sleep(100 + random(500));
    }
  }

  async heal(): Promise<void> {
    for (const worker of this.#workers) {
      each(worker, (proxy) => {
        proxy.heal();
        proxy.delay(0);
      });
      worker.child.kill('SIGCONT');
    }
    await this.#cluster.waitHealthy();
  }

  async #blackhole(worker: Worker): Promise<void> {
    each(worker, (proxy) => proxy.blackhole(pick(['both', 'to-client', 'to-server'] as const)));
    await sleep(200 + random(4_500));
    each(worker, (proxy) => proxy.heal());
  }

  async #delay(worker: Worker): Promise<void> {
    each(worker, (proxy) => proxy.delay(random(300)));
    await sleep(500 + random(1_000));
    each(worker, (proxy) => proxy.delay(0));
  }

  async #pause(worker: Worker): Promise<void> {
    worker.child.kill('SIGSTOP');
    await sleep(200 + random(4_500));
    worker.child.kill('SIGCONT');
  }

  async #pauseServer(): Promise<void> {
    const member = pick(this.#cluster.members);
    member.pause();
    await sleep(100 + random(2_000));
    member.resume();
  }

  async #killServer(): Promise<void> {
    await pick(this.#cluster.members).restart();
  }

  /** Takes the lock from its holder, who cannot know yet: what it believes from then on does not count. */
  async #fromHolder(take: (key: string, lease: bigint | undefined) => Promise<unknown>): Promise<void> {
    const sort = { by: 'createRevision' } as const;
    const [holder] = (await this.#etcd.range({ prefix: `${this.#name}/` }, { sort, limit: 1 })).kvs;
    if (holder === undefined) return;
    this.#taken.add(holder.createRevision.toString());
    await take(holder.key, holder.lease);
  }
}

function each(worker: Worker, action: (proxy: FaultProxy) => void): void {
  for (const proxy of worker.proxies) action(proxy);
}

function overlaps(grants: readonly Grant[], taken: ReadonlySet<string>): string[] {
  const found: string[] = [];
  let last: Grant | undefined;
  for (const grant of grants.filter(({ token }) => !taken.has(token)).sort((a, b) => a.from - b.from)) {
    if (last !== undefined && grant.from < last.until) {
      found.push(
        `${grant.who} (${grant.token}) ${last.until - grant.from} ms before ${last.who} (${last.token}) was done`,
      );
    }
    if (last === undefined || grant.until > last.until) last = grant;
  }
  return found;
}

function handOvers(grants: readonly Grant[]): StormReport['handOverMs'] {
  const sorted = [...grants].sort((a, b) => a.from - b.from);
  const gaps = sorted.slice(1).map((grant, index) => grant.from - (sorted[index]?.until ?? grant.from));
  gaps.sort((a, b) => a - b);
  const at = (part: number): number =>
    Number((gaps[Math.min(gaps.length - 1, Math.floor(part * gaps.length))] ?? 0).toFixed(2));
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

function pick<T>(from: readonly T[]): T {
  return from[random(from.length)] as T;
}

function random(below: number): number {
  return Math.floor(Math.random() * below);
}

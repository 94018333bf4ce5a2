/**
 * A fleet of services in several processes, through deploys, killed processes, restarts of the store, compaction and an
 * outage, with requests all the while; and the judgement of what happened.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Etcd } from '../../../../src/index.ts';
import type { EtcdCluster } from '../../../support/etcd-cluster.ts';
import { type Chronicle, FleetMember } from './fleet-member.ts';
import type { Span } from './history.ts';
import { type Latencies, latencies } from './latency.ts';
import { type Allowances, judge, type Verdict } from './verdict.ts';
import { machineMs, onStall } from './words.ts';

/** What to put to sea, and through what. */
export interface FleetOptions {
  /** Of one member, which nothing else uses. */
  readonly cluster: EtcdCluster;
  /** What the keys begin with. */
  readonly prefix: string;
  readonly services: number;
  readonly instancesPerService: number;
  readonly processes: number;
  /** How long the store is away, once. More than the time to live. */
  readonly outageMs: number;
  /** How often everything else happens. */
  readonly rounds: number;
  /** How long from one request of each process to each service to the next one. */
  readonly pickEveryMs: number;
  /** Told what begins. */
  readonly log?: ((line: string) => void) | undefined;
}

/** What came of it. */
export interface FleetReport {
  readonly verdict: Verdict;
  readonly latencies: Latencies;
  readonly picks: number;
  readonly instances: { readonly registered: number; readonly drained: number; readonly killed: number };
  readonly outages: number;
  readonly cuts: number;
  readonly allowances: Allowances;
  /** Registrations lost while the store was there: the machine was too busy for the leases, or there is a fault. By reason. */
  readonly lossesInCalm: Readonly<Record<string, number>>;
  /**
   * The longest time in which a process did not run, or this one, through which all discoveries look; in milliseconds, 0
   * when none was above a second.
   */
  readonly longestStallMs: number;
}

const TTL_SECONDS = 5;
/** Far more than a quiet machine needs; the times that were measured are in the report. */
const ALLOWANCES: Allowances = {
  ttlMs: TTL_SECONDS * 1_000,
  expiryMs: 1_500,
  propagationMs: 2_000,
  reconnectMs: 5_000,
};
/** After what was broken is mended: for the clients to notice. */
const PAUSE_MS = 3_000;
/** Between the last trouble and the end: for all that has gone to be forgotten. */
const CALM_MS = ALLOWANCES.ttlMs + ALLOWANCES.expiryMs + ALLOWANCES.propagationMs + 500;
const DRAIN_MS = 500;

/** Runs it; the processes are gone when this resolves. */
export async function runFleet(options: FleetOptions): Promise<FleetReport> {
  await using fleet = new Fleet(options);
  await fleet.launch();
  const launchedAt = machineMs();
  for (let round = 0; round < options.rounds; round++) {
    // First, so that the leases' end comes before the store is restarted, and can be measured.
    await fleet.killOne();
    await fleet.deploy();
    await fleet.compactWhileOneIsCut();
    await fleet.restartStore();
  }
  await fleet.outage(options.outageMs);
  await fleet.deploy();
  await sleep(CALM_MS);
  // Awaited here: the processes are killed when this function ends.
  return await fleet.end(launchedAt);
}

class Fleet implements AsyncDisposable {
  readonly #options: FleetOptions;
  readonly #chronicle: Chronicle = { lives: new Map(), observers: [], picks: 0, losses: [], longestStallMs: 0 };
  readonly #outages: Span[] = [];
  /** The one at the front is the next one to suffer. */
  readonly #members: FleetMember[] = [];
  #started = 0;
  readonly #endMeter: () => void;

  constructor(options: FleetOptions) {
    this.#options = options;
    const chronicle = this.#chronicle;
    this.#endMeter = onStall((ms) => {
      chronicle.longestStallMs = Math.max(chronicle.longestStallMs, ms);
    });
  }

  async launch(): Promise<void> {
    const { services, instancesPerService, processes } = this.#options;
    this.#log(`launch ${services * instancesPerService} instances in ${processes} processes`);
    const shares = Array.from({ length: processes }, (): Record<string, number> => ({}));
    for (let service = 0; service < services; service++) {
      for (let instance = 0; instance < instancesPerService; instance++) {
        // Not all services have their first instances in the same process.
        const share = shares[(service + instance) % processes] as Record<string, number>;
        for (const other of shares) other[`s${service}`] ??= 0;
        share[`s${service}`] = (share[`s${service}`] ?? 0) + 1;
      }
    }
    // One after the other: a machine that starts all at once is busy for longer than a lease.
    for (const share of shares) await this.#start(share);
  }

  /** A rolling deploy: process after process, every service at once. */
  async deploy(): Promise<void> {
    this.#log('deploy');
    for (const member of this.#members) await member.deploy();
  }

  /** SIGKILL for a process; another one takes its place. */
  async killOne(): Promise<void> {
    this.#log('kill a process');
    await this.#start(await this.#killNext());
  }

  /** What a discovery misses while it is cut off is compacted away: it has to list again. */
  async compactWhileOneIsCut(): Promise<void> {
    this.#log('compact, while one process is cut off');
    const cut = this.#members.shift();
    if (cut === undefined) throw new Error('nobody is left');
    const [other] = this.#members;
    // To the back: what is wrong with it afterwards is to be seen before it is killed.
    this.#members.push(cut);
    await cut.cutDuring(async () => {
      await other?.deploy();
      await using etcd = new Etcd({ endpoints: this.#options.cluster.endpoints });
      await etcd.compact(await etcd.revision());
    });
    await sleep(PAUSE_MS);
  }

  async restartStore(): Promise<void> {
    this.#log('restart the store');
    await this.#away(async () => {});
    await sleep(PAUSE_MS);
  }

  /** While the store is away a process is killed, and another begins a deploy, which ends when the store is back. */
  async outage(ms: number): Promise<void> {
    this.#log(`an outage of ${ms / 1_000} s`);
    let share: Readonly<Record<string, number>> = {};
    let deploying: Promise<void> = Promise.resolve();
    await this.#away(async () => {
      await sleep(ms / 2);
      share = await this.#killNext();
      deploying = this.#members[0]?.deploy() ?? deploying;
      deploying.catch(() => {}); // told below
      await sleep(ms / 2);
    });
    await deploying;
    await this.#start(share);
  }

  /** Ends the history, and judges it. */
  async end(launchedAt: number): Promise<FleetReport> {
    this.#log('the end');
    await Promise.all(this.#members.map((member) => member.freeze()));
    const { lives, observers, picks } = this.#chronicle;
    const history = { lives, observers, outages: this.#outages };
    const ends = [...lives.values()].map(({ how }) => how);
    return {
      verdict: judge(history, ALLOWANCES),
      latencies: latencies(history, launchedAt),
      picks,
      instances: {
        registered: ends.length,
        drained: ends.filter((how) => how === 'drained').length,
        killed: ends.filter((how) => how === 'killed').length,
      },
      outages: this.#outages.length,
      cuts: observers.reduce((sum, { cuts }) => sum + cuts.length, 0),
      allowances: ALLOWANCES,
      lossesInCalm: this.#lossesInCalm(),
      longestStallMs: this.#chronicle.longestStallMs,
    };
  }

  #lossesInCalm(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { at, why } of this.#chronicle.losses) {
      if (this.#outages.some(({ from, until }) => at >= from && at <= until + PAUSE_MS)) continue;
      // Without the lease's id.
      const reason = why.replace(/[0-9a-f]{8,}/g, '…');
      counts[reason] = (counts[reason] ?? 0) + 1;
    }
    return counts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#endMeter();
    await Promise.all(this.#members.map((member) => member.kill()));
  }

  async #start(services: Readonly<Record<string, number>>): Promise<void> {
    const { prefix, pickEveryMs, cluster } = this.#options;
    const store = cluster.members[0]?.address;
    if (store === undefined) throw new Error('a cluster without members');
    const label = `p${this.#started++}`;
    const plan = { label, store, prefix, services, ttlSeconds: TTL_SECONDS, drainMs: DRAIN_MS, pickEveryMs };
    this.#members.push(await FleetMember.start(plan, this.#chronicle));
  }

  async #killNext(): Promise<Readonly<Record<string, number>>> {
    const member = this.#members.shift();
    if (member === undefined) throw new Error('nobody is left');
    await member.kill();
    return member.services;
  }

  async #away(meanwhile: () => Promise<void>): Promise<void> {
    const [store] = this.#options.cluster.members;
    const from = machineMs();
    await store?.kill();
    await meanwhile();
    await store?.restart();
    this.#outages.push({ from, until: machineMs() });
  }

  #log(line: string): void {
    this.#options.log?.(line);
  }
}

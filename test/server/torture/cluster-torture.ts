/**
 * Hurts a cluster of processes while clients use it, and has all that they were told checked.
 *
 * It goes in rounds. In each one clients write, read, hold leases and watch, at whichever member, while members are
 * killed, stopped, cut off, replaced (`cluster-faults.ts`). Then everything is healed, leases run out, watchers get what
 * they lack, and the checkers of `test/checkers` look at what was said: every answer and every revision (`checkHistory`),
 * every watcher (`checkWatchers`), every lease (`checkLeases`). All members have the same hash of all keys, and a watch
 * of the package's own client, which lives through all rounds, has had all changes.
 *
 * What is asked for and what is done to members comes from the seed; when, depends on the machine.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { EtcdVersion } from '../../../scripts/etcd.ts';
import { Lease } from '../../../src/protocol/generated/etcdserverpb.ts';
import { covers, type Finding, type LogEntry, Recorder } from '../../checkers/history.ts';
import { checkLeases, type Reign } from '../../checkers/lease-checker.ts';
import { checkHistory, clientRevisions } from '../../checkers/linearizability.ts';
import { LEASE } from '../../checkers/support/random-request.ts';
import type { Start } from '../../checkers/versions.ts';
import { checkWatchers } from '../../checkers/watch-checker.ts';
import { ask, logFrom } from '../../checkers/wire.ts';
import { Sfc32 } from '../../simulation/world/random.ts';
import { ClusterWatcher, ClusterWriter, LeaseHolder } from './cluster-clients.ts';
import { Faults } from './cluster-faults.ts';
import { ELECTION_MS, TorturedCluster } from './cluster-seats.ts';
import { Follower } from './follower.ts';
import { TortureFailure } from './ledger.ts';
import { addChange } from './store-model.ts';

const WRITERS = 6;
const HOLDERS = 4;
const EVERYTHING = { key: '\0', end: '\0' };
/** For members to agree, and watchers to get what they lack, once everything is healed. */
const SETTLE_MS = 60_000;
/** From a lease's end to the time at which it must be seen: a machine may be busy. */
const LEASE_SLACK_MS = 3_000;
const LEASE_QUIET_MS = 3_000 + ELECTION_MS + LEASE_SLACK_MS + 500;
const IN_FLIGHT_MS = 10_000;
/** A round has a fault for each of so many ms, however busy the machine is. */
const FAULT_EVERY_MS = 10_000;
const SHOWN_FINDINGS = 5;
/** Longer than any run. */
const TTL_SECONDS = 1_000_000n;

/** How to torture. */
export interface ClusterTortureOptions {
  /** Who sits there. Default: three of the bundled server. */
  readonly versions?: readonly EtcdVersion[] | undefined;
  readonly seed: number;
  /** For how long faults happen in a round, in ms. */
  readonly roundMs: number;
  /** Begins no other round after so many ms. Default: 0, one round. */
  readonly totalMs?: number | undefined;
  /** Hears of each fault and each round. */
  readonly tell?: ((line: string) => void) | undefined;
}

/** What happened. */
export interface ClusterTortureReport {
  readonly seed: number;
  readonly rounds: number;
  readonly answered: number;
  readonly unknown: number;
  readonly failed: number;
  readonly revision: number;
  readonly leases: number;
  readonly watchSteps: number;
  readonly term: number;
  readonly faults: Readonly<Record<string, number>>;
}

/** Does what the head of this file says. @throws TortureFailure naming seed and round, with what was found. */
export async function tortureCluster(options: ClusterTortureOptions): Promise<ClusterTortureReport> {
  const { versions = ['bundled', 'bundled', 'bundled'], seed } = options;
  await using cluster = await TorturedCluster.found(versions);
  await using follower = new Follower(cluster.endpoints);
  const rounds = new Rounds(options, cluster, follower);
  try {
    return await rounds.run();
  } catch (error) {
    const logs = cluster.seats.map(({ name, member }) => `--- ${name}\n${member.log.slice(-4_000)}`).join('\n');
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new TortureFailure(`seed ${seed}, round ${rounds.round}: ${text}\n${logs}`, { cause: error });
  }
}

class Rounds {
  round = 0;
  readonly #options: ClusterTortureOptions;
  readonly #cluster: TorturedCluster;
  readonly #follower: Follower;
  readonly #random: Sfc32;
  readonly #faults: Faults;
  #digest = 0;
  #report = { answered: 0, unknown: 0, failed: 0, revision: 0, leases: 0, watchSteps: 0, term: 0 };

  constructor(options: ClusterTortureOptions, cluster: TorturedCluster, follower: Follower) {
    this.#options = options;
    this.#cluster = cluster;
    this.#follower = follower;
    this.#random = new Sfc32(options.seed);
    this.#faults = new Faults(cluster, this.#random.fork('faults'), (line) => options.tell?.(line));
  }

  async run(): Promise<ClusterTortureReport> {
    const { seed, totalMs = 0, tell } = this.#options;
    await this.#cluster.patiently((client) => client.unary(Lease.leaseGrant, { ID: LEASE, TTL: TTL_SECONDS }));
    const until = performance.now() + totalMs;
    do {
      this.round += 1;
      await this.#round(this.#random.fork(`round ${this.round}`));
      tell?.(`round ${this.round}: ${JSON.stringify(this.#report)}`);
    } while (performance.now() < until);
    return { seed, rounds: this.round, ...this.#report, faults: this.#faults.counts };
  }

  async #round(random: ReturnType<Sfc32['fork']>): Promise<void> {
    const start = await this.#state();
    const recorder = new Recorder();
    const stop = new AbortController();
    const field = { seats: this.#cluster.seats, recorder, stop: stop.signal };
    const writers = Array.from({ length: WRITERS }, (_, i) => new ClusterWriter(field, `w${i}`, random.fork(`w${i}`)));
    const holders = Array.from({ length: HOLDERS }, (_, i) => {
      const firstId = BigInt(this.round * 1_000_000 + (i + 1) * 10_000);
      return new LeaseHolder(field, `h${i}`, random.fork(`h${i}`), firstId);
    });
    const ranges = [EVERYTHING, EVERYTHING, { key: 'a' }, { key: 'b', end: 'd' }, { key: 'lease/', end: 'lease0' }];
    const watchers = ranges.map(
      (range, i) => new ClusterWatcher(field, `v${i}`, random.fork(`v${i}`), range, start.revision + 1),
    );
    const failures: unknown[] = [];
    const caught = (work: Promise<void>): Promise<void> => work.catch((error) => void failures.push(error));
    const working = [...writers, ...holders].map((client) => caught(client.run()));
    const watching = watchers.map((watcher) => caught(watcher.run()));
    const truth = await this.#hurt(watchers, start, async () => {
      stop.abort();
      await Promise.all(working);
    }).finally(() => {
      stop.abort();
      for (const watcher of watchers) watcher.end();
    });
    await Promise.all([...working, ...watching]);
    if (failures.length > 0) throw failures[0];
    await this.#check(recorder, holders, watchers, truth);
  }

  async #hurt(watchers: readonly ClusterWatcher[], start: Start, stop: () => Promise<void>): Promise<Truth> {
    const { roundMs } = this.#options;
    await this.#faults.run(roundMs, roundMs / FAULT_EVERY_MS);
    await this.#cluster.recover();
    await stop();
    return this.#settle(watchers, start);
  }

  /** Waits until leases have run out, watchers have everything, and all members have the same. */
  async #settle(watchers: readonly ClusterWatcher[], start: Start): Promise<Truth> {
    const [fromMs, term] = [performance.now(), await this.#term()];
    await sleep(LEASE_QUIET_MS);
    const endMs = performance.now();
    this.#report.term = (await this.#term()) ?? this.#report.term;
    const { revision } = await this.#state();
    const [first] = watchers as [ClusterWatcher];
    await first.reach(revision, SETTLE_MS);
    const log = logFrom(first.events);
    const complete = new Map<ClusterWatcher, number>();
    for (const watcher of watchers) {
      const last = log.findLast(({ events }) => events.some(({ kv }) => covers(watcher.range, kv.key)))?.revision ?? 0;
      complete.set(watcher, last);
      await watcher.reach(last, SETTLE_MS);
    }
    await this.#cluster.agree(revision, SETTLE_MS);
    // Who leads now has led all along only if nobody was elected meanwhile.
    const reigns = term !== undefined && term === this.#report.term ? [{ fromMs, toMs: endMs }] : [];
    return { start, log, reigns, revision, complete, endMs };
  }

  async #check(
    { operations }: Recorder,
    holders: readonly LeaseHolder[],
    watchers: readonly ClusterWatcher[],
    { start, log, reigns, revision, complete, endMs }: Truth,
  ): Promise<void> {
    const last = log.at(-1)?.revision ?? start.revision;
    if (last !== revision)
      throw new TortureFailure(`a watch over everything ends at ${last}, the store at ${revision}`);
    const report = checkHistory({ operations, log, start, canExpire: (lease) => lease !== LEASE });
    expectNone(report.findings);
    const histories = watchers.map((watcher) => ({ ...watcher.history, completeTo: complete.get(watcher) ?? 0 }));
    expectNone(checkWatchers({ log, start }, histories));
    const limits = { electionTimeoutMs: ELECTION_MS, slackMs: LEASE_SLACK_MS, inFlightMs: IN_FLIGHT_MS };
    const leases = holders.flatMap((holder) => holder.leases);
    const seenAtMs = (at: number): number =>
      Math.min(...watchers.map((watcher) => watcher.seenAtMs.get(at) ?? Infinity), endMs);
    const clients = clientRevisions(report);
    const seen = { ...limits, sightMs: SETTLE_MS };
    expectNone(checkLeases({ log, start, seenAtMs, clientRevisions: clients, reigns, endMs, limits: seen }, leases));
    for (const { events } of log)
      for (const { type, kv } of events)
        this.#digest = addChange(this.#digest, { key: kv.key, mod: kv.modRevision, deleted: type === 'delete' });
    await this.#follower.reach(revision);
    if (this.#follower.digest !== this.#digest) throw new TortureFailure("the client's own watch got other changes");
    const { crashes } = this.#cluster;
    if (crashes.length > 0) throw new TortureFailure(crashes.join('\n'));
    this.#count(operations, leases.length, watchers, revision);
  }

  #count(
    operations: Recorder['operations'],
    leases: number,
    watchers: readonly ClusterWatcher[],
    revision: number,
  ): void {
    const report = this.#report;
    for (const { status } of operations) report[status === 'ok' ? 'answered' : status] += 1;
    report.leases += leases;
    report.watchSteps += watchers.reduce((sum, { steps }) => sum + steps.length, 0);
    report.revision = revision;
  }

  /** Everything that is there, by a read that a quorum stands for. */
  async #state(): Promise<Start> {
    const { revision, result } = await this.#cluster.patiently((client) =>
      ask({ kind: 'range', ...EVERYTHING }, (method, message) => client.unary(method, message)),
    );
    return { revision, kvs: result.kind === 'range' ? result.kvs : [] };
  }

  /** The term, as all members have it; undefined while they differ. */
  async #term(): Promise<number | undefined> {
    const all = await Promise.all(this.#cluster.seats.map(({ member }) => member.status().catch(() => undefined)));
    const terms = new Set(all.map((status) => status?.raftTerm));
    return terms.size === 1 ? all[0]?.raftTerm : undefined;
  }
}

/** What a round has come to. */
interface Truth {
  readonly start: Start;
  readonly log: readonly LogEntry[];
  readonly reigns: readonly Reign[];
  readonly revision: number;
  /** Of each watcher the last revision that it has to have. */
  readonly complete: ReadonlyMap<ClusterWatcher, number>;
  readonly endMs: number;
}

function expectNone(findings: readonly Finding[]): void {
  if (findings.length === 0) return;
  const shown = findings.slice(0, SHOWN_FINDINGS).map(({ rule, message }) => `${rule}: ${message}`);
  throw new TortureFailure(`${findings.length} findings:\n${shown.join('\n')}`);
}

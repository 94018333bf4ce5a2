/**
 * The client and the recipes on three members, each of which is killed, stopped, cut off, restarted, removed and replaced
 * while they work, again and again.
 *
 * One fault at a time, so there is a quorum: nothing that users do may fail for good, and nothing that they were told may
 * turn out wrong (`recipes/`, a file for each kind of work). A watch that has lived through all of it has the same history
 * as one that reads it afterwards. When all is healed every kind of work goes on within its time, and comes to an end.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChangeEvent, Etcd, Revision } from '../../../src/index.ts';
import { Sfc32 } from '../../simulation/world/random.ts';
import { type FaultName, Faults } from './cluster-faults.ts';
import { TorturedCluster } from './cluster-seats.ts';
import { TortureFailure } from './ledger.ts';
import { allWorks, brokenPromises } from './recipes/all.ts';
import { clientOf, type Field, KEYS, type Work } from './recipes/work.ts';

/** Each leaves two of three. */
const CHURN: readonly FaultName[] = ['kill', 'stop', 'isolate', 'replace', 'torn tail', 'move leader', 'deaf', 'reset'];
/** Clients that ping often are let. */
const FLAGS = ['--snapshot-count=100', '--experimental-snapshot-catchup-entries=20', '--grpc-keepalive-min-time=50ms'];
/** For users to go on once all is healed, and to come to an end. */
const SETTLE_MS = 120_000;
const POLL_MS = 50;
/** Users of one kind of work are in different ones. */
const PROGRAMS = 7;

export interface RecipeTortureOptions {
  readonly seed: number;
  /** For how long members are hurt, in ms; every fault comes once at least. */
  readonly ms: number;
  /** Hears of each fault. */
  readonly tell?: ((line: string) => void) | undefined;
}

export interface RecipeTortureReport {
  readonly seed: number;
  /** How much of each kind of work was done. */
  readonly done: Readonly<Record<string, number>>;
  readonly revision: number;
  readonly events: number;
  readonly faults: Readonly<Record<string, number>>;
}

/** Does what the head of this file says. @throws TortureFailure naming the seed, with what was broken. */
export async function tortureRecipes({
  seed,
  ms,
  tell = () => {},
}: RecipeTortureOptions): Promise<RecipeTortureReport> {
  await using cluster = await TorturedCluster.found(['bundled', 'bundled', 'bundled'], FLAGS);
  const faults = new Faults(cluster, new Sfc32(seed).fork('faults'), tell);
  const { endpoints } = cluster;
  await using etcd = clientOf({ endpoints });
  const from = await etcd.revision();
  const [stop, drained, watched] = [new AbortController(), new AbortController(), new AbortController()];
  const works = allWorks();
  await using programs = new Programs(endpoints);
  const nextClient = (): Etcd => programs.next();
  const field: Field = { endpoints, nextClient, stop: stop.signal, drained: drained.signal };
  const live: ChangeEvent[] = [];
  const watching = watch(etcd, from, live, watched.signal);
  const users = works.map((work) => Promise.all(work.users(field)));
  const followers = works.map((work) => Promise.all(work.followers(field)));
  const all = [...users, ...followers, watching];
  const failed = Promise.all(all).then(() => {});
  failed.catch(() => {});
  const unlessFailed = (running: Promise<void>): Promise<void> => Promise.race([running, failed]);
  try {
    await unlessFailed(faults.runInTurn(CHURN, ms));
    await cluster.recover();
    await unlessFailed(goesOn(works));
    stop.abort();
    await ended(works, users);
    for (const work of works) await unlessFailed(until(() => work.unsettled(etcd)));
    drained.abort();
    await ended(works, followers);
    const events = await historyOf(etcd, from);
    await until(() => (live.length < events.length ? 'the watch that saw it all has not got everything' : undefined));
    watched.abort();
    await watching;
    const broken = [...brokenPromises(works, events), ...differences(live, events), ...cluster.crashes];
    if (broken.length > 0) throw new TortureFailure(`${broken.length} promises broken:\n${broken.join('\n')}`);
    return {
      seed,
      done: doneOf(works),
      revision: Number(await etcd.revision()),
      events: events.length,
      faults: faults.counts,
    };
  } catch (error) {
    const logs = cluster.seats.map(({ name, member }) => `--- ${name}\n${member.log.slice(-2_000)}`).join('\n');
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new TortureFailure(`seed ${seed}: ${text}\n${JSON.stringify(doneOf(works))}\n${logs}`, { cause: error });
  } finally {
    stop.abort();
    drained.abort();
    watched.abort();
    await Promise.race([Promise.allSettled(all), sleep(SETTLE_MS, undefined, { ref: false })]);
  }
}

/** Clients, each of which has some of the users. */
class Programs implements AsyncDisposable {
  readonly #clients: readonly Etcd[];
  #given = 0;

  constructor(endpoints: readonly string[]) {
    this.#clients = Array.from({ length: PROGRAMS }, () => clientOf({ endpoints }));
  }

  next(): Etcd {
    this.#given += 1;
    return this.#clients[this.#given % PROGRAMS] as Etcd;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
  }
}

async function watch(etcd: Etcd, from: Revision, events: ChangeEvent[], signal: AbortSignal): Promise<void> {
  try {
    for await (const batch of etcd.watch({ prefix: KEYS }, { from, signal }).batches()) events.push(...batch.events);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** All changes from a revision to now, as a watch that begins afterwards has them. */
async function historyOf(etcd: Etcd, from: Revision): Promise<ChangeEvent[]> {
  const { revision } = await etcd.put(`${KEYS}end`, '');
  const events: ChangeEvent[] = [];
  for await (const batch of etcd.watch({ prefix: KEYS }, { from }).batches()) {
    events.push(...batch.events);
    if (batch.revision >= revision) break;
  }
  return events;
}

function differences(live: readonly ChangeEvent[], events: readonly ChangeEvent[]): string[] {
  const line = ({ type, kv, revision }: ChangeEvent): string => `${revision} ${type} ${kv.key}`;
  const at = events.findIndex((event, i) => live[i] === undefined || line(event) !== line(live[i]));
  if (at < 0 && live.length === events.length) return [];
  const [was, is] = [live[at], events[at]];
  return [`the watch that saw it all has ${was && line(was)} where the history has ${is && line(is)}`];
}

function doneOf(works: readonly Work[]): Record<string, number> {
  return Object.fromEntries(works.map(({ name, done }) => [name.slice(KEYS.length), done]));
}

/** Every kind of work goes on. */
async function goesOn(works: readonly Work[]): Promise<void> {
  const before = new Map(works.map((work) => [work, work.done]));
  await until(() => {
    const waiting = works.filter((work) => work.done <= (before.get(work) ?? 0) + 2);
    return waiting.length === 0 ? undefined : `no more is done of ${waiting.map(({ name }) => name)}`;
  });
}

/** Those who were told to stop have. @throws what one of them threw. */
async function ended(works: readonly Work[], running: readonly Promise<unknown>[]): Promise<void> {
  const left = new Set(works.map(({ name }) => name));
  const all = Promise.all(running.map((each, i) => each.then(() => left.delete(works[i]?.name ?? ''))));
  await Promise.race([all, until(() => (left.size === 0 ? undefined : `not over: ${[...left]}`))]);
}

/** Waits until there is nothing amiss. @param amiss Says what still is. */
async function until(amiss: () => string | undefined | Promise<string | undefined>): Promise<void> {
  const deadline = performance.now() + SETTLE_MS;
  for (;;) {
    const failure = await amiss();
    if (failure === undefined) return;
    if (performance.now() > deadline) throw new TortureFailure(failure);
    await sleep(POLL_MS);
  }
}

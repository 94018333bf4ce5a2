/**
 * The client and the recipes on three members, each of which is killed, stopped, cut off, restarted, removed and replaced
 * while they work, again and again.
 *
 * One fault at a time, so there is a quorum: nothing that users do may fail for good, and nothing that they were told may
 * turn out wrong (`recipe-promises.ts`). A watch that has lived through all of it has the same history as one that reads
 * it afterwards. When all is healed every kind of work goes on within its time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChangeEvent, Etcd, Revision } from '../../../src/index.ts';
import { Sfc32 } from '../../simulation/world/random.ts';
import { type FaultName, Faults } from './cluster-faults.ts';
import { TorturedCluster } from './cluster-seats.ts';
import { TortureFailure } from './ledger.ts';
import { brokenPromises } from './recipe-promises.ts';
import { clientOf, type Field, KEYS, QUEUE, Told, useAll, WORK } from './recipe-users.ts';

/** Each leaves two of three. */
const CHURN: readonly FaultName[] = ['kill', 'stop', 'isolate', 'replace', 'torn tail', 'move leader', 'deaf', 'reset'];
/** Clients that ping often are let. */
const FLAGS = ['--snapshot-count=100', '--experimental-snapshot-catchup-entries=20', '--grpc-keepalive-min-time=50ms'];
/** For users to go on once all is healed. */
const SETTLE_MS = 60_000;
const POLL_MS = 50;

export interface RecipeTortureOptions {
  readonly seed: number;
  /** For how long members are hurt, in ms; every fault comes once at least. */
  readonly ms: number;
  /** Hears of each fault. */
  readonly tell?: ((line: string) => void) | undefined;
}

export interface RecipeTortureReport {
  readonly seed: number;
  readonly done: Told['done'];
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
  const told = new Told();
  const field: Field = { endpoints, told, stop: stop.signal, drained: drained.signal };
  const live: ChangeEvent[] = [];
  const watching = watch(etcd, from, live, watched.signal);
  const working = useAll(field);
  const failed = Promise.all([working, watching]).then(() => {});
  try {
    await Promise.race([faults.runInTurn(CHURN, ms), failed]);
    await cluster.recover();
    await goesOn(told);
    stop.abort();
    await emptied(etcd);
    drained.abort();
    await working;
    const events = await historyOf(etcd, from);
    await until(() => live.length >= events.length, 'the watch that saw it all has not got everything');
    watched.abort();
    await watching;
    const broken = [...brokenPromises(told, events), ...differences(live, events), ...cluster.crashes];
    if (broken.length > 0) throw new TortureFailure(`${broken.length} promises broken:\n${broken.join('\n')}`);
    return {
      seed,
      done: told.done,
      revision: Number(await etcd.revision()),
      events: events.length,
      faults: faults.counts,
    };
  } catch (error) {
    const logs = cluster.seats.map(({ name, member }) => `--- ${name}\n${member.log.slice(-2_000)}`).join('\n');
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new TortureFailure(`seed ${seed}: ${text}\n${JSON.stringify(told.done)}\n${logs}`, { cause: error });
  } finally {
    stop.abort();
    drained.abort();
    watched.abort();
    await failed.catch(() => {});
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

/** Every kind of work goes on. */
async function goesOn(told: Told): Promise<void> {
  const before = { ...told.done };
  await until(
    () => WORK.every((work) => told.done[work] > before[work] + 2),
    () => `not everything goes on: ${JSON.stringify([before, told.done])}`,
  );
}

async function emptied(etcd: Etcd): Promise<void> {
  const isItem = ({ key }: { readonly key: string }): boolean => key.includes('/items/');
  const empty = async (): Promise<boolean> =>
    !(await etcd.range({ prefix: `${QUEUE}/` }, { keysOnly: true })).kvs.some(isItem);
  await until(empty, 'the queue does not become empty');
}

async function until(holds: () => boolean | Promise<boolean>, failure: string | (() => string)): Promise<void> {
  const deadline = performance.now() + SETTLE_MS;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new TortureFailure(typeof failure === 'string' ? failure : failure());
    await sleep(POLL_MS);
  }
}

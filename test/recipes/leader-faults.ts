/**
 * What tests on three members share: leaders that are stopped and killed while something works, and the store's own word
 * on what was done meanwhile.
 *
 * A strike is over when the cluster is whole again. It demands that work goes on at three moments: before it, while the
 * leader is away, and afterwards; so a strike that hits nothing fails, and so does work that waits for the leader to
 * come back. For that the members must let clients ping often ({@link THREE_MEMBERS}) and the clients must do so
 * ({@link QUICK}): with the defaults it takes up to 13 seconds until a connection counts as dead that says nothing.
 *
 * A test that fails must not spoil those after it, which have the same cluster: strikes end with their test, whole
 * cluster and all, and so do the clients that are made for it with {@link endWithTest}.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, type TestContext } from 'vitest';
import { mayPass } from '../../recipes/contender.ts';
import { type ChangeEvent, Etcd, EtcdError, type EtcdOptions, type Revision } from '../../src/index.ts';
import type { EtcdCluster } from '../support/etcd-cluster.ts';
import type { EtcdMember } from '../support/etcd-member.ts';
import type { EtcdSuiteOptions } from '../support/fixtures.ts';
import { until } from './lock-bed.ts';

/** For `describeOnEtcd`. */
export const THREE_MEMBERS: EtcdSuiteOptions = {
  members: 3,
  flags: ['--grpc-keepalive-min-time=50ms'],
  atOnce: true,
};

/** For clients that are to notice soon that a member does not answer; but not that a busy machine is slow. */
export const QUICK: EtcdOptions = {
  timeoutMs: 2_500,
  connectTimeoutMs: 2_000,
  keepalive: { minTimeMs: 100, timeMs: 300, timeoutMs: 1_000 },
};

/** How a leader goes: SIGSTOP, until another leads, then SIGCONT; or SIGKILL, until another leads, then a restart. */
export type Strike = 'stop' | 'kill';

/** The test that something belongs to: its context. There may be others that run at the same time. */
export type RunningTest = Pick<TestContext, 'onTestFinished'>;

/** Has something closed when the test ends, should that not get so far itself. Closing twice must do no harm. */
export function endWithTest<T extends AsyncDisposable>(test: RunningTest, thing: T): T {
  test.onTestFinished(() => thing[Symbol.asyncDispose]());
  return thing;
}

/** Stops a member (SIGSTOP) until it is told to go on; at the latest when the test ends. */
export function pauseInTest(test: RunningTest, member: EtcdMember): void {
  test.onTestFinished(() => member.resume());
  member.pause();
}

/** Strikes whoever leads, in these ways one after another. `progress` says how much has been done so far. */
export async function strikeLeaders(
  test: RunningTest,
  cluster: EtcdCluster,
  strikes: readonly Strike[],
  progress: () => number,
): Promise<void> {
  const over = new AbortController();
  const striking = strikeInTurn(cluster, strikes, progress, over.signal);
  test.onTestFinished(async () => {
    over.abort(new Error('the test was over before the strikes were'));
    await striking.catch(() => {});
  });
  await striking;
}

async function strikeInTurn(
  cluster: EtcdCluster,
  strikes: readonly Strike[],
  progress: () => number,
  over: AbortSignal,
): Promise<void> {
  const moved = async (): Promise<void> => {
    const before = progress();
    await until(() => progress() > before + 2, over);
  };
  for (const strike of strikes) {
    await moved();
    const leader = await cluster.leader();
    if (strike === 'stop') leader.pause();
    else await leader.kill();
    try {
      // Not that of a process which the signal has not reached yet.
      await until(async () => (await cluster.leader()).name !== leader.name, over);
      await moved();
    } finally {
      if (strike === 'stop') leader.resume();
      else await leader.restart();
      await cluster.waitHealthy();
    }
  }
  await moved();
}

/** Does something again and again while the answer is that nothing was done, and that this may pass. */
export async function insist<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof EtcdError && error.applied === 'no' && mayPass(error))) throw error;
      await sleep(20);
    }
  }
}

/**
 * Leaves the leader without a quorum (SIGSTOP of both others) until a write to it has failed: for its clients it is the
 * minority side of a partition, which still answers. Then heals.
 */
export async function strandLeader(cluster: EtcdCluster): Promise<void> {
  const leader = await cluster.leader();
  const others = cluster.members.filter((member) => member !== leader);
  for (const other of others) other.pause();
  try {
    await using etcd = new Etcd({ endpoints: [leader.clientUrl], timeoutMs: 2_000 });
    const write = (): Promise<unknown> => etcd.put('written-without-a-quorum', '');
    // A process that is told to stop may do a little more.
    await until(() =>
      write().then(
        () => false,
        () => true,
      ),
    );
  } finally {
    for (const other of others) other.resume();
  }
  await cluster.waitHealthy();
}

/** All changes below a prefix from a revision to now, in the order of the store. */
export async function historyOf(etcd: Etcd, prefix: string, from: Revision): Promise<ChangeEvent[]> {
  const end = `${prefix}~end of the history`;
  const { revision } = await etcd.put(end, '');
  const events: ChangeEvent[] = [];
  for await (const batch of etcd.watch({ prefix }, { from }).batches()) {
    for (const event of batch.events) if (event.kv.key !== end) events.push(event);
    if (batch.revision >= revision) break;
  }
  await etcd.delete(end);
  expect(events.every((event, index) => index === 0 || event.revision >= events[index - 1]!.revision)).toBe(true);
  return events;
}

/**
 * Reads the history of keys of which only one may be there at a time for each thing, such as claims. Fails when there
 * were two at one revision, or when a token did not grow. Returns how many keys there were for each thing.
 */
export function expectOneAtATime(
  events: readonly ChangeEvent[],
  thingOf: (key: string) => string | undefined,
): Map<string, number> {
  const holder = new Map<string, string>();
  const last = new Map<string, Revision>();
  const counts = new Map<string, number>();
  for (const event of events) {
    const { key } = event.kv;
    const thing = thingOf(key);
    if (thing === undefined) continue;
    if (event.type === 'delete' && holder.get(thing) === key) holder.delete(thing);
    if (event.type !== 'put' || !event.isCreate) continue;
    expect([thing, holder.get(thing)]).toEqual([thing, undefined]);
    expect(event.revision).toBeGreaterThan(last.get(thing) ?? 0n);
    holder.set(thing, key);
    last.set(thing, event.revision);
    counts.set(thing, (counts.get(thing) ?? 0) + 1);
  }
  return counts;
}

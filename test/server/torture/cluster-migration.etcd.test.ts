/**
 * A running cluster of this server becomes one of etcd's, member by member, and comes back, while clients use it: no
 * update is lost, the watch has every revision, the lease is kept.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Counter, Session } from '../../../recipes/index.ts';
import type { EtcdVersion } from '../../../scripts/etcd.ts';
import { Etcd, EtcdError, type Revision } from '../../../src/index.ts';
import { Maintenance } from '../../../src/protocol/generated/etcdserverpb.ts';
import { TorturedCluster } from './cluster-seats.ts';

const PLACES = 4;
const WRITERS = 3;
const LEASE_TTL_SECONDS = 20;
const SETTLE_MS = 60_000;
/** Work between two moves. */
const LEAST_WRITES = 20;

/** Appends to a key of its own, each time what it has read and one more. */
class Appender {
  readonly key: string;
  /** Numbers whose append was acknowledged. */
  readonly done: number[] = [];
  /** Numbers whose append may have been done. */
  readonly unknown: number[] = [];

  constructor(key: string) {
    this.key = key;
  }

  async run(etcd: Etcd, stop: AbortSignal): Promise<void> {
    for (let next = 1; !stop.aborted; next++) {
      try {
        const last = await etcd.get(this.key);
        const value = `${last?.value ?? ''}${next},`;
        const { succeeded } = await etcd.txn({
          if: [etcd.key(this.key).modRevision.equals(last?.modRevision ?? 0n)],
          then: [etcd.op.put(this.key, value)],
        });
        // The append before, whose answer was lost, has come in between.
        if (succeeded) this.done.push(next);
      } catch (error) {
        if (!(error instanceof EtcdError)) throw error;
        if (error.applied === 'maybe') this.unknown.push(next);
      }
      await sleep(5);
    }
  }

  /** Everything that was acknowledged is there, in its order, and nothing that nobody asked for. */
  check(value: string): void {
    const numbers = value.split(',').slice(0, -1).map(Number);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    const there = new Set(numbers);
    expect(this.done.filter((one) => !there.has(one))).toEqual([]);
    const known = new Set([...this.done, ...this.unknown]);
    expect(numbers.filter((one) => !known.has(one))).toEqual([]);
  }
}

/** Takes every revision from the second on. @returns How far it has come. */
async function follow(etcd: Etcd, signal: AbortSignal, reached: { revision: number }): Promise<void> {
  for await (const { events } of etcd.watch({ prefix: '' }, { from: 2n as Revision, signal }).batches())
    for (const { kv } of events) {
      const revision = Number(kv.modRevision);
      if (revision !== reached.revision && revision !== reached.revision + 1)
        throw new Error(`the watch went from revision ${reached.revision} to ${revision}`);
      reached.revision = revision;
    }
}

/** Moves seats 0 to 2: the first by way of the fourth place, the others where they are. */
async function migrate(cluster: TorturedCluster, to: EtcdVersion, between: () => Promise<void>): Promise<void> {
  const spare = cluster.seats.find(({ member }) => !member.running)!;
  const old = cluster.seats.filter((seat) => seat !== spare);
  // One more first, then one less.
  await cluster.add(spare, to, true);
  await between();
  await cluster.remove(old[0]!);
  await between();
  // One less first, then one more: as a voter at once, and as a learner.
  for (const [at, seat] of old.slice(1).entries()) {
    await cluster.remove(seat);
    await between();
    await cluster.add(seat, to, at === 1);
    await between();
  }
}

async function expectSame(cluster: TorturedCluster): Promise<void> {
  const running = cluster.seats.filter(({ member }) => member.running);
  const hashes = (): Promise<string[]> =>
    Promise.all(
      running.map(async (seat) => {
        const answer = await cluster.patiently((client) => client.unary(Maintenance.hashKV, {}), [seat]);
        return `${answer.header?.revision} ${answer.hash}`;
      }),
    );
  await expect.poll(async () => new Set(await hashes()).size, { timeout: SETTLE_MS }).toBe(1);
}

describe('a running cluster', () => {
  it('moves from this server to etcd 3.5 and back, and its clients lose nothing', { timeout: 600_000 }, async () => {
    await using cluster = await TorturedCluster.found(['bundled', 'bundled', 'bundled'], undefined, PLACES);
    await using etcd = new Etcd({ endpoints: cluster.seats.map(({ clientUrl }) => clientUrl), timeoutMs: 10_000 });
    await using session = await Session.open(etcd, { ttlSeconds: LEASE_TTL_SECONDS });
    await etcd.put('held', 'by the session', { lease: session.id });
    const created = (await etcd.get('held'))?.createRevision;
    const stop = new AbortController();
    const watching = new AbortController();
    const reached = { revision: 1 };
    const following = follow(etcd, watching.signal, reached);
    const appenders = Array.from({ length: WRITERS }, (_, i) => new Appender(`list/${i}`));
    const counter = new Counter(session, 'sum');
    let added = 0n;
    const counting = (async () => {
      for (; !stop.signal.aborted; await sleep(20)) {
        await counter.add(1n, { timeoutMs: SETTLE_MS });
        added += 1n;
      }
    })();
    const working = Promise.all([counting, ...appenders.map((one) => one.run(etcd, stop.signal))]);
    const writes = (): number => appenders.reduce((sum, { done }) => sum + done.length, 0);
    const between = async (): Promise<void> => {
      const before = writes();
      await expect.poll(() => writes() - before, { timeout: SETTLE_MS }).toBeGreaterThan(LEAST_WRITES);
    };
    try {
      await between();
      await migrate(cluster, '3.5', between);
      expect(cluster.seats.filter(({ member }) => member.running).map(({ version }) => version)).toEqual(
        Array(3).fill('3.5'),
      );
      await migrate(cluster, 'bundled', between);
    } finally {
      stop.abort();
      await working;
    }
    for (const one of appenders) one.check((await etcd.get(one.key))?.value ?? '');
    expect(await counter.get()).toBe(added);
    expect(session.signal.aborted).toBe(false);
    expect((await etcd.get('held'))?.createRevision).toBe(created);
    const last = Number((await etcd.put('end', '')).revision);
    await expect.poll(() => reached.revision, { timeout: SETTLE_MS }).toBe(last);
    watching.abort();
    await expect(following).rejects.toMatchObject({ code: 'aborted' });
    await expectSame(cluster);
    expect(cluster.crashes).toEqual([]);
  });
});

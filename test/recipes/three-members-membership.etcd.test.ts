/** Counters, ids, members and partitions on a cluster of three whose leader is stopped, killed and restarted meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Counter } from '../../recipes/counter.ts';
import { IdAllocator } from '../../recipes/id-allocator.ts';
import { Group } from '../../recipes/membership/group.ts';
import { Membership } from '../../recipes/membership/membership.ts';
import { type PartitionClaim, Partitions } from '../../recipes/membership/partitions.ts';
import type { ChangeEvent, Etcd } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import {
  endWithTest,
  expectOneAtATime,
  historyOf,
  insist,
  pauseInTest,
  QUICK,
  type RunningTest,
  strikeLeaders,
  THREE_MEMBERS,
} from './leader-faults.ts';
import { Actor, outcome, uniqueName, until, untilEmpty } from './lock-bed.ts';

const PARTITIONS = 6;

/** Somebody who takes part: as long as it has a partition it writes its token under it, which the store may refuse. */
class Worker {
  readonly held = new Map<string, PartitionClaim>();
  writes = 0;
  readonly done: Promise<unknown>;
  readonly #stop = new AbortController();

  constructor({ session }: Actor, name: string, id: string) {
    const work = async (claim: PartitionClaim, signal: AbortSignal): Promise<void> => {
      this.held.set(claim.partition, claim);
      // Not asked whether it still has it: that is the store's to say.
      while (!signal.aborted) {
        await claim.kv.put(`${name}-data/${claim.partition}`, String(claim.token)).then(
          () => {
            this.writes += 1;
          },
          (error: unknown) => expect(error).toBeInstanceOf(Error),
        );
        await sleep(10);
      }
      this.held.delete(claim.partition);
    };
    const options = { id, signal: this.#stop.signal };
    this.done = new Partitions(session, name, { partitions: PARTITIONS }).run(work, options).catch((error) => error);
  }

  stop(): Promise<unknown> {
    this.#stop.abort();
    return this.done;
  }
}

/** Every write was made under a claim that was there at that revision, and was the partition's own. */
function expectFencedWrites(events: readonly ChangeEvent[], name: string): void {
  const claims = new Map<string, { readonly partition: string; readonly token: string }>();
  for (const { type, kv, revision } of events) {
    const [, claimed] = kv.key.split(`${name}/claims/`);
    if (claimed !== undefined) {
      const partition = claimed.split('/')[0]!;
      if (type === 'delete') claims.delete(kv.key);
      else claims.set(kv.key, { partition, token: String(revision) });
    }
    const [, written] = kv.key.split(`${name}-data/`);
    if (written === undefined || type === 'delete') continue;
    expect([...claims.values()]).toContainEqual({ partition: written, token: kv.value });
  }
}

/** The partition that a claim's key is about. */
function partitionOf(name: string): (key: string) => string | undefined {
  const prefix = `${name}/claims/`;
  return (key) => (key.startsWith(prefix) ? key.slice(prefix.length).split('/')[0] : undefined);
}

async function keysOf(etcd: Etcd, prefix: string): Promise<string[]> {
  return (await etcd.range({ prefix }, { keysOnly: true })).kvs.map(({ key }) => key);
}

describeOnRealEtcd(
  'While leaders fall',
  (suite) => {
    const open = async (test: RunningTest): Promise<Actor> =>
      endWithTest(test, await Actor.open(suite.cluster.endpoints, { ...QUICK, ttlSeconds: 10 }));

    it('counters have the exact sum, and no id is given out twice', async (test) => {
      const actors = await Promise.all([open(test), open(test), open(test)]);
      const name = uniqueName(suite);
      const enough = new AbortController();
      const sums: bigint[] = [];
      const ids: bigint[] = [];
      const working = actors.flatMap(({ session }) => {
        const counter = new Counter(session, name);
        const allocator = new IdAllocator(session, `${name}-ids`, { blockSize: 3 });
        const adding = async (): Promise<void> => {
          while (!enough.signal.aborted) sums.push(await insist(() => counter.add(1n)));
        };
        const naming = async (): Promise<void> => {
          while (!enough.signal.aborted) {
            ids.push(await insist(() => allocator.next()));
            if (ids.length % 5 !== 0) continue;
            const { first } = await insist(() => allocator.range(2));
            ids.push(first, first + 1n);
          }
        };
        return [adding(), naming()];
      });
      try {
        const progress = (): number => Math.min(sums.length, ids.length);
        await Promise.race([
          Promise.all(working),
          strikeLeaders(test, suite.cluster, ['kill', 'stop', 'kill'], progress),
        ]);
      } finally {
        enough.abort();
      }
      await Promise.all(working);
      // Every sum from 1 on was told once, to somebody.
      expect(await new Counter(actors[0].session, name).get()).toBe(BigInt(sums.length));
      expect(new Set(sums).size).toBe(sums.length);
      expect(new Set(ids).size).toBe(ids.length);
      for (const actor of actors) await actor.session.close();
      expect(await keysOf(actors[0].etcd, `${name}/receipts/`)).toEqual([]);
      for (const actor of actors) await actor.etcd.close();
    });

    it('no partition has two valid claims at any revision, and every write has one', async (test) => {
      const actors = await Promise.all([open(test), open(test), open(test)]);
      await using onlooker = await open(test);
      const { etcd } = onlooker;
      const name = uniqueName(suite);
      const from = await etcd.revision();
      const enough = new AbortController();
      const workers: Worker[] = [];
      let turns = 0;
      // Two stay, the third comes and goes, so that partitions move all the time.
      const [one, two] = [new Worker(actors[0], name, 'one'), new Worker(actors[1], name, 'two')];
      workers.push(one, two);
      const visiting = (async () => {
        while (!enough.signal.aborted) {
          const visitor = new Worker(actors[2], name, 'visitor');
          workers.push(visitor);
          await until(() => visitor.held.size > 0 || enough.signal.aborted);
          await sleep(50);
          expect(await visitor.stop()).toMatchObject({ name: 'AbortError' });
          turns += 1;
        }
      })();
      try {
        await Promise.race([visiting, strikeLeaders(test, suite.cluster, ['stop', 'kill', 'stop'], () => turns)]);
      } finally {
        enough.abort();
      }
      await visiting;
      // In the end all is shared out.
      await until(() => one.held.size === PARTITIONS / 2 && two.held.size === PARTITIONS / 2);
      const owners = await new Partitions(onlooker.session, name, { partitions: PARTITIONS }).owners();
      expect(owners.map(({ owner }) => owner).sort()).toEqual(['one', 'one', 'one', 'two', 'two', 'two']);
      for (const worker of [one, two]) expect(await worker.stop()).toMatchObject({ name: 'AbortError' });
      const events = await historyOf(etcd, name, from);
      expect(expectOneAtATime(events, partitionOf(name)).size).toBe(PARTITIONS);
      expectFencedWrites(events, name);
      expect(workers.reduce((sum, { writes }) => sum + writes, 0)).toBeGreaterThan(100);
      await untilEmpty(etcd, `${name}/`);
      for (const actor of actors) await actor[Symbol.asyncDispose]();
    });

    it('members are listed while they are there, with what they said last', async (test) => {
      const actors = await Promise.all([open(test), open(test), open(test)]);
      await using onlooker = await open(test);
      const name = uniqueName(suite);
      const members = await Promise.all(
        actors.map(({ session }, index) => new Membership(session, name).join({ id: String(index), data: '0' })),
      );
      const enough = new AbortController();
      const said = [0, 0, 0];
      const updating = members.map(async (member, index) => {
        while (!enough.signal.aborted) {
          said[index]! += 1;
          await member.update(String(said[index]));
        }
      });
      const seen = new Map<string, string>();
      const told: string[] = [];
      const watching = (async () => {
        for await (const { type, member } of new Group(onlooker.etcd, name).changes({ signal: enough.signal })) {
          told.push(type);
          // Never back in time.
          if (type === 'updated') expect(Number(member.data)).toBeGreaterThan(Number(seen.get(member.id)));
          seen.set(member.id, member.data);
        }
      })().catch((error: unknown) => error);
      try {
        const progress = (): number => Math.min(...[...seen.values()].map(Number), ...said);
        await until(() => seen.size === 3);
        await Promise.race([Promise.all(updating), strikeLeaders(test, suite.cluster, ['kill', 'stop'], progress)]);
      } finally {
        enough.abort();
      }
      await Promise.all(updating);
      expect(await watching).toMatchObject({ name: 'AbortError' });
      expect(told.filter((type) => type !== 'updated')).toEqual(['joined', 'joined', 'joined']);
      const listed = await new Group(onlooker.etcd, name).members();
      expect(listed.map(({ id, data }) => [id, data]).sort()).toEqual(said.map((count, id) => [`${id}`, `${count}`]));
      expect(members.every(({ present, signal }) => present && !signal.aborted)).toBe(true);
      for (const actor of actors) await actor[Symbol.asyncDispose]();
      expect(await keysOf(onlooker.etcd, `${name}/`)).toEqual([]);
    });

    it('what the owner of a partition sent to a stopped leader is refused when it gets there at last', async (test) => {
      // A leader that was deposed while it was stopped may also lose what it finds in its sockets. Again, then.
      while (!(await lateWrites(test))) await suite.cluster.waitHealthy();
    });

    /** Whether requests that were sent to a stopped leader are carried out when it goes on. */
    async function lateWrites(test: RunningTest): Promise<boolean> {
      const leader = await suite.cluster.leader();
      await using other = await open(test);
      // It knows no other member, and waits long for an answer.
      const stuck = await Actor.open([leader.clientUrl], { ttlSeconds: 2, timeoutMs: 20_000 });
      const name = uniqueName(suite);
      const stale = new Worker(stuck, name, 'stuck');
      await until(() => stale.held.size === PARTITIONS);
      const claims = [...stale.held.values()];
      const fresh = new Worker(other, name, 'fresh');
      await until(() => fresh.held.size > 0);
      const before = new Set(fresh.held.keys());
      const theirs = claims.filter(({ partition }) => !before.has(partition));
      pauseInTest(test, leader);
      const late = theirs.map((claim) => outcome(claim.kv.put(`${name}-late`, 'stale', { timeoutMs: 20_000 })));
      const control = outcome(stuck.etcd.put(`${name}-control`, 'stale'));
      await until(() => {
        // By its own clock it had stopped before another has what it had.
        for (const { partition, held } of theirs) if (fresh.held.has(partition)) expect(held).toBe(false);
        return fresh.held.size === PARTITIONS;
      });
      leader.resume();
      for (const { error } of await Promise.all(late)) expect(error).toBeInstanceOf(Error);
      expect(await other.etcd.get(`${name}-late`)).toBeUndefined();
      const { error } = await control;
      await stale.stop();
      await fresh.stop();
      await stuck.etcd.close();
      await suite.cluster.waitHealthy();
      await untilEmpty(other.etcd, `${name}/`);
      return error === undefined;
    }
  },
  THREE_MEMBERS,
);

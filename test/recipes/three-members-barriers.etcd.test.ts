/** Barriers and latches on a cluster of three whose leader is stopped, continued, killed and restarted meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Barrier } from '../../recipes/barrier.ts';
import { DoubleBarrier } from '../../recipes/double-barrier.ts';
import { Latch } from '../../recipes/latch.ts';
import type { Etcd } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { endWithTest, insist, QUICK, type RunningTest, strikeLeaders, THREE_MEMBERS } from './leader-faults.ts';
import { Actor, uniqueName, until } from './lock-bed.ts';

describeOnRealEtcd(
  'Barriers while leaders fall',
  (suite) => {
    const open = async (test: RunningTest): Promise<Actor> =>
      endWithTest(test, await Actor.open(suite.cluster.endpoints, { ...QUICK, ttlSeconds: 10 }));

    /** Three programs; what each does is done over and over while leaders fall. Returns the keys that are left. */
    async function whileLeadersFall(
      test: RunningTest,
      name: string,
      makeTurns: (actors: readonly Actor[]) => readonly ((n: number) => Promise<unknown>)[],
    ): Promise<string[]> {
      const actors = await Promise.all([open(test), open(test), open(test)]);
      const enough = new AbortController();
      const done: number[] = [];
      const turns = makeTurns(actors);
      // All do the same number of turns, so that nobody waits for one who has gone home.
      let last = Number.POSITIVE_INFINITY;
      const working = Promise.all(
        turns.map(async (turn, index) => {
          for (let n = 0; n < last; n++) {
            await turn(n);
            done[index] = n + 1;
            if (enough.signal.aborted && last === Number.POSITIVE_INFINITY) last = Math.max(...done) + 2;
          }
        }),
      );
      const progress = (): number => Math.min(...turns.map((_, index) => done[index] ?? 0));
      try {
        await Promise.race([working, strikeLeaders(test, suite.cluster, ['stop', 'kill'], progress)]);
      } finally {
        enough.abort();
      }
      await working;
      for (const actor of actors.slice(1)) await actor[Symbol.asyncDispose]();
      await actors[0].session.close();
      const left = await keysOf(actors[0].etcd, name);
      await actors[0].etcd.close();
      return left;
    }

    it('a barrier lets nobody through before it is opened, and then everybody', async (test) => {
      const name = uniqueName(suite);
      const opened: boolean[] = [];
      const coming: number[] = [];
      const left = await whileLeadersFall(test, name, (actors) =>
        actors.map(({ session }, index) => async (n) => {
          const barrier = new Barrier(session, `${name}/${n}`);
          if (index === 0) {
            const held = await insist(() => barrier.hold());
            coming[n] = 0;
            await until(() => coming[n] === 2);
            await sleep(30);
            opened[n] = true;
            await held.release();
          } else {
            await until(() => coming[n] !== undefined);
            coming[n]! += 1;
            await barrier.wait();
            expect([n, opened[n]]).toEqual([n, true]);
          }
        }),
      );
      expect(opened.length).toBeGreaterThan(8);
      expect(left).toEqual([]);
    });

    it('a double barrier begins with all and ends with all', async (test) => {
      const name = uniqueName(suite);
      const entered = [0, 0, 0];
      const leaving = [0, 0, 0];
      const rounds: bigint[][] = [[], [], []];
      const left = await whileLeadersFall(test, name, (actors) =>
        actors.map(({ session }, index) => {
          const barrier = new DoubleBarrier(session, name, { count: 3 });
          return async (n) => {
            entered[index] = n + 1;
            const round = await insist(() => barrier.enter());
            expect(Math.min(...entered)).toBe(n + 1);
            rounds[index]!.push(round.round);
            leaving[index] = n + 1;
            await round.leave();
            expect(Math.min(...leaving)).toBe(n + 1);
          };
        }),
      );
      expect(rounds[1]).toEqual(rounds[0]);
      expect(rounds[2]).toEqual(rounds[0]);
      expect([...rounds[0]!].sort((a, b) => Number(a - b))).toEqual(rounds[0]);
      expect(rounds[0]!.length).toBeGreaterThan(8);
      expect(left).toEqual([]);
    });

    it('a latch opens when everything has happened, and each thing has counted once', async (test) => {
      const name = uniqueName(suite);
      const told: number[][] = [];
      const said: number[] = [];
      const left = await whileLeadersFall(test, name, (actors) =>
        actors.map(({ session }, index) => async (n) => {
          const latch = new Latch(session, `${name}/${n}`);
          expect(await insist(() => latch.create(6))).toBeLessThanOrEqual(6);
          const waiting = insist(() => latch.wait());
          const countDown = async (id?: string): Promise<number> => {
            said[n] = (said[n] ?? 0) + 1;
            return await insist(() => latch.countDown({ id }));
          };
          told[n] ??= [];
          told[n].push(await countDown());
          const id = `worker ${index}`;
          // Said twice at once, from two objects.
          const twice = insist(() => new Latch(session, `${name}/${n}`).countDown({ id }));
          const [mine, other] = await Promise.all([countDown(id), twice]);
          told[n].push(Math.max(mine, other));
          await waiting;
          expect([n, said[n]]).toEqual([n, 6]);
          expect(await insist(() => latch.remaining())).toBe(0);
        }),
      );
      for (const counts of told) expect([...counts].sort()).toEqual([0, 1, 2, 3, 4, 5]);
      expect(told.length).toBeGreaterThan(8);
      // A latch is there to stay; its receipts are not.
      expect(left.filter((key) => key.includes('/receipts/'))).toEqual([]);
    });
  },
  THREE_MEMBERS,
);

async function keysOf(etcd: Etcd, name: string): Promise<string[]> {
  return (await etcd.range({ prefix: name }, { keysOnly: true })).kvs.map(({ key }) => key);
}

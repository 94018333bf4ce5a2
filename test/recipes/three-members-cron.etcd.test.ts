/** The cron on a cluster of three whose leader is stopped, killed and left without a quorum while ticks come due. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { CronRun } from '../../recipes/cron/cron.ts';
import { EtcdError } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { ManualWall, MINUTE, NOON, Node, noting } from './cron-bed.ts';
import { endWithTest, historyOf, QUICK, strandLeader, strikeLeaders, THREE_MEMBERS } from './leader-faults.ts';
import { Actor, uniqueName, until } from './lock-bed.ts';

describeOnRealEtcd(
  'The cron while leaders fall',
  (suite) => {
    it('dapr PR #9696: runs each tick once, in five processes of which none ends by itself', async (test) => {
      const name = uniqueName(suite);
      await using onlooker = await Actor.open(suite.cluster.endpoints, { ...QUICK });
      const { etcd } = onlooker;
      const from = await etcd.revision();
      const walls = Array.from({ length: 5 }, () => new ManualWall());
      const ran: number[] = [];
      const by = new Set<number>();
      const nodes = await Promise.all(
        walls.map(async (wallClock, index) => {
          const actor = endWithTest(test, await Actor.open(suite.cluster.endpoints, { ...QUICK, ttlSeconds: 10 }));
          const handler = async (run: CronRun): Promise<void> => {
            const minute = (run.tick.getTime() - NOON) / MINUTE;
            ran.push(minute);
            by.add(index);
            // What the run does to the store is done once, however often it has to be sent.
            const effect = `${name}-effects/${minute}`;
            const once = { if: [actor.etcd.key(effect).missing], then: [actor.etcd.op.put(effect, String(index))] };
            for (let done = false; !done; ) {
              done = await run.held.guard(once).then(
                () => true,
                (error: unknown) => {
                  if (!(error instanceof EtcdError)) throw error;
                  return false;
                },
              );
            }
          };
          return new Node(actor, name, noting(ran, { handler, overlap: 'wait' }), { wallClock, historyLimit: 100 });
        }),
      );
      const enough = new AbortController();
      let minute = 0;
      /** The next tick comes due when the last has run; for some of the processes a little later. */
      const ticking = (async () => {
        await until(() => walls.every(({ waiting }) => waiting === 1));
        while (!enough.signal.aborted) {
          minute++;
          for (const [index, wall] of walls.entries()) {
            wall.set(minute);
            if (index % 2 === 0) await sleep(1);
          }
          await until(() => ran.includes(minute));
        }
      })();
      await strikeLeaders(test, suite.cluster, ['stop', 'kill', 'stop'], () => ran.length);
      await strandLeader(suite.cluster);
      const before = ran.length;
      await until(() => ran.length > before + 10);
      enough.abort();
      await ticking;
      const idle = async (): Promise<boolean> => (await etcd.count({ prefix: `${name}/tidy/claims/` })) === 0;
      await until(idle);
      const all = Array.from({ length: minute }, (_, index) => index + 1);
      expect(ran).toEqual(all);
      const history = await nodes[0]!.cron.history('tidy');
      const minuteOf = (tick: Date): number => (tick.getTime() - NOON) / MINUTE;
      expect(history.map(({ tick, status }) => [minuteOf(tick), status])).toEqual(
        all
          .toReversed()
          .slice(0, 100)
          .map((each) => [each, 'done']),
      );
      expect(nodes.filter(({ over }) => over)).toEqual([]);
      for (const node of nodes) await node[Symbol.asyncDispose]();
      expect(await Promise.all(nodes.map(({ ended }) => ended))).toEqual(nodes.map(() => undefined));
      // By the store's own word: each tick was claimed once, and had its effect once.
      const events = await historyOf(etcd, name, from);
      const created = events.flatMap((event) => (event.type === 'put' && event.isCreate ? [event.kv.key] : []));
      expect(created.filter((key) => key.includes('/tidy/runs/'))).toHaveLength(minute);
      expect(created.filter((key) => key.includes('/tidy/claims/'))).toHaveLength(minute);
      expect((await etcd.range({ prefix: `${name}-effects/` })).kvs).toHaveLength(minute);
      expect(by.size).toBeGreaterThan(1);
      await test.annotate(`${minute} ticks, run by ${by.size} of 5 processes`);
    });
  },
  THREE_MEMBERS,
);

/** Elections on a cluster of three whose leader is stopped, stranded without a quorum, killed and restarted. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import type { Leadership } from '../../recipes/election/leadership.ts';
import { type ElectionState, ElectionView } from '../../recipes/election/view.ts';
import { LostError, RecipeError } from '../../recipes/errors.ts';
import { Session } from '../../recipes/session.ts';
import { supervise } from '../../recipes/supervise.ts';
import { AbortError, Etcd, EtcdError } from '../../src/index.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { tieProcess } from '../support/lifeline.ts';
import { expectGrowingTerms, expectObserved, reignsOf, toKeyEvents } from './election-history.ts';
import { expectFenced } from './fenced-history.ts';
import {
  endWithTest,
  historyOf,
  pauseInTest,
  QUICK,
  type RunningTest,
  type Strike,
  strandLeader,
  strikeLeaders,
  THREE_MEMBERS,
} from './leader-faults.ts';
import { uniqueName, until, untilEmpty } from './lock-bed.ts';

/** Takes an observer's states down until the signal fires. */
async function observe(etcd: Etcd, name: string, told: ElectionState[], signal: AbortSignal): Promise<void> {
  try {
    for await (const state of new ElectionView(etcd, name).observe({ signal })) told.push(state);
  } catch (error) {
    if (!(error instanceof AbortError)) throw error;
  }
}

/** A child process and the lines of JSON it says. */
function startChild(script: string, args: readonly string[]) {
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  tieProcess(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { process: child, next: async () => JSON.parse((await lines.next()).value as string) as unknown };
}

describeOnEtcd(
  'Elections while leaders fall',
  (suite) => {
    const open = (test: RunningTest): Etcd =>
      endWithTest(test, new Etcd({ endpoints: suite.cluster.endpoints, ...QUICK }));

    /** Three candidates and two observers through some faults, and then what the store has to say of it. */
    async function reignThrough(test: RunningTest, ttlSeconds: number, faults: (terms: () => number) => Promise<void>) {
      const name = uniqueName(suite);
      const clients = Array.from({ length: 4 }, () => open(test));
      const onlooker = clients[3]!;
      const from = await onlooker.revision();
      const [enough, seenAll] = [new AbortController(), new AbortController()];
      let terms = 0;
      let lost = 0;
      let handOvers = 0;
      let rest: Promise<void> = Promise.resolve();
      /** One term: writes under it, says something, and goes, now and then to whom it likes. */
      const lead = async (election: Election, leader: Leadership): Promise<void> => {
        terms++;
        for (let write = 0; write < 3; write++) {
          await leader.kv.put(`${name}-data`, String(leader.term)).catch((error: unknown) => {
            if (!(error instanceof EtcdError)) throw error;
          });
        }
        await leader.proclaim(`${leader.value} speaks`);
        const to = (await election.candidates()).at(-1);
        if (to !== undefined && to.token > leader.term) {
          if (await leader.handOver(to, { timeoutMs: 1_000 })) handOvers++;
        }
        await leader.resign();
      };
      const stand = async (session: Session, who: string, signal: AbortSignal): Promise<void> => {
        const election = new Election(session, name);
        while (!signal.aborted) {
          try {
            await using leader = await election.campaign({ value: who, signal });
            await lead(election, leader);
            await sleep(30);
            await rest;
          } catch (error) {
            if (error instanceof LostError) lost++;
            if (!(error instanceof RecipeError || error instanceof EtcdError) || !session.alive) throw error;
          }
        }
      };
      const candidates = clients.slice(0, 3).map((etcd, index) =>
        supervise(etcd, { ttlSeconds, signal: enough.signal }, (session, signal) =>
          stand(session, `c${index}`, signal),
        ).catch((error: unknown) => {
          if (!enough.signal.aborted) throw error;
        }),
      );
      const told: [ElectionState[], ElectionState[]] = [[], []];
      const observers = [clients[0]!, onlooker].map((etcd, n) => observe(etcd, name, told[n]!, seenAll.signal));
      await faults(() => terms);
      // Nobody stands for a while, and then they do again.
      for (let pause = 0; pause < 3; pause++) {
        let end = (): void => {};
        rest = new Promise((resolve) => {
          end = resolve;
        });
        await untilEmpty(onlooker, `${name}/`);
        const before = terms;
        end();
        await until(() => terms > before);
      }
      enough.abort();
      await Promise.all(candidates);
      await untilEmpty(onlooker, `${name}/`);
      await until(() => told.every((states) => states.at(-1)?.kind === 'vacant' && states.length > 1));
      seenAll.abort();
      await Promise.all(observers);
      const events = toKeyEvents(await historyOf(onlooker, name, from));
      const reigns = reignsOf(events, `${name}/`, from);
      expectGrowingTerms(reigns);
      const writes = expectFenced(events, { queue: `${name}/`, data: `${name}-data` });
      for (const states of told) expectObserved(states, reigns);
      expect(await onlooker.count({ prefix: name })).toBe(1);
      await Promise.all(clients.map((etcd) => etcd.close()));
      const vacancies = reigns.filter(({ state }) => state.kind === 'vacant').length;
      expect(vacancies).toBeGreaterThan(2);
      expect(handOvers).toBeGreaterThan(0);
      const seen = told.map(({ length }) => length);
      return { terms, lost, handOvers, vacancies, writes: writes.length, reigns: reigns.length, seen };
    }

    it('Go #11007, #11777, #11429: have one valid term at any revision, told in order, while leaders are stopped and killed', async (test) => {
      const strikes: Strike[] = ['stop', 'kill', 'stop', 'kill'];
      const figures = await reignThrough(test, 10, (terms) => strikeLeaders(test, suite.cluster, strikes, terms));
      expect(figures.writes).toBeGreaterThanOrEqual(figures.terms);
      // Nobody's session was longer away than it lives.
      expect(figures.lost).toBe(0);
      await test.annotate(JSON.stringify(figures));
    });

    it('stand still, and go on with the same sessions, while the leader is left without a quorum', async (test) => {
      const figures = await reignThrough(test, 10, async (terms) => {
        await until(() => terms() > 20);
        await strandLeader(suite.cluster);
        const before = terms();
        await until(() => terms() > before + 20);
      });
      expect(figures.lost).toBe(0);
      await test.annotate(JSON.stringify(figures));
    });

    it('Go #15247, #12528: have one valid term also where a leader that was stopped takes live leases for expired', async (test) => {
      const figures = await reignThrough(test, 2, async (terms) => {
        for (let round = 0; round < 2; round++) {
          const before = terms();
          await until(() => terms() > before + 3);
          const leader = await suite.cluster.leader();
          pauseInTest(test, leader);
          await suite.cluster.leader();
          // Longer than the leases live: by its own clock they have all run out when it goes on.
          await sleep(3_000);
          leader.resume();
          await suite.cluster.waitHealthy();
        }
        const before = terms();
        await until(() => terms() > before + 3);
      });
      await test.annotate(JSON.stringify(figures));
    });

    it('fence off a leader that was stopped (SIGSTOP) while it wrote: nothing of it is written after another leads', async (test) => {
      await using etcd = open(test);
      await using session = await Session.open(etcd, { ttlSeconds: 10 });
      const name = uniqueName(suite);
      const data = `${name}-data`;
      const from = await etcd.revision();
      const script = path.join(import.meta.dirname, 'children', 'stopped-leader.ts');
      const child = startChild(script, [suite.cluster.endpoints.join(','), name]);
      const { term } = (await child.next()) as { term: string };
      await until(async () => ((await etcd.get(data))?.version ?? 0n) > 20n);
      child.process.kill('SIGSTOP');
      const next = await new Election(session, name).campaign();
      expect(next.term).toBeGreaterThan(BigInt(term));
      await next.kv.put(data, String(next.term));
      await etcd.put(`${name}-unfenced`, String(next.term));
      child.process.kill('SIGCONT');
      // Whatever it asks first after the stop, it is told, by its own clock or by the store.
      const refused = { kv: ['LostError'], guard: ['LostError'], stm: ['LostError'], bare: ['refused'] };
      expect(await child.next()).toEqual(refused);
      await next.kv.put(data, String(next.term));
      await next.resign();
      const events = toKeyEvents(await historyOf(etcd, name, from));
      const writers = expectFenced(events, { queue: `${name}/`, data });
      expect(writers.filter((token) => token === BigInt(term)).length).toBeGreaterThan(20);
      expect(writers.slice(-2)).toEqual([next.term, next.term]);
      // The control: what is not fenced does harm.
      expect((await etcd.get(`${name}-unfenced`))?.value).toBe(term);
      await untilEmpty(etcd, `${name}/`);
    });
  },
  THREE_MEMBERS,
);

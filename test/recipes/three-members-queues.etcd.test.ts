/** The queues on a cluster of three whose leader is stopped, continued, killed and restarted while they work. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { DelayQueue } from '../../recipes/queue/delay-queue.ts';
import { PriorityQueue } from '../../recipes/queue/priority-queue.ts';
import { Queue } from '../../recipes/queue/queue.ts';
import { WorkQueue } from '../../recipes/queue/work/work-queue.ts';
import type { ChangeEvent } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import {
  endWithTest,
  expectOneAtATime,
  historyOf,
  pauseInTest,
  QUICK,
  type RunningTest,
  strikeLeaders,
  THREE_MEMBERS,
} from './leader-faults.ts';
import { Actor, outcome, uniqueName, until } from './lock-bed.ts';

/** What a producer was told of what it put. */
class Puts {
  readonly done = new Set<string>();
  readonly refused = new Set<string>();
  readonly unknown = new Set<string>();

  /** Puts one value after another until the signal fires. */
  async go(who: string, put: (value: string) => Promise<unknown>, signal: AbortSignal): Promise<void> {
    for (let n = 0; !signal.aborted; n++) {
      const value = `${who}-${n}`;
      try {
        await put(value);
        this.done.add(value);
      } catch (error) {
        const { code, applied } = error as { code?: string; applied?: string };
        if (code === 'unknown-outcome') this.unknown.add(value);
        else {
          expect([code, applied]).toEqual([code, 'no']);
          this.refused.add(value);
        }
      }
      await sleep(10);
    }
  }

  /** Each one that was put came out once, and none that was not. */
  expectOnce(out: readonly string[]): void {
    expect(new Set(out).size).toBe(out.length);
    const came = new Set(out);
    expect([...this.done].filter((value) => !came.has(value))).toEqual([]);
    expect(out.filter((value) => this.refused.has(value))).toEqual([]);
  }
}

/** At each revision what is taken is the first of what is there; `appends`: what is put is the last. */
function expectInOrder(events: readonly ChangeEvent[], appends: boolean): void {
  const present = new Set<string>();
  for (const { type, kv } of events) {
    const sorted = [...present].sort();
    if (type === 'delete') expect(kv.key).toBe(sorted[0]);
    if (type === 'put' && appends && sorted.length > 0) expect(kv.key > sorted.at(-1)!).toBe(true);
    if (type === 'delete') present.delete(kv.key);
    else present.add(kv.key);
  }
  expect(present.size).toBe(0);
}

describeOnRealEtcd(
  'Queues while leaders fall',
  (suite) => {
    const open = async (test: RunningTest): Promise<Actor> =>
      endWithTest(test, await Actor.open(suite.cluster.endpoints, { ...QUICK, ttlSeconds: 10 }));

    it('hand out every item once and in order, and none that was refused', async (test) => {
      const actors = await Promise.all([open(test), open(test), open(test), open(test)]);
      const { etcd } = actors[0];
      const name = uniqueName(suite);
      const from = await etcd.revision();
      const [enough, drained] = [new AbortController(), new AbortController()];
      const kinds = ([Queue, PriorityQueue, DelayQueue] as const).map((Kind) => {
        const puts = new Puts();
        const taken: string[] = [];
        const put = (actor: Actor, who: string) => {
          const queue = new Kind(actor.session, name);
          const options = Kind === DelayQueue ? { delayMs: 40 } : { priority: taken.length % 3 };
          return puts.go(who, (value) => (queue as DelayQueue).enqueue(value, options as never), enough.signal);
        };
        const take = async (actor: Actor) => {
          const queue: Pick<Queue, 'dequeue'> = new Kind(actor.session, name);
          for (;;) {
            try {
              taken.push((await queue.dequeue({ signal: drained.signal })).value);
            } catch (error) {
              if (drained.signal.aborted) return;
              throw error;
            }
          }
        };
        const producers = actors.slice(0, 2).map((actor, index) => put(actor, String(index)));
        const consumers = actors.slice(2).map(take);
        return { Kind, puts, taken, producers, consumers };
      });
      await strikeLeaders(test, suite.cluster, ['stop', 'kill', 'stop'], () =>
        Math.min(...kinds.map(({ taken }) => taken.length)),
      );
      enough.abort();
      await Promise.all(kinds.flatMap(({ producers }) => producers));
      await until(async () => (await etcd.range({ prefix: `${name}/` }, { keysOnly: true })).kvs.every(isNoItem));
      drained.abort();
      await Promise.all(kinds.flatMap(({ consumers }) => consumers));
      for (const { puts, taken } of kinds) puts.expectOnce(taken);
      for (const { Kind } of kinds) {
        const folder = { Queue: 'queue', PriorityQueue: 'priority', DelayQueue: 'delay' }[Kind.name]!;
        const events = await historyOf(etcd, `${name}/${folder}/items/`, from);
        expectInOrder(events, Kind === Queue);
      }
      await Promise.all(actors.slice(1).map((actor) => actor[Symbol.asyncDispose]()));
      await actors[0].session.close();
      expect((await etcd.range({ prefix: `${name}/` })).kvs.map(({ key }) => key)).toEqual([]);
      await etcd.close();
    });

    it('give out jobs that are done once each, with one claim at a time', async (test) => {
      await using boss = await open(test);
      const actors = await Promise.all([open(test), open(test), open(test)]);
      const name = uniqueName(suite);
      const { etcd } = boss;
      const from = await etcd.revision();
      const [enough, drained] = [new AbortController(), new AbortController()];
      const puts = new Puts();
      const queue = new WorkQueue(boss.session, name, { maxAttempts: 1_000 });
      const producing = puts.go('job', (value) => queue.enqueue(value), enough.signal);
      let acked = 0;
      const rules = { maxAttempts: 1_000, retryDelayMs: () => 0, visibilityMs: 2_000 };
      const working = actors.map((actor) =>
        new WorkQueue(actor.session, name, rules).process(
          async (job) => {
            await job.ack({ then: [actor.etcd.op.put(`${name}-done/${job.value}`, String(job.token))] });
            acked += 1;
          },
          { concurrency: 2, signal: drained.signal },
        ),
      );
      await strikeLeaders(test, suite.cluster, ['kill', 'stop', 'kill'], () => acked);
      enough.abort();
      await producing;
      await until(async () => {
        const { ready, delayed, inFlight } = await queue.depth();
        return ready + delayed + inFlight === 0;
      });
      drained.abort();
      await Promise.all(working);
      const done = (await etcd.range({ prefix: `${name}-done/` })).kvs;
      // The effects of an ack are in the history once, whatever became of its answer.
      expect(done.filter(({ version }) => version !== 1n)).toEqual([]);
      puts.expectOnce(done.map(({ key }) => key.slice(`${name}-done/`.length)));
      const events = await historyOf(etcd, `${name}/work/inflight/claims/`, from);
      const claims = expectOneAtATime(events, (key) => key.split('/').at(-1));
      expect(claims.size).toBeGreaterThanOrEqual(done.length);
      // Each was done by whoever had claimed it last: its token is that claim's.
      const tokens = new Set(events.filter(({ type }) => type === 'put').map(({ revision }) => String(revision)));
      expect(done.filter(({ value }) => !tokens.has(value))).toEqual([]);
      for (const actor of actors) await actor[Symbol.asyncDispose]();
      await boss.session.close();
      expect((await etcd.range({ prefix: `${name}/` })).kvs.map(({ key }) => key)).toEqual([]);
    });

    it('refuse what a worker sent to a stopped leader, when it gets there at last', async (test) => {
      // A leader that was deposed while it was stopped may also lose what it finds in its sockets. Again, then.
      while (!(await lateRequests(test))) await suite.cluster.waitHealthy();
    });

    /** Whether requests that were sent to a stopped leader are carried out when it goes on. */
    async function lateRequests(test: RunningTest): Promise<boolean> {
      const leader = await suite.cluster.leader();
      await using other = await open(test);
      // It knows no other member, and waits long for an answer.
      const stuck = await Actor.open([leader.clientUrl], { ttlSeconds: 2, timeoutMs: 20_000 });
      const name = uniqueName(suite);
      await new WorkQueue(other.session, name).enqueue('a');
      const job = await new WorkQueue(stuck.session, name).claim();
      const effect = (actor: Actor, value: string) => actor.etcd.op.put(`${name}-effect`, value);
      pauseInTest(test, leader);
      const late = [
        job.ack({ then: [effect(stuck, 'stale')] }),
        job.guard({ then: [effect(stuck, 'stale')] }, { timeoutMs: 20_000 }),
        // The control: what is not fenced.
        stuck.etcd.put(`${name}-control`, 'stale'),
      ].map((call) => outcome<unknown>(call));
      const next = await new WorkQueue(other.session, name).claim({ timeoutMs: 30_000 });
      expect(next).toMatchObject({ id: job.id, attempt: 2 });
      // By its own clock it had stopped before that.
      expect(job.held).toBe(false);
      expect(next.token).toBeGreaterThan(job.token);
      await next.ack({ then: [effect(other, 'good')] });
      leader.resume();
      const [ack, guarded, control] = (await Promise.all(late)).map(({ error }) => error as Error | undefined);
      expect(ack?.name).toMatch(/LostError|UnknownOutcomeError/);
      expect(guarded).toBeInstanceOf(Error);
      expect(await other.etcd.get(`${name}-effect`)).toMatchObject({ value: 'good', version: 1n });
      await stuck.etcd.close();
      return control === undefined;
    }
  },
  THREE_MEMBERS,
);

function isNoItem({ key }: { readonly key: string }): boolean {
  return !key.includes('/items/');
}

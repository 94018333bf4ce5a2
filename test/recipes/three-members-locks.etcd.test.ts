/** The locks on three members, while members are stopped, continued and killed, the leader among them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { RecipeError } from '../../recipes/errors.ts';
import type { Held } from '../../recipes/held.ts';
import { Mutex } from '../../recipes/mutex.ts';
import { RWMutex, WriteLock } from '../../recipes/rwmutex.ts';
import { type HeldPermits, Semaphore } from '../../recipes/semaphore.ts';
import { Session } from '../../recipes/session.ts';
import { Etcd, EtcdError } from '../../src/index.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { toKeyEvent } from './await-point-history.ts';
import { expectFenced, type FencedKeys, mutexKeys, permitKeys, rwKeys } from './fenced-history.ts';
import { historyOf, pauseInTest, QUICK, strikeLeaders, THREE_MEMBERS } from './leader-faults.ts';
import { uniqueName, until } from './lock-bed.ts';

const WORKERS = 6;
const PERMITS = 3;

/** One kind of lock: how a worker gets it, what may be held together, and where its keys are. */
interface Kind {
  readonly acquire: (session: Session, name: string, worker: number, signal: AbortSignal) => Promise<Held>;
  readonly together: (held: readonly Held[]) => boolean;
  readonly keys: (name: string) => FencedKeys;
}

const kinds: Record<string, Kind> = {
  Mutex: {
    acquire: (session, name, _worker, signal) => new Mutex(session, name).acquire({ signal }),
    together: (held) => held.length < 2,
    keys: mutexKeys,
  },
  RWMutex: {
    acquire: (session, name, worker, signal) =>
      new RWMutex(session, name)[worker % 3 === 0 ? 'acquireWrite' : 'acquireRead']({ signal }),
    together: (held) => held.length < 2 || !held.some((each) => each instanceof WriteLock),
    keys: rwKeys,
  },
  Semaphore: {
    acquire: (session, name, worker, signal) =>
      new Semaphore(session, name, { limit: PERMITS }).acquire({ permits: 1 + (worker % 2), signal }),
    together: (held) => held.reduce((sum, each) => sum + (each as HeldPermits).permits, 0) <= PERMITS,
    keys: (name) => permitKeys(name, PERMITS),
  },
};

/** Workers, each a process as it were, that take a lock again and again and write under its guard. */
class Workers {
  /** How often each has had the lock and written. */
  readonly rounds = Array.from({ length: WORKERS }, () => 0);
  readonly wrong: string[] = [];
  readonly #kind: Kind;
  readonly #name: string;
  readonly #stop = new AbortController();
  readonly #inside = new Set<Held>();
  readonly #running: Promise<unknown>;

  constructor(endpoints: readonly string[], kind: Kind, name: string) {
    this.#kind = kind;
    this.#name = name;
    this.#running = Promise.all(this.rounds.map((_, worker) => this.#work(endpoints, worker)));
  }

  get done(): number {
    return this.rounds.reduce((sum, rounds) => sum + rounds, 0);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #work(endpoints: readonly string[], worker: number): Promise<void> {
    const { signal } = this.#stop;
    await using etcd = new Etcd({ endpoints, ...QUICK });
    while (!signal.aborted) {
      try {
        await using session = await Session.open(etcd, { ttlSeconds: 5 });
        while (!signal.aborted) await this.#round(session, worker);
      } catch (error) {
        // What breaks is to be told by one of these, and mended by a new session.
        if (!(error instanceof EtcdError || error instanceof RecipeError)) this.wrong.push(String(error));
        await sleep(20);
      }
    }
  }

  async #round(session: Session, worker: number): Promise<void> {
    await using lock = await this.#kind.acquire(session, this.#name, worker, this.#stop.signal);
    this.#inside.add(lock);
    try {
      // By each holder's own word: in one process there is but one clock.
      const holding = [...this.#inside].filter(({ held }) => held);
      if (!this.#kind.together(holding)) this.wrong.push(`held together: ${holding.map(({ token }) => token)}`);
      await lock.guard({ then: [session.etcd.op.put(`${this.#name}-data`, String(lock.token))] });
      this.rounds[worker] = (this.rounds[worker] ?? 0) + 1;
    } finally {
      this.#inside.delete(lock);
    }
    await lock.release();
  }
}

describeOnEtcd(
  'Locks on three members',
  (suite) => {
    for (const [what, kind] of Object.entries(kinds)) {
      it(`${what}: members are stopped and killed, and nobody holds it who must not`, async (test) => {
        const { cluster } = suite;
        const name = uniqueName(suite);
        await using observer = new Etcd({ endpoints: cluster.endpoints, ...QUICK });
        const from = await observer.revision();
        const workers = new Workers(cluster.endpoints, kind, name);
        try {
          await strikeLeaders(test, cluster, ['stop', 'kill'], () => workers.done);
          const [follower] = await cluster.followers();
          if (follower !== undefined) pauseInTest(test, follower);
          const before = workers.done;
          await until(() => workers.done > before + 2 * WORKERS);
          follower?.resume();
          await cluster.waitHealthy();
          // Nobody is left out when all is well again.
          const rounds = [...workers.rounds];
          await until(() => workers.rounds.every((round, worker) => round > (rounds[worker] ?? 0)));
        } finally {
          await workers.stop();
        }
        expect(workers.wrong).toEqual([]);
        const events = (await historyOf(observer, name, from)).map(toKeyEvent);
        const tokens = expectFenced(events, kind.keys(name));
        // A write whose answer was lost is in the history only.
        expect(tokens.length).toBeGreaterThanOrEqual(workers.done);
        expect(new Set(tokens).size).toBeGreaterThan(2 * WORKERS);
        const { kvs } = await observer.range({ prefix: `${name}/` });
        expect(kvs.map(({ key }) => key).filter((key) => key !== `${name}/limit`)).toEqual([]);
      });
    }
  },
  THREE_MEMBERS,
);

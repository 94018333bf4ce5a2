/** The session and the locks, struck by every fault at every await point. */
import { expect } from 'vitest';
import { acquireAll } from '../../recipes/acquire-all.ts';
import { WaitTimeoutError } from '../../recipes/errors.ts';
import type { Held } from '../../recipes/held.ts';
import { Mutex } from '../../recipes/mutex.ts';
import { RWMutex } from '../../recipes/rwmutex.ts';
import { Semaphore } from '../../recipes/semaphore.ts';
import { Session } from '../../recipes/session.ts';
import { EtcdError } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { type AnyEnding, HARMLESS } from './await-point-endings.ts';
import { holdsAtEveryPoint, type KeyEvent, type Scenario, type Stage } from './await-points.ts';
import { expectFenced, type FencedKeys, mutexKeys, permitKeys, rwKeys } from './fenced-history.ts';
import { fired, outcome } from './lock-bed.ts';

/** Writes the token through the guard, and again when it is not known whether it was written: that is the program's part. */
async function write(lock: Held, { name, session: { etcd } }: Pick<Stage, 'name' | 'session'>): Promise<void> {
  for (;;) {
    const { error } = await outcome(lock.guard({ then: [etcd.op.put(`${name}-data`, String(lock.token))] }));
    if (error === undefined) return;
    if (!(error instanceof EtcdError && error.applied === 'maybe')) throw error;
  }
}

async function writeAndRelease(lock: Held, stage: Stage): Promise<void> {
  await using held = lock;
  await write(held, stage);
  await held.release();
}

/** What takes nothing away from the actor does it no harm. */
function unharmed({ strike, error }: AnyEnding): void {
  if (strike !== undefined && HARMLESS.has(strike.fault)) expect(error).toBeUndefined();
}

/** Whoever lost the key before the guard is told so by it. */
function toldBy(guard: string, { strike, error }: AnyEnding): void {
  if (strike?.point !== guard || HARMLESS.has(strike.fault) || strike.fault === 'stalled') return;
  expect(error).toMatchObject({ name: 'LostError' });
}

/** Every write was by a holder; the second actor's at least is there, since a history without a write shows nothing. */
const fencedBy =
  (keysOf: (name: string) => FencedKeys) =>
  (events: readonly KeyEvent[], { name }: Pick<Stage, 'name'>): void => {
    expect(expectFenced(events, keysOf(name)).length).toBeGreaterThan(0);
  };

interface LockScenario<Lock> {
  readonly name: string;
  readonly points: number;
  /** The point at which the guard is. */
  readonly guard: string;
  readonly acquire: (stage: Stage) => Promise<Lock>;
  /** What a rival holds until the actor waits for it with two watchers. */
  readonly blocker?: (stage: Stage) => Promise<Held>;
  readonly use?: (lock: Lock, stage: Stage) => Promise<void>;
  readonly history?: Scenario['checkHistory'];
  readonly mayStay?: Scenario['mayStay'];
}

describeOnRealEtcd('Session at every await point', (suite) => {
  holdsAtEveryPoint<void, void>(
    suite,
    { points: 4 },
    {
      name: 'open, hang a key on it, keep it alive, close',
      run: async ({ etcd, prefix, ttlSeconds }) => {
        await using session = await Session.open(etcd, { ttlSeconds });
        const put = (): Promise<unknown> => etcd.put(`${prefix}key`, '', { lease: session.lease });
        await put().catch((error: EtcdError) => (error.applied === 'maybe' ? put() : Promise.reject(error)));
        await session.lease.keepAliveOnce();
        session.assertAlive();
        await session.close();
      },
      check: unharmed,
    },
  );

  holdsAtEveryPoint<void, void>(
    suite,
    { points: 5 },
    {
      name: 'close while a lock is held and another one waited for',
      run: async (stage) => {
        await using session = await Session.open(stage.etcd, { ttlSeconds: stage.ttlSeconds });
        const mutex = new Mutex(session, stage.name);
        const lock = await mutex.acquire();
        const waiting = outcome(mutex.acquire());
        await Promise.race([stage.watching(3), fired(lock.signal)]);
        await write(lock, stage);
        await session.close();
        expect((await waiting).error).toMatchObject({ name: 'LostError', reason: 'session' });
        expect(lock.held).toBe(false);
      },
      check: unharmed,
      checkHistory: fencedBy(mutexKeys),
    },
  );
});

describeOnRealEtcd('Locks at every await point', (suite) => {
  function lockHolds<Lock extends Held>(scenario: LockScenario<Lock>): void {
    const { points, guard, acquire, blocker, use = writeAndRelease, history = fencedBy(mutexKeys), mayStay } = scenario;
    holdsAtEveryPoint<void, Held | undefined>(
      suite,
      { points },
      {
        name: scenario.name,
        prepare: async (stage) => blocker?.(stage),
        run: async (stage) => use(await acquire(stage), stage),
        alongside: async (stage, held) => {
          if (held === undefined) return;
          await stage.entered(2);
          await stage.watching(2);
          await write(held, { name: stage.name, session: stage.rival.session });
          await held.release();
        },
        check: (ending) => {
          unharmed(ending);
          toldBy(guard, ending);
        },
        checkHistory: history,
        ...(mayStay === undefined ? {} : { mayStay }),
      },
    );
  }

  const mutex = ({ session, name }: Stage): Mutex => new Mutex(session, name);
  const rivalHolds = ({ rival, name }: Stage): Promise<Held> => new Mutex(rival.session, name).acquire();

  lockHolds({ name: 'Mutex.acquire, free', points: 4, guard: 'Txn#2', acquire: (stage) => mutex(stage).acquire() });

  lockHolds({
    name: 'Mutex.acquire, after a wait',
    points: 8,
    guard: 'Txn#3',
    blocker: rivalHolds,
    acquire: (stage) => mutex(stage).acquire(),
  });

  lockHolds({
    name: 'Mutex.tryAcquire, free',
    points: 4,
    guard: 'Txn#2',
    acquire: async (stage) => {
      const tried = await mutex(stage).tryAcquire();
      // By one's own straggler it is not refused: that was resolved before.
      if (!tried.acquired) throw new Error('refused');
      return tried.lock;
    },
  });

  holdsAtEveryPoint<boolean, Held>(
    suite,
    { points: 1 },
    {
      name: 'Mutex.tryAcquire, held by another',
      prepare: rivalHolds,
      run: async (stage) => {
        const tried = await mutex(stage).tryAcquire();
        if (tried.acquired) await tried.lock.release();
        return tried.acquired;
      },
      check: (ending) => {
        unharmed(ending);
        if (ending.ok) expect(ending.result).toBe(false);
      },
      alongside: async (stage, held) => {
        await stage.entered(Number.POSITIVE_INFINITY);
        await held.release();
      },
    },
  );

  holdsAtEveryPoint<number, Held>(
    suite,
    { points: 4 },
    {
      name: 'Mutex.acquire, given up after a time',
      prepare: rivalHolds,
      run: async (stage) => {
        const { value, error } = await outcome(mutex(stage).acquire({ timeoutMs: 250 }));
        await value?.release();
        if (!(error instanceof WaitTimeoutError)) throw error;
        return stage.rival.etcd.count({ prefix: stage.prefix });
      },
      check: (ending) => {
        unharmed(ending);
        // Nothing is left of it, and at once; but what comes late is deleted after it has come.
        if (ending.ok && ending.strike?.fault !== 'late') expect(ending.result).toBe(1);
      },
      alongside: async (stage, held) => {
        await stage.entered(Number.POSITIVE_INFINITY);
        await held.release();
      },
    },
  );

  lockHolds({
    name: 'Mutex.run, entered again inside',
    points: 4,
    guard: 'Txn#2',
    acquire: async (stage) => {
      const reentrant = new Mutex(stage.session, stage.name, { reentrant: true });
      return reentrant.run(async (outer) => {
        await using inner = await reentrant.acquire();
        await write(inner, stage);
        await inner.release();
        outer.assertHeld();
        return outer;
      });
    },
    use: async () => {},
  });

  lockHolds({
    name: 'Mutex.acquire with a lock delay',
    points: 6,
    guard: 'Txn#3',
    acquire: ({ session, name }) => new Mutex(session, name, { lockDelaySeconds: 1 }).acquire(),
  });

  const rw = ({ session, name }: Pick<Stage, 'session' | 'name'>): RWMutex => new RWMutex(session, name);
  const rwHistory = fencedBy(rwKeys);
  const asRival = ({ rival, name }: Stage): RWMutex => rw({ session: rival.session, name });

  for (const way of ['Read', 'Write'] as const) {
    const acquire = (stage: Stage): Promise<Held> => rw(stage)[`acquire${way}`]();
    lockHolds({ name: `RWMutex.acquire${way}, free`, points: 4, guard: 'Txn#2', acquire, history: rwHistory });
    lockHolds({
      name: `RWMutex.tryAcquire${way}, free`,
      points: 4,
      guard: 'Txn#2',
      acquire: async (stage) => {
        const tried = await rw(stage)[`tryAcquire${way}`]();
        if (!tried.acquired) throw new Error('refused');
        return tried.lock;
      },
      history: rwHistory,
    });
    const other = way === 'Read' ? 'Write' : 'Read';
    lockHolds({
      name: `RWMutex.acquire${way}, behind a ${other === 'Read' ? 'reader' : 'writer'}`,
      points: 8,
      guard: 'Txn#3',
      blocker: (stage) => asRival(stage)[`acquire${other}`](),
      acquire,
      history: rwHistory,
    });
  }

  lockHolds({
    name: 'RWMutex: a writer that becomes a reader',
    points: 5,
    guard: 'Txn#3',
    acquire: async (stage) => {
      await using writer = await rw(stage).acquireWrite();
      return await writer.downgrade();
    },
    history: rwHistory,
  });

  const LIMIT = 3;
  const semaphore = ({ session, name }: Pick<Stage, 'session' | 'name'>): Semaphore =>
    new Semaphore(session, name, { limit: LIMIT });
  const permitsHistory = fencedBy((name) => permitKeys(name, LIMIT));
  const mayStay = (key: string): boolean => key === 'limit';

  lockHolds({
    name: 'Semaphore.acquire, enough left',
    points: 4,
    guard: 'Txn#2',
    acquire: (stage) => semaphore(stage).acquire({ permits: 2 }),
    history: permitsHistory,
    mayStay,
  });

  lockHolds({
    name: 'Semaphore.acquire, after a wait',
    points: 8,
    guard: 'Txn#3',
    blocker: ({ rival, name }) => semaphore({ session: rival.session, name }).acquire({ permits: 2 }),
    acquire: (stage) => semaphore(stage).acquire({ permits: 2 }),
    history: permitsHistory,
    mayStay,
  });

  lockHolds({
    name: 'Semaphore.tryAcquire, enough left',
    points: 5,
    guard: 'Txn#2',
    acquire: async (stage) => {
      const tried = await semaphore(stage).tryAcquire({ permits: 2 });
      if (!tried.acquired) throw new Error('refused');
      return tried.held;
    },
    history: permitsHistory,
    mayStay,
  });

  holdsAtEveryPoint<void, Held>(
    suite,
    { points: 8 },
    {
      name: 'Semaphore.acquire, let in by a higher limit',
      prepare: async ({ rival, name }) => {
        const theirs = semaphore({ session: rival.session, name });
        await theirs.setLimit(LIMIT);
        return theirs.acquire({ permits: 2 });
      },
      run: async (stage) => writeAndRelease(await semaphore(stage).acquire({ permits: 2 }), stage),
      alongside: async (stage, held) => {
        await stage.entered(3);
        await stage.watching(2);
        await semaphore({ session: stage.rival.session, name: stage.name }).setLimit(LIMIT + 1);
        await stage.entered(Number.POSITIVE_INFINITY);
        await held.release();
      },
      check: (ending) => {
        unharmed(ending);
        toldBy('Txn#4', ending);
      },
      mayStay,
    },
  );

  const both = ({ name }: Stage): string[] => [`${name}-b`, `${name}-a`];

  holdsAtEveryPoint<void, Held>(
    suite,
    { points: 12 },
    {
      name: 'acquireAll, the second one after a wait',
      prepare: ({ rival, name }) => new Mutex(rival.session, `${name}-b`).acquire(),
      run: async (stage) => {
        await using locks = await acquireAll(stage.session, both(stage));
        locks.assertHeld();
        for (const lock of locks.locks) await write(lock, { ...stage, name: lock.key.split('/')[0] as string });
        await locks.release();
      },
      check: unharmed,
      alongside: async (stage, held) => {
        await stage.watching(3);
        await held.release();
      },
      checkHistory: (events, { name }) => {
        for (const each of [`${name}-a`, `${name}-b`]) fencedBy(mutexKeys)(events, { name: each });
      },
    },
  );
});

/** The barriers and the latch, struck by every fault at every await point. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { Barrier } from '../../recipes/barrier.ts';
import { DoubleBarrier } from '../../recipes/double-barrier.ts';
import { LostError } from '../../recipes/errors.ts';
import { Latch } from '../../recipes/latch.ts';
import type { Revision } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { giveUp, unknownAfter } from './await-point-endings.ts';
import { holdsAtEveryPoint, type KeyEvent, type Stage } from './await-points.ts';
import { expectFenced } from './fenced-history.ts';
import { outcome, until, untilEmpty } from './lock-bed.ts';

/** What has happened so far, for those who wait for it. */
interface Scene {
  /** Whether what is waited for may have happened. */
  happened: boolean;
}

/** So long nothing happens after a wait was struck: one that ends then was not waiting for what it says. */
const TEMPTING_MS = 200;

const nothingYet = async (): Promise<Scene> => ({ happened: false });

describeOnRealEtcd('The barrier at every await point', (suite) => {
  holdsAtEveryPoint(
    suite,
    { points: 4 },
    {
      name: 'hold, guard, release',
      run: async ({ session, etcd, name }) => {
        await using held = await new Barrier(session, name).hold();
        await held.guard({ then: [etcd.op.put(`${name}-data`, String(held.token))] }).catch((error: unknown) => {
          if ((error as { applied?: string }).applied !== 'maybe') throw error;
        });
        await held.release();
      },
      check: async (ending, { rival, name }) => {
        unknownAfter(ending);
        await new Barrier(rival.session, name).wait({ timeoutMs: 5_000 });
      },
      checkHistory: (events, { name }) => {
        expect(expectFenced(events, { queue: `${name}/holder/`, data: `${name}-data` }).length).toBeGreaterThan(0);
      },
    },
  );

  holdsAtEveryPoint<void, Scene & { open(): Promise<void> }>(
    suite,
    { points: 2 },
    {
      name: 'wait until it is opened',
      prepare: async ({ rival, name }) => {
        const held = await new Barrier(rival.session, name).hold();
        const scene = {
          happened: false,
          async open() {
            scene.happened = true;
            await held.release();
          },
        };
        return scene;
      },
      run: async ({ session, name }, scene) => {
        await new Barrier(session, name).wait();
        expect(scene.happened).toBe(true);
      },
      alongside: async ({ watching }, scene) => {
        await watching(1);
        await sleep(TEMPTING_MS);
        await scene.open();
      },
      check: (ending) => void unknownAfter(ending),
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 2 },
    {
      name: 'wait, and give up',
      prepare: ({ rival, name }) => new Barrier(rival.session, name).hold(),
      run: ({ watching, session, name }) =>
        giveUp({ watching }, 1, (signal) => new Barrier(session, name).wait({ signal })),
      check: async (ending) => {
        unknownAfter(ending);
        await ending.scene.release();
      },
    },
  );

  holdsAtEveryPoint<void, { token: Revision | undefined; opened: boolean }>(
    suite,
    { points: 2 },
    {
      name: 'close for good, and open',
      prepare: async () => ({ token: undefined, opened: false }),
      run: async ({ session, name }, scene) => {
        const barrier = new Barrier(session, name);
        scene.token = await barrier.close();
        scene.opened = await barrier.open({ token: scene.token });
      },
      check: async (ending, { rival, name }) => {
        const unknown = unknownAfter(ending);
        const barrier = new Barrier(rival.session, name);
        const { token, opened } = ending.scene;
        if (ending.ok) expect(opened).toBe(true);
        const holder = await barrier.holder();
        // It was not closed, if closing has failed for certain.
        if (token === undefined && !unknown) expect(holder).toBeUndefined();
        if (token !== undefined && holder !== undefined) expect(holder).toMatchObject({ token, permanent: true });
        if (opened) expect(holder).toBeUndefined();
        await barrier.open();
      },
    },
  );
});

describeOnRealEtcd('The double barrier at every await point', (suite) => {
  interface Both {
    /** Who has begun to do what. */
    readonly said: Set<string>;
  }
  const said = async (): Promise<Both> => ({ said: new Set() });

  /** Nothing is begun without the other, and nothing ended. */
  const takePart = async (
    session: Stage['session'],
    name: string,
    me: string,
    other: string,
    scene: Both,
    signal?: AbortSignal,
  ): Promise<void> => {
    const barrier = new DoubleBarrier(session, name, { count: 2 });
    scene.said.add(`${me} enters`);
    await using round = await barrier.enter({ signal });
    expect(scene.said).toContain(`${other} enters`);
    scene.said.add(`${me} leaves`);
    await round.leave();
    // Who has died inside counts as gone.
    if (me === 'actor') expect(scene.said).toContain(`${other} leaves`);
  };

  for (const first of ['actor', 'rival'] as const) {
    holdsAtEveryPoint<void, Both>(
      suite,
      { points: first === 'actor' ? 4 : 3 },
      {
        name: `enter with another, leave with it; the ${first} is first`,
        // The rival can leave when a stalled actor's lease has run out.
        ttlSeconds: 4,
        prepare: said,
        run: async (stage, scene) => {
          // As soon as the rival has a place.
          if (first === 'rival') await until(async () => (await stage.rival.etcd.count({ prefix: stage.prefix })) > 0);
          await takePart(stage.session, stage.name, 'actor', 'rival', scene);
        },
        alongside: async ({ rival, name, over, watching }, scene) => {
          if (first === 'actor') {
            await watching(1);
            await sleep(TEMPTING_MS);
          }
          const mine = await outcome(takePart(rival.session, name, 'rival', 'actor', scene, over));
          if (mine.error !== undefined && !over.aborted) throw mine.error;
        },
        check: async (ending, { rival, prefix }) => {
          unknownAfter(ending);
          await untilEmpty(rival.etcd, prefix);
        },
        checkHistory: expectWholeRounds,
      },
    );
  }

  holdsAtEveryPoint(
    suite,
    { points: 2 },
    {
      name: 'enter, and give up',
      run: ({ watching, session, name }) =>
        giveUp({ watching }, 1, (signal) => new DoubleBarrier(session, name, { count: 2 }).enter({ signal })),
      check: async (ending, { rival, prefix }) => {
        unknownAfter(ending);
        await untilEmpty(rival.etcd, prefix);
      },
    },
  );

  /** A round begins for all its places at one revision. */
  function expectWholeRounds(events: readonly KeyEvent[], { prefix }: Stage): void {
    const begun = new Map<string, Map<string, Revision>>();
    for (const { type, key, value, revision } of events) {
      if (type !== 'put' || !key.startsWith(prefix)) continue;
      const { round } = JSON.parse(value) as { round?: string };
      if (round === undefined) continue;
      const places = begun.get(round) ?? new Map<string, Revision>();
      begun.set(round, places);
      if (!places.has(key)) places.set(key, revision);
    }
    for (const places of begun.values()) {
      expect(places.size).toBe(2);
      expect(new Set(places.values()).size).toBe(1);
    }
    expect(begun.size).toBeGreaterThan(0);
  }
});

describeOnRealEtcd('The latch at every await point', (suite) => {
  const deleteLatch = ({ rival, name }: Stage) => new Latch(rival.session, name).delete();

  holdsAtEveryPoint<void, { counted: number }>(
    suite,
    { points: 4 },
    {
      name: 'count down, with an id and without, and wait',
      prepare: async ({ rival, name }) => {
        await new Latch(rival.session, name).create(3);
        return { counted: 0 };
      },
      run: async ({ session, name }, scene) => {
        const latch = new Latch(session, name);
        for (const id of ['mine', undefined, undefined]) {
          await latch.countDown({ id });
          scene.counted += 1;
        }
        await latch.wait();
      },
      check: async (ending, stage) => {
        const unknown = unknownAfter(ending);
        const { counted } = ending.scene;
        const left = await new Latch(stage.rival.session, stage.name).remaining();
        expect(unknown ? [3 - counted, 2 - counted] : [3 - counted]).toContain(left);
        await deleteLatch(stage);
      },
    },
  );

  holdsAtEveryPoint<void, Scene>(
    suite,
    { points: 3 },
    {
      name: 'wait until others have counted down',
      prepare: async ({ rival, name }) => {
        await new Latch(rival.session, name).create(2);
        return nothingYet();
      },
      run: async ({ session, name }, scene) => {
        await new Latch(session, name).wait();
        expect(scene.happened).toBe(true);
      },
      alongside: async ({ rival, name, watching }, scene) => {
        await watching(2);
        await sleep(TEMPTING_MS);
        const latch = new Latch(rival.session, name);
        await latch.countDown();
        scene.happened = true;
        await latch.countDown();
      },
      check: async (ending, stage) => {
        unknownAfter(ending);
        await deleteLatch(stage);
      },
    },
  );

  holdsAtEveryPoint<void, { steps: number }>(
    suite,
    { points: 3 },
    {
      name: 'create, count down, delete',
      prepare: async () => ({ steps: 0 }),
      run: async ({ session, name }, scene) => {
        const latch = new Latch(session, name);
        expect(await latch.create(5)).toBe(5);
        scene.steps = 1;
        expect(await latch.countDown()).toBe(4);
        scene.steps = 2;
        await latch.delete();
        scene.steps = 3;
      },
      check: async (ending, stage) => {
        const unknown = unknownAfter(ending);
        const left = await new Latch(stage.rival.session, stage.name).remaining();
        const at = [undefined, 5, 4, undefined];
        const { steps } = ending.scene;
        expect(unknown ? [at[steps], at[steps + 1]] : [at[steps]]).toContain(left);
        await deleteLatch(stage);
      },
    },
  );

  // A wait that is told that the latch does not exist is not told that it is open.
  holdsAtEveryPoint(
    suite,
    { points: 1 },
    {
      name: 'wait for one that is not there',
      run: async ({ session, name }) => {
        const { error } = await outcome(new Latch(session, name).wait());
        expect(error).toBeDefined();
        if (error instanceof LostError || (error as { code?: string }).code !== 'lost') throw error;
      },
      check: (ending) => void unknownAfter(ending),
    },
  );
});

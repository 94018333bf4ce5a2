/** The cron, struck by every fault at every await point: no tick is run twice, and none is lost without a word. */
import { expect } from 'vitest';
import { Cron, type CronRecord } from '../../recipes/cron/cron.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { holdsAtEveryPoint, type KeyEvent, type Stage } from './await-points.ts';
import { ManualWall, MINUTE, NOON, noting } from './cron-bed.ts';
import { until } from './lock-bed.ts';

/** What the handlers of one name have seen, whoever ran them. */
const ran = new Map<string, number[]>();

/** Runs the ticks of two minutes after `from`, each when the last has ended; each run writes under its claim. */
async function twoTicks({ session, etcd, name, rival }: Stage, from: number): Promise<CronRecord[]> {
  const minutes = ran.get(name) ?? [];
  ran.set(name, minutes);
  const wallClock = new ManualWall(NOON + from * MINUTE);
  const job = noting(minutes, {
    misfire: 'skip',
    handler: async ({ tick, held }) => {
      const minute = (tick.getTime() - NOON) / MINUTE;
      minutes.push(minute);
      await held.guard({ then: [etcd.op.put(`${name}-effect-${minute}`, String(held.token))] });
    },
  });
  const cron = new Cron(session, name, [job], { wallClock });
  const stop = new AbortController();
  let over = false;
  const running = cron.run({ signal: stop.signal }).finally(() => {
    over = true;
  });
  running.catch(() => {});
  const claims = { prefix: `${name}/tidy/claims/` };
  // In this order: one that waits for its clock claims nothing more, so what is claimed then is all that still runs.
  const idle = (): Promise<void> =>
    until(async () => over || (wallClock.waiting === 1 && (await rival.etcd.count(claims)) === 0));
  for (const minute of [from + 1, from + 2]) {
    await idle();
    wallClock.set(minute);
    await until(() => over || minutes.includes(minute));
  }
  await idle();
  stop.abort();
  await running;
  return cron.history('tidy');
}

/** Each tick was claimed once, ran once, and had its effect at most once, under its claim. */
function once(events: readonly KeyEvent[], { name }: Stage): void {
  const seen = ran.get(name)!;
  expect(new Set(seen).size).toBe(seen.length);
  const puts = events.filter(({ type }) => type === 'put');
  const created = puts.filter(({ revision, createRevision }) => revision === createRevision);
  const runs = created.filter(({ key }) => key.startsWith(`${name}/tidy/runs/`));
  const ticks = runs.filter(({ value }) => (JSON.parse(value) as { status: string }).status === 'running');
  const claims = created.filter(({ key }) => key.startsWith(`${name}/tidy/claims/`));
  expect(claims.map(({ revision }) => revision)).toEqual(ticks.map(({ revision }) => revision));
  // What was claimed and has not run: its process had lost its claim before it could begin.
  expect(ticks.length).toBeGreaterThanOrEqual(seen.length);
  const effects = puts.filter(({ key }) => key.startsWith(`${name}-effect-`));
  expect(new Set(effects.map(({ key }) => key)).size).toBe(effects.length);
  for (const { value, revision } of effects) {
    const claim = claims.find((each) => String(each.createRevision) === value)!;
    const gone = events.find(({ type, key, revision: at }) => type === 'delete' && key === claim.key && at < revision);
    expect(gone, 'an effect after its claim').toBeUndefined();
  }
}

describeOnRealEtcd('The cron at every await point', (suite) => {
  holdsAtEveryPoint(
    suite,
    { points: 11 },
    {
      name: 'two ticks, from the first start to the end',
      run: (stage) => twoTicks(stage, 0),
      check: ({ ok, result }) => {
        if (!ok) return;
        const ended = result!.map(({ tick, status }) => [(tick.getTime() - NOON) / MINUTE, status]);
        expect(ended.map(([minute]) => minute)).toEqual([2, 1]);
        for (const [, status] of ended) expect(['done', 'failed', 'lost']).toContain(status);
      },
      // Nobody makes up for what the first has not come to; from here on all is as ever.
      again: async (stage) => {
        const history = await twoTicks(stage, 10);
        expect(history.slice(0, 2).map(({ status }) => status)).toEqual(['done', 'done']);
        expect(ran.get(stage.name)!.slice(-2)).toEqual([11, 12]);
      },
      checkHistory: once,
      mayStay: (key) => key === 'tidy/last' || key.startsWith('tidy/runs/'),
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 3 },
    {
      name: 'a tick that another runs, who is waited for',
      prepare: async ({ rival, name }) => {
        const wallClock = new ManualWall();
        let finish!: () => void;
        const finished = new Promise<void>((resolve) => {
          finish = resolve;
        });
        ran.set(name, ran.get(name) ?? []);
        const job = noting([], { overlap: 'wait', handler: () => finished });
        const cron = new Cron(rival.session, name, [job], { wallClock });
        const stop = new AbortController();
        const running = cron.run({ signal: stop.signal });
        await until(() => wallClock.waiting === 1);
        wallClock.set(1);
        await until(async () => (await rival.etcd.count({ prefix: `${name}/tidy/claims/` })) === 1);
        return {
          async end() {
            finish();
            stop.abort();
            await running;
          },
        };
      },
      run: async ({ session, name }) => {
        const minutes = ran.get(name)!;
        const wallClock = new ManualWall(NOON + 2 * MINUTE);
        const cron = new Cron(session, name, [noting(minutes, { overlap: 'wait' })], { wallClock });
        const stop = new AbortController();
        let over = false;
        const running = cron.run({ signal: stop.signal }).finally(() => {
          over = true;
        });
        running.catch(() => {});
        await until(() => over || (minutes.length > 0 && wallClock.waiting === 1));
        stop.abort();
        await running;
      },
      alongside: async (stage, rival) => {
        await stage.watching(1);
        await rival.end();
      },
      check: ({ ok }, { name }) => {
        if (ok) expect(ran.get(name)).toEqual([2]);
      },
      again: async (stage) => {
        await twoTicks(stage, 10);
        expect(ran.get(stage.name)!.slice(-2)).toEqual([11, 12]);
      },
      checkHistory: once,
      mayStay: (key) => key === 'tidy/last' || key.startsWith('tidy/runs/'),
    },
  );
});

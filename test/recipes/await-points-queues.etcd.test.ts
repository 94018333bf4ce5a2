/** The queues, struck by every fault at every await point. */
import { expect } from 'vitest';
import { DelayQueue } from '../../recipes/queue/delay-queue.ts';
import { PriorityQueue } from '../../recipes/queue/priority-queue.ts';
import { Queue } from '../../recipes/queue/queue.ts';
import type { Job } from '../../recipes/queue/work/job.ts';
import { WorkQueue } from '../../recipes/queue/work/work-queue.ts';
import type { Session } from '../../recipes/session.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { type AnyEnding, giveUp, unknownAfter } from './await-point-endings.ts';
import { type Ending, holdsAtEveryPoint, type KeyEvent, type Stage } from './await-points.ts';
import { until } from './lock-bed.ts';

/** The three queues of items as one. */
interface Kind {
  readonly name: string;
  readonly folder: string;
  readonly open: (session: Session, name: string) => Pick<Queue, 'enqueue' | 'dequeue' | 'tryDequeue' | 'count'>;
}

const KINDS: readonly Kind[] = [
  { name: 'Queue', folder: 'queue', open: (session, name) => new Queue(session, name) },
  { name: 'PriorityQueue', folder: 'priority', open: (session, name) => new PriorityQueue(session, name) },
  {
    name: 'DelayQueue',
    folder: 'delay',
    open: (session, name) => {
      const queue = new DelayQueue(session, name);
      // Each is due later than the one before: at the same microsecond there is no order.
      let puts = 0;
      return {
        enqueue: (value, options) => queue.enqueue(value, { ...options, delayMs: 10 + 5 * ++puts }),
        dequeue: (options) => queue.dequeue(options),
        tryDequeue: (options) => queue.tryDequeue(options),
        count: (options) => queue.count(options),
      };
    },
  },
];

const VALUES = ['a', 'b', 'c'];

/** Takes all that is in a queue, as the rival. */
async function drain(kind: Kind, { rival, name }: Stage): Promise<string[]> {
  const queue = kind.open(rival.session, name);
  const values: string[] = [];
  while ((await queue.count()) > 0) values.push((await queue.dequeue({ timeoutMs: 5_000 })).value);
  return values;
}

/** What was taken is out of the queue, all else is still there. */
async function expectRest(
  kind: Kind,
  ending: Ending<void, string[]>,
  stage: Stage,
  all: readonly string[],
): Promise<void> {
  const unknown = unknownAfter(ending);
  const { length } = ending.scene;
  expect(ending.scene).toEqual(all.slice(0, length));
  const rest = await drain(kind, stage);
  // What nobody heard of is put back as long as the session lives; with that it is lost: at most once.
  if (unknown) expect([all.slice(length), all.slice(length + 1)]).toContainEqual(rest);
  else expect(rest).toEqual(all.slice(length));
}

/** In the order of the store nothing is taken before what stands before it, and nothing comes twice. */
function expectInOrder({ folder }: Kind, events: readonly KeyEvent[], { prefix }: Stage): void {
  const items = `${prefix}${folder}/items/`;
  const present = new Set<string>();
  let taken = 0;
  for (const { type, key } of events.filter((event) => event.key.startsWith(items))) {
    if (type === 'put') present.add(key);
    else {
      expect(key).toBe([...present].sort()[0]);
      present.delete(key);
      taken += 1;
    }
  }
  expect(taken).toBeGreaterThan(0);
}

/** Nobody stands in the line any more, although the session that stood there may still live. */
async function expectLeft(ending: AnyEnding, { rival, prefix }: Stage, folder: string): Promise<void> {
  unknownAfter(ending);
  await until(async () => (await rival.etcd.count({ prefix: prefix + folder })) === 0);
}

describeOnRealEtcd('The queues at every await point', (suite) => {
  for (const kind of KINDS) {
    holdsAtEveryPoint<void, { readonly put: string[]; readonly taken: string[] }>(
      suite,
      { points: 3 },
      {
        name: `${kind.name}: put, while another takes`,
        prepare: async () => ({ put: [], taken: [] }),
        run: async ({ session, name }, { put }) => {
          const queue = kind.open(session, name);
          for (const value of VALUES) {
            await queue.enqueue(value);
            put.push(value);
          }
        },
        // What was taken can be put once more, unless the recipe sees to it that it is not.
        alongside: async ({ rival, name, over }, { taken }) => {
          const queue = kind.open(rival.session, name);
          while (!over.aborted) {
            const item = await queue.tryDequeue();
            if (item !== undefined) taken.push(item.value);
          }
        },
        check: async (ending, stage) => {
          const unknown = unknownAfter(ending);
          const { put, taken } = ending.scene;
          const all = [...taken, ...(await drain(kind, stage))];
          if (unknown) expect([put, VALUES.slice(0, put.length + 1)]).toContainEqual(all);
          else expect(all).toEqual(put);
        },
        checkHistory: (events, stage) => expectInOrder(kind, events, stage),
      },
    );

    holdsAtEveryPoint<void, string[]>(
      suite,
      { points: 3 },
      {
        name: `${kind.name}: take two of three`,
        prepare: async ({ rival, name }) => {
          const queue = kind.open(rival.session, name);
          for (const value of VALUES) await queue.enqueue(value);
          return [];
        },
        run: async ({ session, name }, taken) => {
          const queue = kind.open(session, name);
          for (let n = 0; n < 2; n++) taken.push((await queue.dequeue()).value);
        },
        check: (ending, stage) => expectRest(kind, ending, stage, VALUES),
        checkHistory: (events, stage) => expectInOrder(kind, events, stage),
      },
    );

    holdsAtEveryPoint<void, string[]>(
      suite,
      { points: 4 },
      {
        name: `${kind.name}: wait for an item`,
        prepare: async () => [],
        run: async ({ session, name }, taken) => {
          taken.push((await kind.open(session, name).dequeue()).value);
        },
        alongside: async ({ rival, watching, name }) => {
          await watching(2);
          await kind.open(rival.session, name).enqueue('x');
        },
        check: (ending, stage) => expectRest(kind, ending, stage, ['x']),
        checkHistory: (events, stage) => expectInOrder(kind, events, stage),
      },
    );

    holdsAtEveryPoint(
      suite,
      { points: 4 },
      {
        name: `${kind.name}: wait, and give up`,
        run: (stage) => giveUp(stage, 2, (signal) => kind.open(stage.session, stage.name).dequeue({ signal })),
        check: (ending, stage) => expectLeft(ending, stage, `${kind.folder}/waiters/`),
      },
    );
  }
});

const RULES = { retryDelayMs: () => 0, maxAttempts: 20 };

/** The effect of a job, which is to happen once. */
const effectOf = ({ name }: Pick<Stage, 'name'>) => `${name}-effect`;

async function ackWithEffect(job: Job, session: Session, stage: Stage): Promise<void> {
  const put = session.etcd.op.put(effectOf(stage), String(job.token));
  expect(await job.ack({ then: [put] })).toMatchObject({ acked: true });
}

/** Whatever became of the actor, the job is somewhere, or it was done; then another does it, and it was done once. */
async function expectDoneOnce(ending: AnyEnding, stage: Stage): Promise<void> {
  unknownAfter(ending);
  const { rival, name } = stage;
  const queue = new WorkQueue(rival.session, name, RULES);
  const { ready, delayed, inFlight, dead } = await queue.depth();
  expect(ready + delayed + inFlight + dead).toBeLessThanOrEqual(1);
  if (ready + delayed + inFlight + dead > 0) {
    for await (const { id } of queue.deadLetters.list()) await queue.deadLetters.requeue(id);
    await ackWithEffect(await queue.claim({ timeoutMs: 8_000 }), rival.session, stage);
  }
  expect(await rival.etcd.get(effectOf(stage))).toMatchObject({ version: 1n });
  expect(await queue.depth()).toMatchObject({ ready: 0, delayed: 0, inFlight: 0, dead: 0 });
  await rival.etcd.delete(effectOf(stage));
}

/** One claim at a time for each job, with growing tokens; each effect under the claim that was there. */
function oneClaimAtATime(events: readonly KeyEvent[], stage: Stage): void {
  const claims = new Map<string, KeyEvent>();
  const last = new Map<string, bigint>();
  const folder = `${stage.prefix}work/inflight/claims/`;
  let effects = 0;
  for (const event of events) {
    if (event.key === effectOf(stage) && event.type === 'put') {
      effects += 1;
      // The claim goes with the ack: its delete may stand before or after the effect in the same revision.
      const live = events.filter(
        ({ key, type, revision }) => key.startsWith(folder) && type === 'delete' && revision === event.revision,
      );
      expect(live).toHaveLength(1);
      expect(event.value).toBe(String(last.get(jobOf(live[0]!.key))));
    }
    if (!event.key.startsWith(folder)) continue;
    const job = jobOf(event.key);
    if (event.type === 'delete') {
      if (claims.get(job)?.key === event.key) claims.delete(job);
    } else if (event.createRevision === event.revision) {
      expect([job, claims.get(job)]).toEqual([job, undefined]);
      expect(event.revision).toBeGreaterThan(last.get(job) ?? 0n);
      claims.set(job, event);
      last.set(job, event.revision);
    }
  }
  expect(effects).toBeGreaterThan(0);
}

function jobOf(claim: string): string {
  return claim.slice(claim.lastIndexOf('/') + 1);
}

describeOnRealEtcd('The work queue at every await point', (suite) => {
  holdsAtEveryPoint(
    suite,
    { points: 2 },
    {
      name: 'put, twice with the same dedupe key',
      run: async ({ session, name }) => {
        const queue = new WorkQueue(session, name, RULES);
        const first = await queue.enqueue('a', { dedupe: 'k' });
        const second = await queue.enqueue('a', { dedupe: 'k' });
        return [first, second].map(({ enqueued, id }) => [enqueued, id]);
      },
      check: async (ending, stage) => {
        const unknown = unknownAfter(ending);
        if (ending.result !== undefined) {
          const [[, id] = []] = ending.result;
          expect(ending.result).toEqual([
            [true, id],
            [false, id],
          ]);
        }
        const queue = new WorkQueue(stage.rival.session, stage.name, RULES);
        const { ready } = await queue.depth();
        if (ending.ok) expect(ready).toBe(1);
        else expect(ready).toBeLessThanOrEqual(1);
        if (ready === 0) expect(unknown || !ending.ok).toBe(true);
        else await (await queue.claim({ timeoutMs: 5_000 })).ack();
        // With the job its dedupe key goes.
        expect(await stage.rival.etcd.count({ prefix: `${stage.prefix}work/dedupe/` })).toBe(0);
      },
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 2 },
    {
      name: 'put with a dedupe key that outlives the job',
      run: ({ session, name }) =>
        new WorkQueue(session, name, RULES).enqueue('a', { dedupe: { key: 'k', seconds: 60 } }),
      check: async (ending, stage) => {
        const unknown = unknownAfter(ending);
        const queue = new WorkQueue(stage.rival.session, stage.name, RULES);
        const { ready } = await queue.depth();
        if (!unknown) expect(ready).toBe(ending.ok ? 1 : 0);
        if (ready === 1) await (await queue.claim({ timeoutMs: 5_000 })).ack();
        await stage.rival.etcd.delete({ prefix: `${stage.prefix}work/dedupe/` });
      },
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 5 },
    {
      name: 'claim, ack with effects',
      prepare: async ({ rival, name }) => {
        await new WorkQueue(rival.session, name, RULES).enqueue('a');
      },
      run: async (stage) => {
        await using job = await new WorkQueue(stage.session, stage.name, RULES).claim();
        await ackWithEffect(job, stage.session, stage);
      },
      check: expectDoneOnce,
      checkHistory: oneClaimAtATime,
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 6 },
    {
      name: 'wait for a job, ack with effects',
      run: async (stage) => {
        await using job = await new WorkQueue(stage.session, stage.name, RULES).claim();
        await ackWithEffect(job, stage.session, stage);
      },
      alongside: async ({ rival, name, watching }) => {
        await watching(2);
        await new WorkQueue(rival.session, name, RULES).enqueue('a');
      },
      check: expectDoneOnce,
      checkHistory: oneClaimAtATime,
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 12 },
    {
      name: 'claim, extend, nack, claim, bury, requeue, claim, hand back, claim, ack with effects',
      prepare: async ({ rival, name }) => {
        await new WorkQueue(rival.session, name, RULES).enqueue('a');
      },
      run: async (stage) => {
        const queue = new WorkQueue(stage.session, stage.name, { ...RULES, visibilityMs: 20_000 });
        await using first = await queue.claim();
        await first.extend();
        await first.nack({ delayMs: 0 });
        await using second = await queue.claim();
        await second.bury('unwanted');
        // Whoever lost an answer may find it moved already.
        expect(await queue.deadLetters.requeue(second.id)).toBe(true);
        await using third = await queue.claim();
        await third.handBack();
        await using fourth = await queue.claim();
        await ackWithEffect(fourth, stage.session, stage);
      },
      check: expectDoneOnce,
      checkHistory: oneClaimAtATime,
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 5 },
    {
      name: 'wait for a job, and give up',
      run: (stage) => giveUp(stage, 2, (signal) => new WorkQueue(stage.session, stage.name).claim({ signal })),
      check: (ending, stage) => expectLeft(ending, stage, 'work/waiters/'),
    },
  );
});

/** The work queue on real etcd: what it promises while nothing breaks, and what that costs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { DeadLetter } from '../../recipes/queue/work/dead-letters.ts';
import type { Job } from '../../recipes/queue/work/job.ts';
import { WorkQueue } from '../../recipes/queue/work/work-queue.ts';
import { json } from '../../src/index.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { KEEPER_WATCHES, keysBelow, newName, outcome, Party, SteppedClock, until } from './queue-bed.ts';

const noDelay = (): number => 0;

async function deadOf<V>(queue: WorkQueue<V>): Promise<DeadLetter<V>[]> {
  const letters: DeadLetter<V>[] = [];
  for await (const letter of queue.deadLetters.list()) letters.push(letter);
  return letters;
}

describeOnEtcd('WorkQueue', (suite) => {
  it('costs one round trip to put, two to claim, and one to ack with effects, extend, nack and bury', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name, { codec: json<{ n: number }>() });
    // Starts the keeper, so that what it does at its start does not mix into the counts.
    expect(await queue.tryClaim()).toBeUndefined();
    await one.watching(KEEPER_WATCHES);
    expect(await one.roundTrips(() => queue.enqueue({ n: 1 }))).toBe(1);
    expect(await queue.depth()).toMatchObject({ ready: 1, delayed: 0, inFlight: 0, dead: 0 });
    let job: Job<{ n: number }> | undefined;
    const claiming = await one.roundTrips(async () => {
      job = await queue.tryClaim();
    });
    expect(claiming).toBe(2);
    expect(job).toMatchObject({ value: { n: 1 }, attempt: 1, held: true });
    expect(await queue.depth()).toMatchObject({ ready: 0, inFlight: 1 });
    const { op } = one.etcd;
    const acking = await one.roundTrips(async () => {
      const acked = await job!.ack({ then: [op.put(`${name}-effect`, 'done'), op.get(`${name}-effect`)] });
      expect(acked.acked && acked.results![1]!.value).toBe('done');
    });
    expect(acking).toBe(1);
    // The keeper sees that the job was settled, and has nothing to ask.
    const after = one.calls;
    await one.quiet();
    expect(one.calls).toBe(after);
    // What a look has shown is claimed later without another.
    for (const n of [2, 3]) await queue.enqueue({ n });
    for (const trips of [2, 1]) {
      const spent = await one.roundTrips(async () => {
        await using next = (await queue.tryClaim())!;
        await next.ack();
      });
      expect(spent).toBe(trips + 1);
    }
    await queue.enqueue({ n: 4 });
    const given = (await queue.tryClaim())!;
    expect(await one.roundTrips(() => given.extend({ visibilityMs: 60_000 }))).toBe(1);
    expect(await one.roundTrips(() => given.nack({ delayMs: 0 }))).toBe(1);
    const buried = (await queue.tryClaim())!;
    expect(await one.roundTrips(() => buried.bury('unwanted'))).toBe(1);
    expect(await one.roundTrips(() => queue.deadLetters.discard(buried.id))).toBe(2);
    expect(job).toMatchObject({ held: false, open: false });
    expect(job!.signal.aborted).toBe(true);
    await expect(job!.ack()).rejects.toMatchObject({ code: 'released' });
    await one.quiet();
    await one.session.close();
    expect(await one.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('wakes one of the waiting workers for a job, which claims it by one round trip', async () => {
    await using one = await Party.join(suite);
    await using two = await Party.join(suite);
    await using producer = await Party.join(suite);
    const name = newName();
    const served: string[] = [];
    const claim = (party: Party, who: string) =>
      new WorkQueue(party.session, name).claim().then((job) => {
        served.push(who);
        return job;
      });
    const first = claim(one, 'one');
    await until(async () => (await keysBelow(producer.etcd, `${name}/work/waiters/`)).length === 1);
    const second = claim(two, 'two');
    await until(async () => (await keysBelow(producer.etcd, `${name}/work/waiters/`)).length === 2);
    // One watches as keeper and as the first of the line, two waits behind it in both.
    await Promise.all([one.watching(KEEPER_WATCHES + 2), two.watching(2 + 2)]);
    const before = [one.calls, two.calls];
    await new WorkQueue(producer.session, name).enqueue('a');
    await first;
    await until(() => two.calls - before[1]! >= 2);
    await Promise.all([one.quiet(), two.quiet()]);
    expect([one.calls - before[0]!, two.calls - before[1]!]).toEqual([1, 2]);
    expect(served).toEqual(['one']);
    await new WorkQueue(producer.session, name).enqueue('b');
    await (await second).ack();
    await (await first).ack();
    expect(await keysBelow(producer.etcd, `${name}/work/waiters/`)).toEqual([]);
  });

  it('does the effects of an ack only if the conditions of the job hold too', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name);
    await queue.enqueue('a');
    await using job = await queue.claim();
    const { etcd } = one;
    const spec = { if: [etcd.key(`${name}-stock`).exists], then: [etcd.op.put(`${name}-sold`, '1')] };
    expect(await job.ack(spec)).toMatchObject({ acked: false });
    expect(await etcd.get(`${name}-sold`)).toBeUndefined();
    expect(job.held).toBe(true);
    await etcd.put(`${name}-stock`, '1');
    expect(await job.ack(spec)).toMatchObject({ acked: true });
    expect((await etcd.get(`${name}-sold`))!.value).toBe('1');
    expect(await queue.depth()).toMatchObject({ ready: 0, inFlight: 0 });
  });

  it('tries a failed job again, later, and gives it up after the last attempt', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    let now = 1_800_000_000_000;
    const options = { maxAttempts: 2, retryDelayMs: (n: number) => n * 1_000, wallClock: () => now };
    const queue = new WorkQueue(one.session, name, options);
    const { id } = await queue.enqueue('a');
    await (await queue.claim()).nack({ reason: 'not today' });
    expect(await queue.depth()).toMatchObject({ ready: 0, delayed: 1, inFlight: 0, dead: 0 });
    now += 999;
    await queue.enqueue('later', { delayMs: 0.5 }); // makes the keeper look
    await sleep(100);
    expect(await queue.depth()).toMatchObject({ ready: 0, delayed: 2 });
    now += 1;
    const jobs = [await queue.claim(), await queue.claim()];
    const again = jobs.find((job) => job.id === id)!;
    expect(again.attempt).toBe(2);
    await again.nack({ reason: 'never' });
    for (const job of jobs) if (job !== again) await job.ack();
    const [letter, ...others] = await deadOf(queue);
    expect(others).toEqual([]);
    expect(letter).toMatchObject({ id, attempts: 2, reason: 'never', diedAt: new Date(now) });
    expect(letter!.payload!.value).toBe('a');
    expect(await queue.deadLetters.requeue('no such job')).toBe(false);
    expect(await queue.deadLetters.requeue(id)).toBe(true);
    expect(await queue.deadLetters.requeue(id)).toBe(false);
    const third = await queue.claim();
    expect(third.attempt).toBe(1);
    await third.bury('by hand');
    expect(await queue.deadLetters.discard(id)).toBe(true);
    await one.quiet();
    await one.session.close();
    expect(await one.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('puts no second job with the same dedupe key while the first is there', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name, { maxAttempts: 1 });
    const first = await queue.enqueue('a', { dedupe: 'order/1' });
    expect(first.enqueued).toBe(true);
    expect(await queue.enqueue('b', { dedupe: 'order/1' })).toMatchObject({ enqueued: false, id: first.id });
    const job = await queue.claim();
    expect(await queue.enqueue('b', { dedupe: 'order/1' })).toMatchObject({ enqueued: false, id: first.id });
    await job.nack();
    expect(await queue.enqueue('b', { dedupe: 'order/1' })).toMatchObject({ enqueued: false, id: first.id });
    await queue.deadLetters.requeue(first.id);
    await (await queue.claim()).ack();
    expect(await queue.enqueue('b', { dedupe: 'order/1' })).toMatchObject({ enqueued: true });
    const timed = { dedupe: { key: 'order/2', seconds: 2 } };
    const second = await queue.enqueue('c', timed);
    for (const _ of [1, 2]) await (await queue.claim()).ack();
    expect(await queue.enqueue('c', timed)).toMatchObject({ enqueued: false, id: second.id });
    await until(async () => (await queue.enqueue('c', timed)).enqueued);
  });

  it('puts a job in the transaction that settles another', async () => {
    await using one = await Party.join(suite);
    const queue = new WorkQueue(one.session, newName());
    await queue.enqueue('first');
    const job = await queue.claim();
    await job.ack({ then: queue.operations('second') });
    const next = await queue.claim();
    expect(next.value).toBe('second');
    await next.ack();
    expect(await queue.depth()).toMatchObject({ ready: 0, inFlight: 0 });
  });

  it('gives a job whose time is over to another, unless it is extended', async () => {
    // Longer than a call may take, and shorter than anything else here is timed: those timers go by hand.
    const visibilityMs = 8_000;
    const clock = new SteppedClock({ fromMs: 5_001, toMs: visibilityMs });
    await using one = await Party.join(suite, { client: { clock } });
    await using two = await Party.join(suite);
    const name = newName();
    const slow = new WorkQueue(one.session, name, { visibilityMs });
    await slow.enqueue('a');
    const job = await slow.claim();
    for (let n = 0; n < 3; n++) {
      clock.step(5_000);
      await job.extend();
    }
    expect(job).toMatchObject({ held: true, attempt: 1 });
    expect(await new WorkQueue(two.session, name).tryClaim()).toBeUndefined();
    // The worker's own timer, and the keeper's, who has heard of the last extension by then.
    await until(() => clock.waiting(visibilityMs) === 2);
    clock.step(visibilityMs + 1_000);
    const again = await new WorkQueue(two.session, name).claim();
    expect(again).toMatchObject({ id: job.id, attempt: 2 });
    expect(job.held).toBe(false);
    expect(job.signal.reason).toMatchObject({ name: 'LostError' });
    const { etcd } = one;
    await expect(job.ack({ then: [etcd.op.put(`${name}-effect`, 'stale')] })).rejects.toMatchObject({
      name: 'LostError',
    });
    await again.ack({ then: [two.etcd.op.put(`${name}-effect`, 'good')] });
    expect((await etcd.get(`${name}-effect`))!).toMatchObject({ value: 'good', version: 1n });
  });

  it('works on jobs with bounded concurrency, and drains', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name, { retryDelayMs: noDelay, maxAttempts: 2 });
    for (let n = 0; n < 30; n++) await queue.enqueue(String(n));
    const stop = new AbortController();
    const errors: unknown[] = [];
    const done: string[] = [];
    let running = 0;
    let most = 0;
    let slowStarted = false;
    const process = queue.process(
      async (job) => {
        running += 1;
        most = Math.max(most, running);
        try {
          await until(() => most === 4);
          await sleep(50);
          if (job.value === '7') throw new Error('seven');
          if (job.value === '29') {
            slowStarted = true;
            await sleep(300);
          }
          if (job.value === '3') await job.ack();
          done.push(job.value);
        } finally {
          running -= 1;
        }
      },
      { concurrency: 4, signal: stop.signal, onError: (error) => errors.push(error) },
    );
    await until(() => slowStarted && done.length >= 28 && errors.length === 2);
    await queue.enqueue('after the end');
    stop.abort();
    await process;
    expect(running).toBe(0);
    expect(most).toBe(4);
    expect(done).toContain('29');
    expect(new Set(done).size).toBe(done.length);
    expect(errors.map((error) => (error as Error).message)).toEqual(['seven', 'seven']);
    const [letter] = await deadOf(queue);
    expect(letter).toMatchObject({ reason: 'Error: seven', attempts: 2 });
    expect((await queue.depth()).inFlight).toBe(0);
  });

  it('stops handlers that take too long to drain, and gives their jobs back uncounted', async () => {
    await using one = await Party.join(suite);
    const queue = new WorkQueue(one.session, newName());
    await queue.enqueue('a');
    const stop = new AbortController();
    let started = false;
    const work = queue.process(
      async (_job, signal) => {
        started = true;
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        signal.throwIfAborted();
      },
      { signal: stop.signal, drainTimeoutMs: 50 },
    );
    await until(() => started);
    stop.abort();
    await work;
    // The handler has said that it failed, so the attempt counts; it waits for its next.
    expect(await queue.depth()).toMatchObject({ inFlight: 0, delayed: 1 });
    await queue.enqueue('b');
    started = false;
    const again = new AbortController();
    const hanging = queue.process(
      async () => {
        started = true;
        await new Promise(() => {});
      },
      { signal: again.signal, drainTimeoutMs: 50 },
    );
    await until(() => started);
    again.abort();
    await hanging;
    const jobs = [await queue.claim(), await queue.claim()];
    expect(jobs.map(({ value, attempt }) => `${value}${attempt}`).sort()).toEqual(['a2', 'b1']);
  });

  it('ends every wait: by time, by signal, by the close of the session', async () => {
    await using one = await Party.join(suite);
    await using other = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name);
    await expect(queue.claim({ timeoutMs: 100 })).rejects.toMatchObject({ code: 'wait-timeout' });
    const stop = new AbortController();
    const aborted = queue.claim({ signal: stop.signal });
    await until(async () => (await keysBelow(other.etcd, `${name}/work/waiters/`)).length === 1);
    stop.abort();
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' });
    expect(await keysBelow(other.etcd, `${name}/work/waiters/`)).toEqual([]);
    await queue.enqueue('a');
    const job = await queue.claim();
    const closed = outcome(queue.claim());
    await until(async () => (await keysBelow(other.etcd, `${name}/work/waiters/`)).length === 1);
    await one.session.close();
    expect(await closed).toMatchObject({ name: 'LostError', reason: 'session' });
    expect(job.signal.aborted).toBe(true);
    // An orderly close gives the job back at once, uncounted.
    expect(await new WorkQueue(other.session, name).claim()).toMatchObject({ attempt: 1, value: 'a' });
  });
});

/** The work queue on real etcd when things break: workers that die, lost answers, interfering operators. */
import { expect, it } from 'vitest';
import type { Job } from '../../recipes/queue/work/job.ts';
import { WorkQueue, type WorkQueueOptions } from '../../recipes/queue/work/work-queue.ts';
import { describeOnEtcd, type EtcdSuite } from '../support/fixtures.ts';
import { fired } from './lock-bed.ts';
import { KEEPER_WATCHES, keysBelow, newName, outcome, Party, TXN, until, WATCH } from './queue-bed.ts';

/** Two programs that use one queue. */
class Bed implements AsyncDisposable {
  readonly name = newName();
  /** Where effects of jobs are written. */
  readonly effect = `${this.name}-effect`;
  readonly one: Party;
  readonly two: Party;
  /** The queue as the first program has it, and as the second. */
  readonly queue: WorkQueue;
  readonly others: WorkQueue;

  private constructor(one: Party, two: Party, options: WorkQueueOptions<string>) {
    this.one = one;
    this.two = two;
    this.queue = new WorkQueue(one.session, this.name, options);
    this.others = new WorkQueue(two.session, this.name, options);
  }

  static async open(suite: EtcdSuite, options: WorkQueueOptions<string> = {}): Promise<Bed> {
    return new Bed(await Party.join(suite), await Party.join(suite), options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.one[Symbol.asyncDispose]();
    await this.two[Symbol.asyncDispose]();
  }

  /** Starts the first program's keeper, and waits until it watches, so that what it calls does not count. */
  async quietKeeper(): Promise<void> {
    expect(await this.queue.tryClaim()).toBeUndefined();
    await this.one.watching(KEEPER_WATCHES);
  }

  /** Waits until so many stand in a line of the queue. */
  async standing(folder: 'waiters' | 'keepers', count: number): Promise<void> {
    await until(async () => (await keysBelow(this.two.etcd, `${this.name}/work/${folder}/`)).length === count);
  }

  /** As an operator does. */
  async deleteAll(folder: 'keepers' | 'inflight/claims'): Promise<void> {
    await this.two.etcd.delete({ prefix: `${this.name}/work/${folder}/` });
  }

  /** The first program's session is over, behind its back. */
  async revokeFirst(): Promise<void> {
    await this.two.etcd.leases.revoke(this.one.session.id);
  }

  /** No job is left, nor in anybody's hands. */
  async expectSettled(): Promise<void> {
    expect(await this.queue.depth()).toMatchObject({ ready: 0, inFlight: 0 });
  }
}

/** The jobs' values, each with the number of its attempt. */
function attempts(...jobs: Job[]): string[] {
  return jobs.map(({ value, attempt }) => `${value}${attempt}`).sort();
}

describeOnEtcd('a work queue', (suite) => {
  // Curator's queue with a lock path has two consumers at work after a session's death, and both count (CURATOR-605).
  it('lets only one of two workers settle a job after the death of a session, with its effects', async () => {
    await using bed = await Bed.open(suite);
    const { one: first, two: second, queue, others, effect } = bed;
    await queue.enqueue('a');
    const stale = await queue.claim();
    const taking = others.claim({ timeoutMs: 30_000 });
    await bed.standing('keepers', 2);
    // The first worker is cut off from the news: it goes on believing.
    const hold = first.proxy.rule({ path: WATCH, action: 'hang' });
    const mute = first.proxy.rule({ path: /LeaseKeepAlive/, action: 'hang' });
    first.proxy.cut();
    await bed.revokeFirst();
    const job = await taking;
    expect(job).toMatchObject({ id: stale.id, attempt: 2 });
    expect(job.token).toBeGreaterThan(stale.token);
    expect(stale.held).toBe(true);
    const put = (party: Party, value: string) => party.etcd.op.put(effect, value);
    await expect(stale.guard({ then: [put(first, 'stale')] })).rejects.toMatchObject({ name: 'LostError' });
    await job.ack({ then: [put(second, 'good')] });
    await expect(stale.ack({ then: [put(first, 'stale')] })).rejects.toMatchObject({ name: 'LostError' });
    expect(await first.etcd.get(effect)).toMatchObject({ value: 'good', version: 1n });
    // The control: what is not fenced is overwritten by the worker that is no worker any more.
    await first.etcd.put(effect, 'stale');
    expect((await first.etcd.get(effect))!.value).toBe('stale');
    hold.remove();
    mute.remove();
    expect(await keysBelow(second.etcd, `${bed.name}/work/jobs/`)).toEqual([]);
  });

  it('tells a worker that its session was revoked, and gives its job to another with the attempt counted', async () => {
    await using bed = await Bed.open(suite, { maxAttempts: 2 });
    const { two: second, queue, others } = bed;
    await queue.enqueue('a');
    const job = await queue.claim();
    await bed.revokeFirst();
    await fired(job.signal);
    expect(job.held).toBe(false);
    await expect(job.ack()).rejects.toMatchObject({ name: 'LostError' });
    const again = await others.claim({ timeoutMs: 20_000 });
    expect(again.attempt).toBe(2);
    // Dies once more: that was the last attempt.
    await using third = await Party.join(suite);
    await third.etcd.leases.revoke(second.session.id);
    const mourning = new WorkQueue(third.session, bed.name, { maxAttempts: 2 });
    expect(await mourning.tryClaim()).toBeUndefined();
    await until(async () => (await mourning.depth()).dead === 1);
    expect(await mourning.depth()).toMatchObject({ ready: 0, inFlight: 0, dead: 1 });
  });

  it('tells a worker at once whose claim an operator has deleted', async () => {
    await using bed = await Bed.open(suite);
    const { queue } = bed;
    await queue.enqueue('a');
    const job = await queue.claim();
    await bed.deleteAll('inflight/claims');
    await fired(job.signal);
    expect(job.signal.reason).toMatchObject({ reason: 'key-gone' });
    expect(await queue.claim({ timeoutMs: 20_000 })).toMatchObject({ attempt: 2 });
  });

  it('acks once, with its effects once, when the answer is lost', async () => {
    await using bed = await Bed.open(suite);
    const { one, queue, effect } = bed;
    for (const value of ['a', 'b']) await queue.enqueue(value);
    const [a, b] = [await queue.claim(), await queue.claim()];
    await one.quiet();
    one.proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    expect(await a.ack({ then: [one.etcd.op.put(effect, 'a')] })).toMatchObject({ acked: true, results: undefined });
    expect(await one.etcd.get(effect)).toMatchObject({ value: 'a', version: 1n });
    expect(a.open).toBe(false);
    one.proxy.rule({ path: TXN, nth: 1, action: 'reset-before' });
    expect(await b.ack({ then: [one.etcd.op.put(effect, 'b')] })).toMatchObject({ acked: true });
    expect(await one.etcd.get(effect)).toMatchObject({ value: 'b', version: 2n });
    await bed.expectSettled();
  });

  it('takes a job, and settles it, however long the cluster refuses', async () => {
    // Each refusal ends a call of the client's, so the recipe has to make another.
    await using worker = await Party.join(suite, { client: { retry: { maxAttempts: 1 } } });
    await using other = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(worker.session, name);
    const others = new WorkQueue(other.session, name);
    expect(await queue.tryClaim()).toBeUndefined();
    await worker.watching(KEEPER_WATCHES);
    for (const value of ['a', 'b']) await others.enqueue(value);
    // It shows the other one too, which is claimed without a look then.
    const seen = await queue.claim();
    const refused = async <T>(work: () => Promise<T>): Promise<T | Error> => {
      const rule = worker.proxy.rule({ path: TXN, action: 'reset-before' });
      const working = outcome(work());
      await Promise.race([working, rule.waitApplied(4).catch(() => {})]);
      rule.remove();
      return working;
    };
    const job = await refused(() => queue.claim({ timeoutMs: 30_000 }));
    expect(job).toMatchObject({ attempt: 1, held: true });
    for (const each of [seen, job as Job]) expect(await refused(() => each.ack())).toMatchObject({ acked: true });
    expect(await others.depth()).toMatchObject({ ready: 0, inFlight: 0 });
  });

  it('hands out a job whose claim was answered into the void, and no job twice', async () => {
    await using bed = await Bed.open(suite);
    const { one, queue } = bed;
    await bed.quietKeeper();
    for (const value of ['a', 'b']) await queue.enqueue(value);
    one.proxy.rule({ path: TXN, nth: 2, action: 'swallow-reply' });
    const jobs = [await queue.claim(), await queue.claim()];
    expect(attempts(...jobs)).toEqual(['a1', 'b1']);
    expect(await queue.tryClaim()).toBeUndefined();
    for (const job of jobs) await job.ack();
    await bed.expectSettled();
  });

  it('gives a job back whose claimer has gone before it heard of its claim', async () => {
    await using bed = await Bed.open(suite);
    const { one, queue, others } = bed;
    await bed.quietKeeper();
    await others.enqueue('a');
    one.proxy.rule({ path: TXN, nth: 2, action: 'swallow-reply', via: 'hang' });
    one.proxy.rule({ path: TXN, nth: 3, times: 1_000, action: 'hang' });
    const stop = new AbortController();
    const claimed = outcome(queue.tryClaim({ signal: stop.signal }));
    await until(async () => (await others.depth()).inFlight === 1);
    stop.abort();
    expect(await claimed).toMatchObject({ code: 'unknown-outcome' });
    expect((await others.depth()).inFlight).toBe(1);
    one.proxy.clearRules();
    one.proxy.cut();
    // The session that holds the claim lives on: nobody else could tell that the job is not worked on.
    await until(async () => (await others.depth()).ready === 1);
    expect(one.session.alive).toBe(true);
    expect(await others.claim()).toMatchObject({ value: 'a', attempt: 1 });
  });

  it('passes over strays, and over jobs whose payload an operator has deleted', async () => {
    await using bed = await Bed.open(suite);
    const { one, queue, name } = bed;
    const folders = ['ready', 'delayed', 'inflight/state', 'inflight/claims', 'dead', 'jobs', 'waiters', 'keepers'];
    for (const folder of folders) await one.etcd.put(`${name}/work/${folder}/stray`, 'stray');
    for (let n = 0; n < 40; n++) await one.etcd.put(`${name}/work/ready/0-${n}`, 'stray');
    const { id } = await queue.enqueue('gone');
    await one.etcd.delete(`${name}/work/jobs/${id}`);
    await queue.enqueue('a', { delayMs: 1 });
    const job = await queue.claim({ timeoutMs: 20_000 });
    expect(job.value).toBe('a');
    await job.bury('test');
    expect(await queue.tryClaim()).toBeUndefined();
    const dead: string[] = [];
    for await (const letter of queue.deadLetters.list()) dead.push(letter.id);
    expect(dead).toEqual([job.id]);
  });

  it('goes on when compactions cancel the watches of keeper and workers', async () => {
    await using bed = await Bed.open(suite);
    const { one, two, queue } = bed;
    await queue.enqueue('a');
    const job = await queue.claim();
    const next = queue.claim({ timeoutMs: 30_000 });
    await bed.standing('waiters', 1);
    await one.quiet();
    for (let round = 0; round < 2; round++) {
      const held = one.proxy.rule({ path: WATCH, nth: 1, action: { delayMs: 300 } });
      one.proxy.cut();
      await held.waitApplied();
      await two.etcd.put(`${bed.name}-other`, 'x');
      // In the first round the claim goes too, and its delete is in the history that is lost.
      if (round === 0) await bed.deleteAll('inflight/claims');
      await two.etcd.compact(await two.etcd.revision());
      await one.quiet();
    }
    expect(await next).toMatchObject({ value: 'a', attempt: 2 });
    expect(job.held).toBe(false);
    await (await next).ack();
    await bed.expectSettled();
  });

  it('has another keeper when the first is gone, also for what is delayed', async () => {
    await using bed = await Bed.open(suite);
    const { queue, others } = bed;
    for (const [index, each] of [queue, others].entries()) {
      expect(await each.tryClaim()).toBeUndefined();
      await bed.standing('keepers', index + 1);
    }
    await others.enqueue('delayed', { delayMs: 400 });
    await others.enqueue('held');
    const held = await queue.claim();
    await bed.revokeFirst();
    const jobs = [await others.claim({ timeoutMs: 20_000 }), await others.claim({ timeoutMs: 20_000 })];
    expect(attempts(...jobs)).toEqual(['delayed1', 'held2']);
    expect(held.held).toBe(false);
    // An operator deletes the keeper's key: it stands in line anew.
    await bed.deleteAll('keepers');
    await others.enqueue('later', { delayMs: 1 });
    expect(await others.claim({ timeoutMs: 20_000 })).toMatchObject({ value: 'later' });
  });

  it('goes on processing through lost connections, and stops with the session', async () => {
    await using bed = await Bed.open(suite);
    const { one, queue, others } = bed;
    const done: string[] = [];
    const errors: unknown[] = [];
    const onError = (error: unknown): void => void errors.push(error);
    const working = outcome(queue.process(async (job) => void done.push(job.value), { concurrency: 2, onError }));
    for (let n = 0; n < 20; n++) {
      await others.enqueue(String(n));
      if (n % 5 === 4) one.proxy.cut();
    }
    await until(async () => (await queue.depth()).inFlight === 0 && done.length >= 20);
    expect(new Set(done).size).toBe(20);
    expect(errors).toEqual([]);
    await bed.revokeFirst();
    expect(await working).toMatchObject({ name: 'LostError' });
  });
});

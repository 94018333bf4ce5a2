/** The work queue on real etcd when things break: workers that die, lost answers, interfering operators. */
import { expect, it } from 'vitest';
import { WorkQueue } from '../../recipes/queue/work/work-queue.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { keysBelow, newName, outcome, Party, TXN, until, WATCH } from './queue-bed.ts';

describeOnEtcd('a work queue', (suite) => {
  // Curator's queue with a lock path has two consumers at work after a session's death, and both count (CURATOR-605).
  it('lets only one of two workers settle a job after the death of a session, with its effects', async () => {
    await using first = await Party.join(suite);
    await using second = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(first.session, name);
    await queue.enqueue('a');
    const stale = await queue.claim();
    const taking = new WorkQueue(second.session, name).claim({ timeoutMs: 30_000 });
    await until(async () => (await keysBelow(second.etcd, `${name}/work/keepers/`)).length === 2);
    // The first worker is cut off from the news: it goes on believing.
    const hold = first.proxy.rule({ path: WATCH, action: 'hang' });
    const mute = first.proxy.rule({ path: /LeaseKeepAlive/, action: 'hang' });
    first.proxy.cut();
    await second.etcd.leases.revoke(first.session.id);
    const job = await taking;
    expect(job).toMatchObject({ id: stale.id, attempt: 2 });
    expect(job.token).toBeGreaterThan(stale.token);
    expect(stale.held).toBe(true);
    const effect = `${name}-effect`;
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
    expect(await keysBelow(second.etcd, `${name}/work/jobs/`)).toEqual([]);
  });

  it('tells a worker that its session was revoked, and gives its job to another with the attempt counted', async () => {
    await using first = await Party.join(suite);
    await using second = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(first.session, name, { maxAttempts: 2 });
    await queue.enqueue('a');
    const job = await queue.claim();
    const lost = new Promise((resolve) => job.signal.addEventListener('abort', resolve, { once: true }));
    await second.etcd.leases.revoke(first.session.id);
    await lost;
    expect(job.held).toBe(false);
    await expect(job.ack()).rejects.toMatchObject({ name: 'LostError' });
    const others = new WorkQueue(second.session, name, { maxAttempts: 2 });
    const again = await others.claim({ timeoutMs: 20_000 });
    expect(again.attempt).toBe(2);
    // Dies once more: that was the last attempt.
    await using third = await Party.join(suite);
    await third.etcd.leases.revoke(second.session.id);
    const mourning = new WorkQueue(third.session, name, { maxAttempts: 2 });
    expect(await mourning.tryClaim()).toBeUndefined();
    await until(async () => (await mourning.depth()).dead === 1);
    expect(await mourning.depth()).toMatchObject({ ready: 0, inFlight: 0, dead: 1 });
  });

  it('tells a worker at once whose claim an operator has deleted', async () => {
    await using one = await Party.join(suite);
    await using two = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name);
    await queue.enqueue('a');
    const job = await queue.claim();
    const lost = new Promise((resolve) => job.signal.addEventListener('abort', resolve, { once: true }));
    await two.etcd.delete({ prefix: `${name}/work/inflight/claims/` });
    await lost;
    expect(job.signal.reason).toMatchObject({ reason: 'key-gone' });
    expect(await queue.claim({ timeoutMs: 20_000 })).toMatchObject({ attempt: 2 });
  });

  it('acks once, with its effects once, when the answer is lost', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name);
    for (const value of ['a', 'b']) await queue.enqueue(value);
    const [a, b] = [await queue.claim(), await queue.claim()];
    await one.quiet();
    one.proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const effect = `${name}-effect`;
    expect(await a.ack({ then: [one.etcd.op.put(effect, 'a')] })).toMatchObject({ acked: true, results: undefined });
    expect(await one.etcd.get(effect)).toMatchObject({ value: 'a', version: 1n });
    expect(a.open).toBe(false);
    one.proxy.rule({ path: TXN, nth: 1, action: 'reset-before' });
    expect(await b.ack({ then: [one.etcd.op.put(effect, 'b')] })).toMatchObject({ acked: true });
    expect(await one.etcd.get(effect)).toMatchObject({ value: 'b', version: 2n });
    expect(await queue.depth()).toMatchObject({ ready: 0, inFlight: 0 });
  });

  it('hands out a job whose claim was answered into the void, and no job twice', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name);
    await queue.tryClaim();
    await one.quiet();
    for (const value of ['a', 'b']) await queue.enqueue(value);
    one.proxy.rule({ path: TXN, nth: 2, action: 'swallow-reply' });
    const jobs = [await queue.claim(), await queue.claim()];
    expect(jobs.map(({ value, attempt }) => `${value}${attempt}`).sort()).toEqual(['a1', 'b1']);
    expect(await queue.tryClaim()).toBeUndefined();
    for (const job of jobs) await job.ack();
    expect(await queue.depth()).toMatchObject({ ready: 0, inFlight: 0 });
  });

  it('gives a job back whose claimer has gone before it heard of its claim', async () => {
    await using one = await Party.join(suite);
    await using other = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name);
    // Starts the keeper, whose calls would be counted too.
    await queue.tryClaim();
    await one.quiet();
    await new WorkQueue(other.session, name).enqueue('a');
    one.proxy.rule({ path: TXN, nth: 2, action: 'swallow-reply', via: 'hang' });
    one.proxy.rule({ path: TXN, nth: 3, times: 1_000, action: 'hang' });
    const stop = new AbortController();
    const claimed = outcome(queue.tryClaim({ signal: stop.signal }));
    const watching = new WorkQueue(other.session, name);
    await until(async () => (await watching.depth()).inFlight === 1);
    stop.abort();
    expect(await claimed).toMatchObject({ code: 'unknown-outcome' });
    expect((await watching.depth()).inFlight).toBe(1);
    one.proxy.clearRules();
    one.proxy.cut();
    // The session that holds the claim lives on: nobody else could tell that the job is not worked on.
    await until(async () => (await watching.depth()).ready === 1);
    expect(one.session.alive).toBe(true);
    expect(await watching.claim()).toMatchObject({ value: 'a', attempt: 1 });
  });

  it('passes over strays, and over jobs whose payload an operator has deleted', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name);
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
    await using one = await Party.join(suite);
    await using two = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name);
    await queue.enqueue('a');
    const job = await queue.claim();
    const next = queue.claim({ timeoutMs: 30_000 });
    await until(async () => (await keysBelow(two.etcd, `${name}/work/waiters/`)).length === 1);
    await one.quiet();
    for (let round = 0; round < 2; round++) {
      const held = one.proxy.rule({ path: WATCH, nth: 1, action: { delayMs: 300 } });
      one.proxy.cut();
      await held.waitApplied();
      const { revision } = await two.etcd.put(`${name}-other`, 'x');
      // In the first round the claim goes too, and its delete is in the history that is lost.
      if (round === 0) await two.etcd.delete({ prefix: `${name}/work/inflight/claims/` });
      await two.etcd.compact(await two.etcd.revision());
      expect(revision).toBeGreaterThan(0n);
      await one.quiet();
    }
    expect(await next).toMatchObject({ value: 'a', attempt: 2 });
    expect(job.held).toBe(false);
    await (await next).ack();
    expect(await queue.depth()).toMatchObject({ ready: 0, inFlight: 0 });
  });

  it('has another keeper when the first is gone, also for what is delayed', async () => {
    await using one = await Party.join(suite);
    await using two = await Party.join(suite);
    const name = newName();
    const first = new WorkQueue(one.session, name);
    expect(await first.tryClaim()).toBeUndefined();
    await until(async () => (await keysBelow(two.etcd, `${name}/work/keepers/`)).length === 1);
    const second = new WorkQueue(two.session, name);
    expect(await second.tryClaim()).toBeUndefined();
    await until(async () => (await keysBelow(two.etcd, `${name}/work/keepers/`)).length === 2);
    await second.enqueue('delayed', { delayMs: 400 });
    await second.enqueue('held');
    const held = await first.claim();
    await two.etcd.leases.revoke(one.session.id);
    const jobs = [await second.claim({ timeoutMs: 20_000 }), await second.claim({ timeoutMs: 20_000 })];
    expect(jobs.map(({ value, attempt }) => `${value}${attempt}`).sort()).toEqual(['delayed1', 'held2']);
    expect(held.held).toBe(false);
    // An operator deletes the keeper's key: it stands in line anew.
    await two.etcd.delete({ prefix: `${name}/work/keepers/` });
    await second.enqueue('later', { delayMs: 1 });
    expect(await second.claim({ timeoutMs: 20_000 })).toMatchObject({ value: 'later' });
  });

  it('goes on processing through lost connections, and stops with the session', async () => {
    await using one = await Party.join(suite);
    await using two = await Party.join(suite);
    const name = newName();
    const queue = new WorkQueue(one.session, name);
    const done: string[] = [];
    const errors: unknown[] = [];
    const onError = (error: unknown): void => void errors.push(error);
    const working = outcome(queue.process(async (job) => void done.push(job.value), { concurrency: 2, onError }));
    for (let n = 0; n < 20; n++) {
      await new WorkQueue(two.session, name).enqueue(String(n));
      if (n % 5 === 4) one.proxy.cut();
    }
    await until(async () => (await queue.depth()).inFlight === 0 && done.length >= 20);
    expect(new Set(done).size).toBe(20);
    expect(errors).toEqual([]);
    await two.etcd.leases.revoke(one.session.id);
    expect(await working).toMatchObject({ name: 'LostError' });
  });
});

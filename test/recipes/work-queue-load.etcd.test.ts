/** The work queue when whole processes die or stall. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { WorkQueue } from '../../recipes/queue/work/work-queue.ts';
import { Session } from '../../recipes/session.ts';
import { Etcd } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { expectProcessExits } from '../support/leaks.ts';
import { tieProcess } from '../support/lifeline.ts';
import { newName, outcome, Party, until } from './queue-bed.ts';

const CHILD = path.join(import.meta.dirname, 'children', 'work-queue-worker.ts');

describeOnRealEtcd('a work queue under fire', (suite) => {
  it('loses none of 2000 jobs and does none twice, while its workers are killed at random', async () => {
    await using boss = await Party.join(suite);
    const name = newName();
    const jobs = 2_000;
    const queue = new WorkQueue(boss.session, name, { maxAttempts: 100 });
    const puts: Promise<unknown>[] = [];
    for (let n = 0; n < jobs; n++) {
      puts.push(queue.enqueue(String(n)));
      if (puts.length === 100) await Promise.all(puts.splice(0));
    }
    const stop = new AbortController();
    const left = async (): Promise<number> => {
      const { ready, delayed, inFlight } = await queue.depth();
      return ready + delayed + inFlight;
    };
    let kills = 0;
    let handled = 0;
    /** A worker, and another one when it is killed: nothing is closed in order, its lease runs out. */
    const worker = async (): Promise<void> => {
      while (!stop.signal.aborted) {
        const etcd = new Etcd({ endpoints: suite.cluster.endpoints });
        const session = await Session.open(etcd, { ttlSeconds: 2 });
        const mine = new WorkQueue(session, name, { maxAttempts: 100, retryDelayMs: () => 0 });
        const killAfter = 50 + Math.floor(Math.random() * 400);
        let count = 0;
        const working = mine.process(
          async (job) => {
            handled += 1;
            count += 1;
            const then = [etcd.op.put(`${name}-done/${job.value}`, String(job.attempt))];
            if (count === killAfter && kills < 8) {
              kills += 1;
              // In the middle of it, with the ack on its way.
              void job.ack({ then }).catch(() => {});
              await etcd.close();
              return;
            }
            await job.ack({ then });
          },
          { concurrency: 4, signal: stop.signal },
        );
        await outcome(working);
        await session.close();
        await etcd.close();
      }
    };
    const workers = [worker(), worker(), worker(), worker()];
    await until(async () => {
      await sleep(200);
      return (await left()) === 0;
    });
    stop.abort();
    await Promise.all(workers);
    const { kvs } = await boss.etcd.range({ prefix: `${name}-done/` });
    expect(kvs.length).toBe(jobs);
    expect(kvs.filter(({ version }) => version !== 1n)).toEqual([]);
    expect(kills).toBeGreaterThan(0);
    expect(handled).toBeGreaterThanOrEqual(jobs);
    expect(kvs.some(({ value }) => value !== '1')).toBe(true);
    expect(await queue.depth()).toMatchObject({ ready: 0, delayed: 0, inFlight: 0, dead: 0 });
    await boss.session.close();
    await until(async () => (await boss.etcd.count({ prefix: `${name}/` })) === 0);
  }, 60_000);
});

describeOnRealEtcd(
  'a work queue whose workers are processes',
  (suite) => {
    it('gives the job of a process that was killed to another when its session has run out', async () => {
      await using boss = await Party.join(suite);
      const name = newName();
      const queue = new WorkQueue(boss.session, name);
      await queue.enqueue('a');
      const child = spawn(process.execPath, ['--import', 'tsx', CHILD, suite.cluster.endpoints[0]!, name, 'hold'], {
        cwd: path.join(import.meta.dirname, '..', '..'),
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      tieProcess(child);
      await once(child.stdout, 'data');
      const next = queue.claim({ timeoutMs: 40_000 });
      expect((await queue.depth()).inFlight).toBe(1);
      child.kill('SIGKILL');
      const job = await next;
      expect(job).toMatchObject({ value: 'a', attempt: 2 });
      await job.ack();
      await until(async () => (await boss.etcd.count({ prefix: `${name}/work/inflight/` })) === 0);
    });

    it('refuses the ack of a process that was stalled for longer than its session lived', async () => {
      await using boss = await Party.join(suite);
      const name = newName();
      const queue = new WorkQueue(boss.session, name);
      await queue.enqueue('a');
      const stalled = expectProcessExits(CHILD, [suite.cluster.endpoints[0]!, name, 'stall'], { timeoutMs: 40_000 });
      await until(async () => (await queue.depth()).inFlight === 1);
      const job = await queue.claim({ timeoutMs: 40_000 });
      expect(job.attempt).toBe(2);
      await job.ack({ then: [boss.etcd.op.put(`${name}-effect`, 'good')] });
      const { stdout } = await stalled;
      expect(JSON.parse(stdout.split('\n')[1]!)).toEqual({
        held: false,
        aborted: true,
        remainingMs: 0,
        ack: 'LostError',
      });
      expect(await boss.etcd.get(`${name}-effect`)).toMatchObject({ value: 'good', version: 1n });
    });
  },
  { versions: ['3.5'] },
);

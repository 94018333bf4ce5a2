/** Programs without types: a handler that was forgotten is said at once, before a job or a tick is taken for it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Cron } from '../../recipes/cron/cron.ts';
import { WorkQueue } from '../../recipes/queue/work/work-queue.ts';
import { Session } from '../../recipes/session.ts';
import { InvalidArgumentError } from '../../src/index.ts';
import { startEtcd, type TestCluster } from '../../src/testing/index.ts';

let server: TestCluster;
beforeAll(async () => {
  server = await startEtcd();
});
afterAll(() => server.close());

it('a work queue does not begin without one', async () => {
  await using session = await Session.open(server.client());
  const queue = new WorkQueue(session, 'no-handler', { maxAttempts: 1 });
  await queue.enqueue('a');
  await expect(queue.process(undefined as never)).rejects.toBeInstanceOf(InvalidArgumentError);
  expect(await queue.depth()).toMatchObject({ ready: 1, dead: 0 });
});

it('a cron is not made with a job that has none', async () => {
  await using session = await Session.open(server.client());
  const jobs = [{ name: 'tidy', schedule: '* * * * *' }] as never;
  expect(() => new Cron(session, 'no-handler', jobs)).toThrow('the handler of the job tidy is no function');
});

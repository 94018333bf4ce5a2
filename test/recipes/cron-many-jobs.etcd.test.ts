/** A cron of many jobs: what is right for a few is right for them, and nobody is told of a leak that is none. */
import { expect, it } from 'vitest';
import { Cron } from '../../recipes/cron/cron.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { ManualWall } from './cron-bed.ts';
import { Actor, uniqueName, until } from './lock-bed.ts';

/** From eleven listeners on a signal, Node warns. */
const JOBS = 12;

describeOnEtcd('A cron of many jobs', (suite) => {
  it('makes Node warn of nothing', async () => {
    const warnings: string[] = [];
    const onWarning = ({ message }: Error): number => warnings.push(message);
    process.on('warning', onWarning);
    try {
      await using actor = await Actor.open(suite.cluster.endpoints);
      const wallClock = new ManualWall();
      const ran = new Set<string>();
      const jobs = Array.from({ length: JOBS }, (_, i) => ({
        name: `job ${i}`,
        schedule: '* * * * *',
        handler: ({ job }: { readonly job: string }) => void ran.add(job),
      }));
      const stop = new AbortController();
      const running = new Cron(actor.session, uniqueName(suite), jobs, { wallClock }).run({ signal: stop.signal });
      await until(() => wallClock.waiting === JOBS);
      wallClock.set(1);
      await until(() => ran.size === JOBS && wallClock.waiting === JOBS);
      stop.abort();
      await running;
    } finally {
      process.off('warning', onWarning);
    }
    expect(warnings).toEqual([]);
  });
});

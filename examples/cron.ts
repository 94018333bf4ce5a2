/**
 * Jobs at certain times, each time once, however many processes there are.
 *
 *   node --import tsx examples/cron.ts
 *
 * @module
 */
import { Cron, Session } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

await using etcd = await connect();
const stop = new AbortController();
const ticks: string[] = [];

async function replica(name: string): Promise<void> {
  await using session = await Session.open(etcd, { owner: name });
  const jobs = [
    {
      name: 'report',
      schedule: '* * * * * *', // each second
      handler: async ({ tick }: { readonly tick: Date }) => {
        ticks.push(tick.toISOString());
        if (ticks.length === 2) stop.abort();
      },
    },
  ];
  await new Cron(session, 'reports', jobs).run({ signal: stop.signal }).catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
}
await Promise.all(['one', 'two', 'three'].map(replica));
console.log(`three replicas, two seconds: ${ticks.length} runs, ${new Set(ticks).size} different ticks`);

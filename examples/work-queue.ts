/**
 * Jobs that are done at least once, each together with the writes it makes. A worker dies in the middle of one: another
 * does it again, and its effect is there once.
 *
 *   node --import tsx examples/work-queue.ts
 *
 * @module
 */
import { json } from 'etcdkit';
import { Session, WorkQueue } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

interface Invoice {
  readonly number: string;
}

await using etcd = await connect();
const codec = json<Invoice>();
const clerk = await Session.open(etcd);
const invoices = new WorkQueue(clerk, 'invoices', { codec });
for (const number of ['17', '18', '19']) await invoices.enqueue({ number }, { dedupe: number });
const again = await invoices.enqueue({ number: '17' }, { dedupe: '17' });
console.log(`invoice 17 a second time: ${again.enqueued ? 'taken' : 'known already'}`);

// One that takes a job and dies with it.
const doomed = await Session.open(etcd);
const job = await new WorkQueue(doomed, 'invoices', { codec }).claim({ timeoutMs: 30_000 });
console.log(`a worker dies over invoice ${job.value.number}, of 17 to 19`);
await doomed.lease.revoke();

const stop = new AbortController();
let done = 0;
await invoices
  .process(
    async (current) => {
      // The job's end and what it has brought about are one transaction.
      await current.ack({ then: [etcd.op.put(`sent/${current.value.number}`, 'yes')] });
      done += 1;
      if (done === 3) stop.abort();
    },
    { concurrency: 2, signal: stop.signal },
  )
  .catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
const { kvs: sent } = await etcd.range({ prefix: 'sent/' });
console.log(`sent: ${sent.map(({ key }) => key.slice('sent/'.length)).join(', ')}`);
await clerk.close();

/**
 * A worker in a process of its own. Arguments: endpoint, name of the work queue, and what to do with the job it claims:
 * `hold` it until the process is killed, or `stall`: block the event loop for longer than the session lives, then try
 * to ack.
 */
import { WorkQueue } from '../../../recipes/queue/work/work-queue.ts';
import { Session } from '../../../recipes/session.ts';
import { Etcd } from '../../../src/index.ts';

const [endpoint = '', name = '', what] = process.argv.slice(2);
const etcd = new Etcd({ endpoints: endpoint });
const session = await Session.open(etcd, { ttlSeconds: 2 });
const job = await new WorkQueue(session, name).claim();
console.log('claimed');
if (what === 'stall') {
  await new Promise((resolve) => setTimeout(resolve, 200));
  const end = performance.now() + 4_500;
  while (performance.now() < end);
  // Before any timer or socket has had its turn.
  const first = { held: job.held, aborted: job.signal.aborted, remainingMs: job.remainingMs() };
  const ack = await job.ack({ then: [etcd.op.put(`${name}-effect`, 'stale')] }).then(
    () => 'acked',
    (error: Error) => error.name,
  );
  console.log(JSON.stringify({ ...first, ack }));
  await session.close();
  await etcd.close();
} else {
  setInterval(() => {}, 1_000);
}

/**
 * Queues: first in first out, the most urgent first, and not before its time.
 *
 *   node --import tsx examples/queues.ts
 *
 * @module
 */
import { json } from 'etcdkit';
import { DelayQueue, PriorityQueue, Queue, Session } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

await using etcd = await connect();
await using session = await Session.open(etcd);
const patience = { timeoutMs: 30_000 };

const mails = new Queue(session, 'mails', { codec: json<{ to: string }>() });
for (const to of ['ada', 'grace', 'edsger']) await mails.enqueue({ to });
const order = [];
while ((await mails.count()) > 0) order.push((await mails.dequeue(patience)).value.to);
console.log(`queue: ${order.join(', ')}`);

const alarms = new PriorityQueue(session, 'alarms');
await alarms.enqueue('disk is filling up', { priority: 5 });
await alarms.enqueue('fire', { priority: 0 });
console.log(`priority queue: ${(await alarms.dequeue(patience)).value}`);

const reminders = new DelayQueue(session, 'reminders');
await reminders.enqueue('call Ada', { delayMs: 300 });
console.log(`delay queue, at once: ${(await reminders.tryDequeue())?.value ?? 'nothing yet'}`);
console.log(`delay queue, later: ${(await reminders.dequeue(patience)).value}`);

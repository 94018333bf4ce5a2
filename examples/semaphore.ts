/**
 * At most two downloads at a time, wherever they run.
 *
 *   node --import tsx examples/semaphore.ts
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Semaphore, Session } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

await using etcd = await connect();
await using session = await Session.open(etcd);
const downloads = new Semaphore(session, 'downloads', { limit: 2 });

let running = 0;
let most = 0;
async function download(): Promise<void> {
  await using _permit = await downloads.acquire({ timeoutMs: 30_000 });
  running += 1;
  most = Math.max(most, running);
  await sleep(20);
  running -= 1;
}
await Promise.all(Array.from({ length: 8 }, download));
console.log(`8 downloads, ${most} at most at the same time`);

await downloads.setLimit(3);
await using _three = await downloads.acquire({ permits: 3, timeoutMs: 10_000 });
const tried = await downloads.tryAcquire();
console.log(`all 3 permits are taken; one more is ${tried.acquired ? 'granted' : 'refused'}`);

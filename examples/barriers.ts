/**
 * Three ways to wait for each other: until it opens, until all are there, until all is done.
 *
 *   node --import tsx examples/barriers.ts
 *
 * @module
 */
import { Barrier, DoubleBarrier, Latch, Session } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

await using etcd = await connect();
await using session = await Session.open(etcd);

// Shut while a migration runs; it opens by itself if the migration's process dies.
const barrier = new Barrier(session, 'migration');
const held = await barrier.hold();
const waiting = barrier.wait({ timeoutMs: 30_000 }).then(() => console.log('barrier: open, the services start'));
console.log('barrier: shut, the migration runs');
await held.release();
await waiting;

// Three begin together and end together.
const test = new DoubleBarrier(session, 'load-test', { count: 3 });
let inside = 0;
const runs = [1, 2, 3].map(async () => {
  await using round = await test.enter({ timeoutMs: 30_000 });
  inside += 1;
  await round.leave({ timeoutMs: 30_000 });
});
await Promise.all(runs);
console.log(`double barrier: ${inside} began and ended together`);

// Counted down by whoever has done a part; a part counts once, however often it is told.
const loaded = new Latch(session, 'loaded');
await loaded.create(2);
await loaded.countDown({ id: 'customers' });
await loaded.countDown({ id: 'customers' });
console.log(`latch: ${await loaded.remaining()} part left`);
await loaded.countDown({ id: 'orders' });
await loaded.wait({ timeoutMs: 30_000 });
console.log('latch: all parts are loaded');

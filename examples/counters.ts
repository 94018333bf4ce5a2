/**
 * A number that is never counted twice, and ids in blocks.
 *
 *   node --import tsx examples/counters.ts
 *
 * @module
 */
import { Counter, IdAllocator, Session } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

await using etcd = await connect();
await using session = await Session.open(etcd);

const visits = new Counter(session, 'visits');
await Promise.all(Array.from({ length: 20 }, () => visits.add()));
console.log(`20 visits were counted: ${await visits.get()}`);

const ids = new IdAllocator(session, 'order-ids', { blockSize: 100 });
const drawn = await Promise.all(Array.from({ length: 250 }, () => ids.next()));
console.log(`250 ids, ${new Set(drawn).size} different ones`);

/**
 * Keys that live as long as their owner, and an owner who knows how long that is certain.
 *
 *   node --import tsx examples/lease.ts
 *
 * @module
 */
import { LeaseLostError } from 'etcdkit';
import { connect } from './support/connect.ts';

await using etcd = await connect();
const lease = await etcd.lease({ ttlSeconds: 5 });
await etcd.put('sessions/7', 'ada', { lease });
console.log(`kept alive: ${lease.alive}, certain for more than 3 s: ${lease.remainingMs() > 3_000}`);

lease.signal.addEventListener('abort', () => console.log(`the owner is told: ${lease.lossReason}`));
await lease.revoke();
console.log(`the key: ${(await etcd.get('sessions/7')) === undefined ? 'gone with it' : 'still there'}`);
try {
  lease.assertAlive();
} catch (error) {
  if (!(error instanceof LeaseLostError)) throw error;
  console.log(`assertAlive: ${error.code}`);
}

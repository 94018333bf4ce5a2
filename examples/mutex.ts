/**
 * A lock around a read and a write of a balance: three workers, nobody's deposit is lost.
 *
 *   node --import tsx examples/mutex.ts
 *
 * @module
 */
import { LostError, Mutex, Session } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

await using etcd = await connect();
await etcd.put('balance', '0');

async function worker(name: string): Promise<void> {
  await using session = await Session.open(etcd, { ttlSeconds: 10, owner: name });
  const mutex = new Mutex(session, 'account-7');
  for (let deposit = 0; deposit < 5; deposit++) {
    await using lock = await mutex.acquire({ timeoutMs: 10_000 });
    const balance = Number((await etcd.get('balance'))?.value);
    // The store refuses the write if the lock is not ours any more.
    await lock.guard({ then: [etcd.op.put('balance', String(balance + 10))] });
  }
}
await Promise.all(['ada', 'grace', 'edsger'].map(worker));
console.log(`15 deposits of 10 by three workers: ${(await etcd.get('balance'))?.value}`);

// What a lock is worth when its session ends under it.
const session = await Session.open(etcd, { ttlSeconds: 10 });
const before = await new Mutex(session, 'account-7').acquire();
await before.release();
const lock = await new Mutex(session, 'account-7').acquire();
console.log(`the fencing token grows from holder to holder: ${lock.token > before.token}`);
await session.lease.revoke();
try {
  await lock.guard({ then: [etcd.op.put('balance', '0')] });
} catch (error) {
  if (!(error instanceof LostError)) throw error;
  console.log(`a write after the lock was lost: ${error.message}`);
}
console.log(`the balance is still ${(await etcd.get('balance'))?.value}`);

/**
 * Many readers or one writer, in order of arrival.
 *
 *   node --import tsx examples/rwmutex.ts
 *
 * @module
 */
import { RWMutex, Session } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

await using etcd = await connect();
await using session = await Session.open(etcd);
const catalogue = new RWMutex(session, 'catalogue');

const first = await catalogue.acquireRead();
const second = await catalogue.acquireRead();
console.log('two read at the same time');

const writing = catalogue.acquireWrite({ timeoutMs: 10_000 }).then(async (lock) => {
  console.log('one writes, alone');
  await lock.guard({ then: [etcd.op.put('catalogue', 'second edition')] });
  await lock.release();
});
console.log('a writer waits for both');
await first.release();
await second.release();
await writing;

await using _third = await catalogue.acquireRead({ timeoutMs: 10_000 });
console.log(`the next reader finds: ${(await etcd.get('catalogue'))?.value}`);

/**
 * A guided tour of the client on a real etcd: `npm start`.
 *
 *   npm start                                  on a member of its own, which it starts and stops
 *   npm start -- --endpoints 10.0.0.1:2379     on a cluster that runs already
 *
 * It writes under a prefix of its own and deletes that at the end.
 *
 * @module
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Etcd, EtcdError, json, type Keyspace } from 'etcdkit';
import { Cable } from './support/cable.ts';
import { startEtcd } from './support/etcd.ts';

const { values: flags } = parseArgs({ options: { endpoints: { type: 'string' } } });

function chapter(title: string): void {
  console.log(`\n── ${title} ${'─'.repeat(Math.max(2, 76 - title.length))}`);
}

function say(text: string): void {
  console.log(`   ${text}`);
}

async function putAndGet(etcd: Keyspace): Promise<void> {
  chapter('Put and get');
  const { revision } = await etcd.put('greeting', 'hello');
  say(`put greeting = hello, at revision ${revision} of the store`);
  const greeting = await etcd.get('greeting');
  say(`get greeting: ${greeting?.value} (version ${greeting?.version} of the key)`);
}

async function transaction(etcd: Keyspace): Promise<void> {
  chapter('A transaction: take a name, unless it is taken');
  const claim = (owner: string) =>
    etcd.txn({
      if: [etcd.key('name').missing],
      then: [etcd.op.put('name', owner)],
      else: [etcd.op.get('name')],
    });
  for (const owner of ['ada', 'grace']) {
    const done = await claim(owner);
    say(done.succeeded ? `${owner} takes it` : `${owner} does not: it is ${done.results[0]?.value}'s`);
  }
}

async function scan(etcd: Keyspace): Promise<void> {
  chapter('Typed values, and a scan of many keys at one revision');
  const users = etcd.keyspace('users/', json<{ name: string; visits: number }>());
  const numbers = Array.from({ length: 1_000 }, (_, index) => index);
  await Promise.all(numbers.map((n) => users.put(String(n).padStart(4, '0'), { name: `user ${n}`, visits: n % 7 })));
  let visits = 0;
  let keys = 0;
  for await (const user of users.scan({ all: true })) {
    keys += 1;
    visits += user.value.visits;
    // Written while the scan runs: it reads the store as it was when it began.
    if (keys === 1) await users.put('9999', { name: 'late', visits: 1_000_000 });
  }
  say(`1,000 users written; a scan finds ${keys} of them with ${visits} visits`);
  say('and does not see the one that was added while it ran');
}

async function watchThroughCut(direct: Etcd, prefix: string, cable: Cable): Promise<void> {
  chapter('A watch that survives its connection');
  await using far = new Etcd({ endpoints: cable.endpoint });
  await using watcher = far.keyspace(prefix).watch({ prefix: 'news/' });
  await watcher.ready;
  const writer = direct.keyspace(prefix);
  await writer.put('news/1', 'before the cut');
  const seen: string[] = [];
  for await (const event of watcher) {
    if (event.type !== 'put') continue;
    seen.push(event.kv.value);
    say(`event at revision ${event.revision}: ${event.kv.value}`);
    if (seen.length === 1) {
      cable.pull();
      say('(the cable is pulled; meanwhile somebody else goes on writing)');
      for (const text of ['while it was cut', 'still cut']) await writer.put('news/1', text);
      await sleep(500);
      cable.plugIn();
      say('(the cable is back)');
    }
    if (seen.length === 3) await writer.put('news/1', 'after the cut');
    if (seen.length === 4) break;
  }
  say('each change once, in order, and none lost');
}

async function lease(etcd: Etcd, prefix: string): Promise<void> {
  chapter('A lease: a key that lives as long as its owner');
  const space = etcd.keyspace(prefix);
  const lease = await etcd.lease({ ttlSeconds: 2 });
  await space.put('services/orders', '10.0.0.7:8080', { lease });
  say(`granted for ${lease.ttlSeconds} s, and kept alive in the background`);
  await sleep(lease.ttlSeconds * 1_500);
  const still = await space.get('services/orders');
  say(
    `${lease.ttlSeconds * 1.5} s later the key is still there: ${still?.value}; ${(lease.remainingMs() / 1000).toFixed(1)} s certain`,
  );
  await lease.revoke();
  say(`revoked: the key is ${(await space.get('services/orders')) === undefined ? 'gone' : 'still there'}`);
}

async function failure(): Promise<void> {
  chapter('What a failure looks like');
  await using nobody = new Etcd({ endpoints: '127.0.0.1:1', timeoutMs: 300 });
  try {
    await nobody.put('greeting', 'hello');
  } catch (error) {
    if (!(error instanceof EtcdError)) throw error;
    say(`a put to an address where nobody listens: code ${error.code}, applied: ${error.applied}`);
    say('"no" means it is certain that nothing was written; "maybe" would mean that nobody can know');
  }
}

async function main(): Promise<void> {
  await using own = flags.endpoints === undefined ? await startEtcd() : undefined;
  const endpoints = own ? [own.endpoint] : (flags.endpoints ?? '').split(',');
  const [first = ''] = endpoints;
  await using etcd = new Etcd({ endpoints });
  await etcd.connect();
  const [{ version } = { version: undefined }] = etcd.endpoints;
  console.log(`etcd ${version ?? ''} at ${endpoints.join(', ')}${own ? ', started for this tour' : ''}`);

  const prefix = `etcdkit-tour-${randomBytes(4).toString('hex')}/`;
  const space = etcd.keyspace(prefix);
  await using cable = await Cable.to(first.replace(/^http:\/\//, ''));
  try {
    await putAndGet(space);
    await transaction(space);
    await scan(space);
    await watchThroughCut(etcd, prefix, cable);
    await lease(etcd, prefix);
    await failure();
  } finally {
    await space.delete({ all: true });
  }

  chapter('What next');
  say('npm start -- --endpoints host:port   the same on your own cluster');
  say('examples/tour.ts                     what you have just seen');
  say('npm run docs                         the API reference, in docs/api');
  say('npm test                             all tests, on real etcd 3.4 and 3.5');
}

try {
  await main();
} catch (error) {
  console.error(`\nThe tour ended early: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

/**
 * The main job of the package, in a few seconds: `npm start`.
 *
 *   npm start                                  on a cluster of its own: three members in this process
 *   npm start -- --endpoints 10.0.0.1:2379     on a cluster that runs already, a real etcd for instance
 *
 * Three instances of a service register themselves and are discovered, elect a leader, and share a lock. Then the leader's
 * instance dies while it holds the lock, and on its own cluster the leading member with it. It writes under a prefix of its
 * own and deletes that at the end.
 *
 * @module
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Etcd } from 'etcdkit';
import { ElectionView, ServiceRegistry } from 'etcdkit/recipes';
import { TestCluster } from 'etcdkit/testing';
import { Instance, type Place, TTL_SECONDS } from './tour/instance.ts';
import { chapter, note, say } from './tour/screen.ts';

const { values: flags } = parseArgs({ options: { endpoints: { type: 'string' } } });

/** Tells who leads, as long as it is wanted, and lets wait for another than somebody. */
class Leaders {
  readonly #view: ElectionView;
  readonly #stop = new AbortController();
  readonly #telling: Promise<void>;

  constructor(etcd: Etcd, name: string) {
    this.#view = new ElectionView(etcd, name);
    this.#telling = this.#tell();
  }

  async #tell(): Promise<void> {
    try {
      for await (const state of this.#view.observe({ signal: this.#stop.signal })) {
        if (state.kind === 'leader') say(`leader    ${state.value}, in term ${state.term}`);
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error;
    }
  }

  async other(than?: string): Promise<string> {
    for await (const state of this.#view.observe()) {
      if (state.kind === 'leader' && state.value !== than) return state.value;
    }
    throw new Error('nobody looks on any more');
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#telling;
  }
}

async function tour(etcd: Etcd, place: Place, cluster: TestCluster | undefined): Promise<void> {
  const { prefix } = place;
  chapter('Three instances of a service register themselves, and elect a leader');
  await using orders = await new ServiceRegistry(etcd, { prefix: `${prefix}services/` }).discover('orders');
  const registry = (async () => {
    for await (const { type, instance } of orders.changes()) {
      say(
        `registry  ${instance.id} at ${instance.address}:${instance.port} is ${type === 'removed' ? 'gone' : instance.status}`,
      );
    }
  })();
  const ids = ['orders-a', 'orders-b', 'orders-c'];
  const leaders = new Leaders(etcd, `${prefix}leader`);
  const instances = await Promise.all(ids.map((id, index) => Instance.start(id, 8081 + index, place)));
  const first = await leaders.other();

  chapter('All three add to one number: read, think, write, under one lock');
  await sleep(1_000);
  const before = instances.map(({ id, entries }) => `${id}: ${entries}`).join(', ');
  say(`lock      ${before}`);

  chapter(`The leader's instance dies${cluster ? ", and the cluster's leading member with it" : ''}`);
  const leader = instances.find(({ id }) => id === first) as Instance;
  const rest = instances.filter((instance) => instance !== leader);
  note(`nobody is told: what it held hangs on leases of ${TTL_SECONDS} s, which nobody renews now`);
  await leader.die();
  if (cluster) {
    const member = await cluster.waitForLeader();
    await member.kill();
    say(`cluster   ${member.name}, which led it, is killed`);
    say(`cluster   ${(await cluster.waitForLeader()).name} leads it now`);
  }
  const had = rest.reduce((sum, { entries }) => sum + entries, 0);
  await leaders.other(first);
  while (rest.reduce((sum, { entries }) => sum + entries, 0) === had) await sleep(20);
  say('lock      free again: the others go on');
  while (orders.registered.some(({ id }) => id === first)) await sleep(20);

  chapter('The others end in good order, and nothing was lost');
  for (const instance of rest) await instance.end();
  await leaders.end();
  const ledger = Number((await etcd.get(`${prefix}ledger`))?.value);
  const told = instances.reduce((sum, { entries }) => sum + entries, 0);
  say(`the number is ${ledger}, and the three have added ${told}`);
  while (orders.registered.length > 0) await sleep(20);
  await orders.close();
  await registry;
  if (ledger !== told) throw new Error('two held the lock at the same time');
}

async function main(): Promise<void> {
  await using cluster = flags.endpoints === undefined ? await TestCluster.start() : undefined;
  const endpoints = cluster?.endpoints ?? (flags.endpoints ?? '').split(',');
  await using etcd = new Etcd({ endpoints });
  await etcd.connect();
  const [{ version } = { version: undefined }] = etcd.endpoints;
  console.log(
    cluster ? 'A cluster of three members, in this process' : `etcd ${version ?? ''} at ${endpoints.join(', ')}`,
  );

  const prefix = `etcdkit-tour-${randomBytes(4).toString('hex')}-`;
  try {
    await tour(etcd, { endpoints, prefix }, cluster);
  } finally {
    await etcd.delete({ prefix });
  }

  chapter('What next');
  note('npm start -- --endpoints host:port   the same on your own etcd');
  note('examples/                            each recipe as a small program');
  note('docs/getting-started.md              the guides');
  note('npx etcdkit cluster                  a cluster to play with, from any shell');
  note('npm test                             all tests, on real etcd 3.4 and 3.5 too');
}

try {
  await main();
} catch (error) {
  console.error(`\nThe tour ended early: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

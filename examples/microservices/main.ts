/**
 * Three microservices, each instance a process of its own, under load while they are scaled, deployed and killed:
 *
 *   node --import tsx examples/microservices/main.ts
 *
 * `shop` (HTTP) answers what an article costs and how many are left. It asks `prices` (gRPC) and `stock` (HTTP), which it
 * knows by name only: `etcd:///prices`, `http://stock/`. The load comes through the same dispatcher, at `http://shop/`. The
 * registry is in a cluster of three bundled members, in this process.
 *
 * Ends with exit code 0 when no request has failed while instances came and drained.
 *
 * @module
 */
import { Etcd } from 'etcdkit';
import { ServiceRegistry } from 'etcdkit/recipes';
import { TestCluster } from 'etcdkit/testing';
import { serviceDispatcher } from 'etcdkit/undici';
import { Fleet } from './fleet.ts';
import { Load } from './load.ts';

/** Requests that are waited for, so that each part of the story has some. */
const REQUESTS = 200;

async function story(fleet: Fleet, load: Load): Promise<boolean> {
  await Promise.all(['prices', 'stock', 'stock', 'shop', 'shop'].map((name) => fleet.start(name)));
  load.begin();
  await load.chapter('prices, and two of stock and of shop', () => load.answered(REQUESTS));

  await load.chapter('stock is scaled from two to three', async () => {
    const added = await fleet.start('stock');
    await load.answeredBy(added);
  });

  await load.chapter('prices is deployed anew: one comes, the other drains', async () => {
    const [old] = fleet.running('prices');
    const fresh = await fleet.start('prices');
    await load.answeredBy(fresh);
    if (old !== undefined) await fleet.drain(old);
  });

  await load.chapter('shop is scaled down to one', async () => {
    const [first] = fleet.running('shop');
    if (first !== undefined) await fleet.drain(first);
    await load.answered(REQUESTS);
  });
  const lost = load.failed;

  await load.chapter('one instance of stock is killed', async () => {
    const [first] = fleet.running('stock');
    if (first !== undefined) await fleet.kill(first);
    await load.answered(REQUESTS);
  });
  await load.end();

  console.log(`failed while instances came and drained: ${lost}`);
  return lost === 0;
}

await using cluster = await TestCluster.start();
await using etcd = new Etcd({ endpoints: cluster.endpoints });
await using dispatcher = serviceDispatcher(new ServiceRegistry(etcd));
await using fleet = new Fleet(cluster.endpoints);
await using load = new Load(dispatcher);
process.exitCode = (await story(fleet, load)) ? 0 : 1;

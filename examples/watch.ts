/**
 * A watch that goes on where it was: from a revision, through the loss of a member.
 *
 *   node --import tsx examples/watch.ts
 *
 * @module
 */
import { Etcd } from 'etcdkit';
import { TestCluster } from 'etcdkit/testing';

await using cluster = await TestCluster.start();
await using etcd = new Etcd({ endpoints: cluster.endpoints, timeoutMs: 30_000 });

const { revision } = await etcd.put('orders/1', 'taken');
await etcd.put('orders/1', 'packed');
await using watcher = etcd.watch({ prefix: 'orders/' }, { from: revision });

const seen: string[] = [];
for await (const event of watcher) {
  seen.push(event.type === 'put' ? event.kv.value : 'deleted');
  if (seen.length === 2) {
    // The member that carries the watch may be this one, or another; the watch need not care.
    await (await cluster.waitForLeader()).kill();
    await cluster.waitForLeader();
    await etcd.put('orders/1', 'sent');
    await etcd.delete('orders/1');
  }
  if (seen.length === 4) break;
}
console.log(seen.join(', '));

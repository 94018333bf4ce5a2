/** Uses a cluster, and leaves it and its client open. */
import { TestCluster } from '../../../src/testing/index.ts';

const cluster = await TestCluster.start();
const etcd = cluster.client();
await etcd.put('greeting', 'hello');
console.log((await etcd.get('greeting'))?.value);

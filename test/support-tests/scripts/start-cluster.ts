/** Starts a cluster, says what belongs to it, and stays: the test kills it the hard way. */
import { EtcdCluster } from '../../support/etcd-cluster.ts';

const cluster = await EtcdCluster.start({ version: '3.5' });
const [member] = cluster.members;
console.log(JSON.stringify({ pid: member?.pid, dataDir: member?.dataDir }));
setInterval(() => {}, 1_000);

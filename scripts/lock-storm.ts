/**
 * Two hundred contenders from several processes on one lock, through minutes of faults.
 *
 * Usage: `npx tsx scripts/lock-storm.ts [seconds] [contenders] [processes] [version]`, by
 * default 600, 200, 4 and 3.5. It starts a real etcd of three members of its own. Ends with
 * code 1 when the lock was held twice, somebody starved, or a key was left. CI runs a short
 * form of it, test/recipes/storm.etcd.test.ts.
 *
 * @module
 */

import { lockStorm } from '../test/recipes/storm.ts';
import { EtcdCluster } from '../test/support/etcd-cluster.ts';

const [seconds = '600', contenders = '200', processes = '4', version = '3.5'] = process.argv.slice(2);
if (version !== '3.4' && version !== '3.5') throw new Error(`version ${version} is neither 3.4 nor 3.5`);

await using cluster = await EtcdCluster.start({ version, members: 3 });
const report = await lockStorm({
  cluster,
  name: 'storm',
  contenders: Number(contenders),
  processes: Number(processes),
  faultsMs: Number(seconds) * 1000,
  calmMs: 120_000,
});
console.log(JSON.stringify(report, undefined, 2));
const { stale, overlaps, starved, leftovers } = report;
if ([stale, overlaps, starved, leftovers].some((found) => found.length > 0)) process.exitCode = 1;

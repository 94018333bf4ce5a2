/**
 * Fifty services of twenty instances each in five processes, through rolling deploys, killed processes, restarts of etcd,
 * compaction and an outage of ten minutes, with requests all the while.
 *
 * Usage: `npm run fleet -- [outage seconds] [services] [instances of each] [processes] [rounds] [version]`, by default 600,
 * 50, 20, 5, 5 and 3.5. It starts a real etcd of its own. Prints how long news took to spread, and ends with code 1 when a
 * request went to an instance that had been gone for too long, or a healthy one was missing. CI runs a short form of it,
 * test/recipes/services/fleet/fleet.etcd.test.ts.
 *
 * @module
 */

import { runFleet } from '../test/recipes/services/fleet/fleet.ts';
import { EtcdCluster } from '../test/support/etcd-cluster.ts';

const [seconds = '600', services = '50', each = '20', processes = '5', rounds = '5', version = '3.5'] =
  process.argv.slice(2);
if (version !== '3.4' && version !== '3.5' && version !== 'bundled') {
  throw new Error(`version ${version} is neither 3.4 nor 3.5 nor bundled`);
}

/** Of a list that is to be empty: as much as a reader wants to see. */
const SHOWN = 20;

await using cluster = await EtcdCluster.start({ version });
const report = await runFleet({
  cluster,
  prefix: 'fleet/',
  services: Number(services),
  instancesPerService: Number(each),
  processes: Number(processes),
  outageMs: Number(seconds) * 1_000,
  rounds: Number(rounds),
  pickEveryMs: 100,
  log: (line) => console.log(`${Math.round(performance.now() / 1_000)} s: ${line}`),
});
const { verdict } = report;
const shown = Object.fromEntries(
  Object.entries(verdict).map(([what, found]) => [what, { count: found.length, first: found.slice(0, SHOWN) }]),
);
console.log(JSON.stringify({ ...report, verdict: shown }, undefined, 2));
if (Object.values(verdict).some((found) => found.length > 0)) process.exitCode = 1;

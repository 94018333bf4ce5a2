import { expect, it } from 'vitest';
import type { EtcdVersion } from '../../../scripts/etcd.ts';
import { tortureCluster } from './cluster-torture.ts';

const SEED = 1;

it.each<[string, EtcdVersion[], number]>([
  ['three of the bundled server', ['bundled', 'bundled', 'bundled'], 30_000],
  ['two of the bundled server and one of etcd 3.5', ['bundled', 'bundled', '3.5'], 10_000],
  ['one of the bundled server and two of etcd 3.5', ['bundled', '3.5', '3.5'], 10_000],
])(`a cluster of %s keeps its promises (seed ${SEED})`, { timeout: 600_000 }, async (_name, versions, roundMs) => {
  const report = await tortureCluster({ versions, seed: SEED, roundMs });
  // It was worth the name: there were faults, and in spite of them most that was asked for was done.
  expect(Object.values(report.faults).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(roundMs / 10_000);
  expect(report.answered).toBeGreaterThan(roundMs / 100);
  expect(report.answered).toBeGreaterThan(report.unknown);
});

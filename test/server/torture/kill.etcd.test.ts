import { expect, it } from 'vitest';
import { torture } from './torture.ts';

const SEED = 1;
const KILLS = 200;

it(`loses nothing by ${KILLS} kills`, { timeout: 600_000 }, async () => {
  const report = await torture({ kills: KILLS, seed: SEED });
  // It was worth the name: kills came under load, between images and while it started.
  expect(report.kills).toBe(KILLS);
  expect(report.acknowledged).toBeGreaterThan(10 * KILLS);
  expect(report.snapshots).toBeGreaterThan(KILLS / 4);
  expect(report.killedStarting).toBeGreaterThan(0);
});

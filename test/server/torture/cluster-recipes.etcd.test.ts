import { expect, it } from 'vitest';
import { tortureRecipes } from './cluster-recipes.ts';

const SEED = 1;

it(`the client and the recipes keep their promises while members come and go (seed ${SEED})`, {
  timeout: 600_000,
}, async (test) => {
  const { done, faults } = await tortureRecipes({ seed: SEED, ms: 1 });
  // Each fault once, and in spite of them some of each kind of work: how much, depends on the machine.
  expect(Object.keys(faults).length).toBe(8);
  for (const [work, times] of Object.entries(done)) expect(times, work).toBeGreaterThan(2);
  await test.annotate(JSON.stringify(done));
});

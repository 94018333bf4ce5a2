/**
 * Runs seeds until one breaks a rule. It fails if one does: with a fault in the server (`MEMBER_MUTANT`) that is what is
 * wanted. `MEMBER_SEEDS` says how many at most.
 */
import { expect, it } from 'vitest';
import { runMembersBatch } from '../batch.ts';
import type { MembersRunResult } from '../simulation.ts';
import { MEMBER_MUTANTS } from './table.ts';

const SEEDS = Number(process.env.MEMBER_SEEDS ?? 150);
const mutant = MEMBER_MUTANTS.find(({ name }) => name === process.env.MEMBER_MUTANT);

it('breaks no rule', async () => {
  let broken: MembersRunResult | undefined;
  await runMembersBatch({
    seeds: SEEDS,
    firstSeed: 1,
    change: mutant?.scenario,
    after: (result) => {
      if (result.broken) broken = result;
      return broken === undefined;
    },
  });
  if (broken === undefined) return;
  const { options, broken: rule } = broken;
  expect.fail(`seed ${options.seed}, ${rule?.rule}: ${rule?.detail.split('\n')[0]}`);
});

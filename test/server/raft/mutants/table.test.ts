/** The table of mutants fits the code: each fault can still be put in. The gate itself is `npm run mutants`. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { applyMutant } from './mutant.ts';
import { MUTANTS } from './table.ts';

const RAFT = new URL('../../../../src/server/raft/', import.meta.url);

describe('the mutants', () => {
  it.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))('%s can be put in', (_name, mutant) => {
    const text = readFileSync(new URL(mutant.file, RAFT), 'utf8');
    expect(applyMutant(mutant, text)).not.toBe(text);
  });

  it('have names of their own', () => {
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
  });
});

/** The table of mutants fits the code: each fault can still be put in. The gate itself is `npm run mutants:members`. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { applyMutant } from '../../../server/raft/mutants/mutant.ts';
import { MEMBER_MUTANTS } from './table.ts';

const SERVER = new URL('../../../../src/server/', import.meta.url);

describe('the mutants of members', () => {
  it.each(MEMBER_MUTANTS.map((mutant) => [mutant.name, mutant] as const))('%s can be put in', (_name, mutant) => {
    const text = readFileSync(new URL(mutant.file, SERVER), 'utf8');
    expect(applyMutant(mutant, text)).not.toBe(text);
  });

  it('have names of their own', () => {
    expect(new Set(MEMBER_MUTANTS.map(({ name }) => name)).size).toBe(MEMBER_MUTANTS.length);
  });
});

/**
 * The simulator of whole members, with one fault put into the server while it is loaded: `MEMBER_MUTANT` names it. The
 * files on disk stay as they are.
 */
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import { applyMutant } from '../../../server/raft/mutants/mutant.ts';
import { MEMBER_MUTANTS } from './table.ts';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const wanted = process.env.MEMBER_MUTANT;
const mutant = MEMBER_MUTANTS.find(({ name }) => name === wanted);
if (wanted !== undefined && !mutant) throw new Error(`no mutant is called ${wanted}`);

const fault: Plugin = {
  name: 'one-fault',
  enforce: 'pre',
  transform(code, id) {
    return mutant && id.endsWith(`/src/server/${mutant.file}`) ? applyMutant(mutant, code) : undefined;
  },
};

export default defineConfig({
  root: ROOT,
  plugins: [fault],
  test: {
    // A CommonJS package is imported as Node imports it.
    deps: { interopDefault: false },
    include: ['test/simulation/members/mutants/gate.ts'],
    maxWorkers: 1,
    testTimeout: 600_000,
  },
});

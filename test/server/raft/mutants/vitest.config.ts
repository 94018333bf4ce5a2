/**
 * The suites of the core, with one fault put into it while it is loaded: `RAFT_MUTANT` names it. The files on disk
 * stay as they are.
 */
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import { applyMutant } from './mutant.ts';
import { MUTANTS } from './table.ts';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const wanted = process.env.RAFT_MUTANT;
const mutant = MUTANTS.find(({ name }) => name === wanted);
if (wanted !== undefined && !mutant) throw new Error(`no mutant is called ${wanted}`);

const fault: Plugin = {
  name: 'one-fault',
  enforce: 'pre',
  transform(code, id) {
    return mutant && id.endsWith(`/src/server/raft/${mutant.file}`) ? applyMutant(mutant, code) : undefined;
  },
};

export default defineConfig({
  root: ROOT,
  plugins: [fault],
  test: {
    include: ['test/server/raft/**/*.test.ts', 'test/simulation/**/*.test.ts'],
    exclude: ['test/server/raft/mutants/**', 'test/simulation/members/**'],
    // One process for all files: the gate runs two of these at a time.
    maxWorkers: 1,
    isolate: false,
    testTimeout: 60_000,
  },
});

/**
 * `npm test`: everything, on a fresh clone too. The last line says how many checks and tests
 * passed and failed.
 *
 * @module
 */
import { addCounts, conclude, NO_COUNTS, runSteps, type Step } from './checks/runner.ts';
import { generate, suite, tools } from './checks/steps.ts';

const build: Step = { name: 'build', command: ['npm', 'run', '--silent', 'build'] };
const docs: Step = { name: 'API reference', command: ['typedoc', '--logLevel', 'Warn'] };
const benchPackages: Step = { name: 'packages of bench/', command: ['npm', 'ci', '--prefix', 'bench', '--silent'] };
const benchTypes: Step = { name: 'types of bench/', command: ['tsc', '-p', 'tsconfig.bench.json'] };
/** Without it the suites say what is missing, and in CI fail. */
const etcd: Step = { name: 'real etcd', command: ['tsx', 'scripts/etcd.ts'] };

/** Suites as they are while members are in trouble: two of them, half a minute. */
const churn: Step = {
  name: 'churn, two suites',
  command: ['tsx', 'scripts/churn.ts', '--seed', '11', 'test/recipes/latch', 'test/conformance/txn'],
};

/** Consensus: etcd's traces, clusters and whole members under faults, and some of the faults that these must catch. */
const consensus: readonly Step[] = [
  { name: 'simulation, 2,000 seeds', command: ['tsx', 'scripts/simulate.ts', '--seeds', '2000', '--seed', '1'] },
  {
    name: 'simulation of members, 500 seeds',
    command: ['tsx', 'scripts/simulate.ts', '--members', '--seeds', '500', '--seed', '1'],
  },
  { name: 'mutants of members, a sample', command: ['tsx', 'scripts/member-mutants.ts', '--every', '9'] },
  { name: 'mutants, a sample', command: ['tsx', 'scripts/mutants.ts', '--every', '43'] },
  { name: 'seeds on two versions of Node.js', command: ['tsx', 'scripts/digests.ts'] },
  { name: 'traces of etcd', command: ['tsx', 'scripts/traces.ts', 'test/server/raft/testdata'] },
];

// One after the other where one needs the other; the rest two at a time.
const stages: readonly (readonly [steps: readonly Step[], atOnce: number])[] = [
  [[generate], 1],
  [[suite('unit'), ...tools], 2],
  [[...consensus, suite('long')], 2],
  [[build], 1],
  [[docs, benchPackages, etcd], 2],
  [[benchTypes, suite('package')], 2],
  // Last and alone: it is about time, and a busy machine makes it slow.
  [[suite('etcd', true)], 1],
  [[churn], 1],
];

let total = NO_COUNTS;
for (const [steps, atOnce] of stages) {
  const counts = await runSteps(steps, atOnce);
  total = addCounts(total, counts);
}
conclude(total);

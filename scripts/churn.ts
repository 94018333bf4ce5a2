/**
 * The client's and the recipes' suites as they are, on three members of which one is always in trouble
 * (test/support/churn.ts): each test with the next of kill, stop, partition, restart and replace.
 *
 * Usage: `npm run churn -- [--seed S] [files...]`, by default seed 1 and all suites that can hold under it. Suites and
 * tests that cannot are skipped, and say why. A test that was told that a write of its own may have been applied is
 * repeated: more than to be told so nobody is promised when a member stops answering.
 *
 * Prints what has failed, and under which trouble, and how many there were of each; ends with code 1 if any test failed.
 *
 * @module
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { ROOT } from './checks/runner.ts';
import { countReport, type Report, vitestArguments } from './checks/steps.ts';

const SUITES = ['test/client', 'test/recipes', 'test/conformance'];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string', default: '1' } },
});
const folder = path.join(ROOT, '.cache', 'results');
mkdirSync(folder, { recursive: true });
const file = path.join(folder, `churn-${process.pid}.json`);
const { status } = spawnSync(
  process.execPath,
  [
    path.join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'),
    ...vitestArguments('etcd', file),
    ...(positionals.length > 0 ? positionals : SUITES),
  ],
  { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ETCDKIT_CHURN: values.seed } },
);
if (!existsSync(file)) throw new Error('the run was broken off: there is no report');
const report = JSON.parse(readFileSync(file, 'utf8')) as Report;
rmSync(file);

const { failures } = countReport('churn', report, status ?? 1);
for (const failure of failures) console.log(`failed: ${failure}`);
const count = new Map(failures.length > 0 ? [['failed', failures.length]] : []);
const troubles = new Map<string, number>();
const add = (what: string, to: Map<string, number>): void => void to.set(what, (to.get(what) ?? 0) + 1);
for (const { status: outcome, meta } of report.testResults.flatMap(({ assertionResults }) => assertionResults)) {
  if (outcome !== 'failed') add(outcome, count);
  const befallen = meta?.troubles ?? [];
  for (const trouble of befallen) add(trouble.split(' ', 1)[0] ?? '', troubles);
  if (befallen.length > 1) add('repeated', count);
}
const line = (of: ReadonlyMap<string, number>): string => [...of].map(([what, n]) => `${n} ${what}`).join(', ');
console.log(`seed ${values.seed}: ${line(count)}; troubles: ${line(troubles)}`);
process.exitCode = status ?? 1;

/**
 * What is checked, and how each check is run.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { type Counts, ROOT, type Step } from './runner.ts';

/** Writes the protocol's code; everything else needs it. */
export const generate: Step = { name: 'generate', command: ['tsx', 'scripts/generate-protocol.ts'] };

/** The tools that read the source, those that take longest first. */
export const tools: readonly Step[] = [
  { name: 'eslint', command: ['eslint', '.', '--max-warnings=0'] },
  { name: 'types', command: ['tsc', '-p', '.'] },
  { name: 'unused code', command: ['knip', '--no-progress'] },
  { name: 'import directions', command: ['depcruise', 'src', 'recipes', 'examples', 'scripts'] },
  { name: 'format and lint', command: ['biome', 'check', '.', '--error-on-warnings', '--max-diagnostics=20'] },
];

/** The suites of vitest.config.ts. */
export type Suite = 'unit' | 'long' | 'etcd' | 'package';

/** A vitest suite, counted by its tests. With `live` its progress is shown as it runs. */
export function suite(name: Suite, live = false): Step {
  const folder = path.join(ROOT, '.cache', 'results');
  const file = path.join(folder, `${name}.json`);
  mkdirSync(folder, { recursive: true });
  // One of an earlier run must not be taken for this one's.
  rmSync(file, { force: true });
  return {
    name: `${name} tests`,
    command: ['vitest', 'run', '--project', name, '--reporter=default', '--reporter=json', `--outputFile.json=${file}`],
    live,
    count: (exitCode) => countTests(file, exitCode),
  };
}

/** The part of vitest's JSON report that counts. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

function countTests(file: string, exitCode: number): Counts {
  if (!existsSync(file)) return { passed: 0, failed: 1 };
  const report = JSON.parse(readFileSync(file, 'utf8')) as Report;
  // A file that cannot be loaded, or whose hook fails, has no failed test of its own.
  const failedFiles = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  ).length;
  const failed = report.numFailedTests + failedFiles;
  // Unhandled errors fail the run without failing a test.
  return { passed: report.numPassedTests, failed: failed === 0 && exitCode !== 0 ? 1 : failed };
}

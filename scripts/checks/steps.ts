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
    command: ['vitest', ...vitestArguments(name, file)],
    live,
    count: (exitCode) => countTests(name, file, exitCode),
  };
}

/** Has vitest run a suite, and write its report to a file. */
export function vitestArguments(name: Suite, file: string): string[] {
  return ['run', '--project', name, '--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
}

/** The part of vitest's JSON report that counts. */
export interface Report {
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages?: readonly string[];
      /** Under churn: what had befallen whom when it began, each time that it did. */
      readonly meta?: { readonly troubles?: readonly string[] };
    }[];
  }[];
}

function countTests(suiteName: Suite, file: string, exitCode: number): Counts {
  if (!existsSync(file)) return { passed: 0, failed: 1, failures: [`${suiteName} tests: no report was written`] };
  return countReport(suiteName, JSON.parse(readFileSync(file, 'utf8')) as Report, exitCode);
}

/** Counts what a report says of a vitest run that ended with `exitCode`. */
export function countReport(suiteName: string, report: Report, exitCode: number): Counts {
  const failures = report.testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = path.relative(ROOT, name);
    const tests = assertionResults.filter((test) => test.status === 'failed');
    // A file that cannot be loaded, or whose hook fails, has no failed test of its own.
    if (tests.length === 0) return status === 'failed' ? [`${file}: ${firstLine(message)}`] : [];
    return tests.map(({ fullName, failureMessages, meta }) => {
      const trouble = meta?.troubles?.at(-1);
      const test = trouble === undefined ? fullName : `${fullName} (${trouble})`;
      return `${file} > ${test}: ${firstLine(failureMessages?.at(-1))}`;
    });
  });
  // Unhandled errors fail the run without failing a test.
  if (failures.length === 0 && exitCode !== 0) failures.push(`${suiteName} tests: exit code ${exitCode}`);
  return { passed: report.numPassedTests, failed: failures.length, failures };
}

function firstLine(text = ''): string {
  return text.split('\n', 1)[0] ?? '';
}

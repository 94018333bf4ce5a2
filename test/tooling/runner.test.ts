import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Counts, conclude, ROOT, runSteps, type Step } from '../../scripts/checks/runner.ts';
import { countReport } from '../../scripts/checks/steps.ts';

const node = (name: string, code: string): Step => ({ name, command: ['node', '-e', code] });

describe('runSteps', () => {
  let lines: string[] = [];
  beforeEach(() => {
    lines = [];
    vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('counts every step, also those that run at the same time', async () => {
    const steps = [node('a', ''), node('b', 'process.exit(3)'), node('c', ''), node('d', 'throw new Error("d")')];
    expect(await runSteps(steps, 2)).toMatchObject({ passed: 2, failed: 2 });
    expect(lines.filter((line) => /^ {2}(ok|FAIL) /.test(line))).toHaveLength(4);
  });

  it('shows the output of a step that fails, and only of that', async () => {
    await runSteps([node('quiet', 'console.log("no news")'), node('loud', 'console.error("why"); process.exit(1)')]);
    expect(lines.join('\n')).toContain('why');
    expect(lines.join('\n')).not.toContain('no news');
  });

  it('takes a program that is not there for a failure', async () => {
    const failures = ['gone: exit code 1'];
    const counts = await runSteps([{ name: 'gone', command: ['etcdkit-no-such-program'] }]);
    expect(counts).toEqual({ passed: 0, failed: 1, failures });
  });

  it('lets a step count for itself', async () => {
    const count = (exitCode: number): Counts => ({ passed: 40, failed: exitCode, failures: ['many: the 7th'] });
    const counts = await runSteps([{ ...node('many', 'process.exit(1)'), count }, node('one', '')]);
    expect(counts).toEqual({ passed: 41, failed: 1, failures: ['many: the 7th'] });
  });

  it('names what failed right before the numbers, which are last', () => {
    const before = process.exitCode;
    try {
      conclude({ passed: 3, failed: 2, failures: ['a', 'b'] });
      expect(process.exitCode).toBe(1);
      conclude({ passed: 3, failed: 0, failures: [] });
      expect(process.exitCode).toBe(0);
    } finally {
      process.exitCode = before;
    }
    expect(lines).toEqual(['failed:\n  a\n  b', '3 passed, 2 failed', '3 passed, 0 failed']);
  });
});

describe('countReport', () => {
  const test = (fullName: string, ...failureMessages: string[]) => ({
    fullName,
    status: failureMessages.length > 0 ? 'failed' : 'passed',
    failureMessages,
  });
  const file = (name: string, status: string, message: string, ...assertionResults: ReturnType<typeof test>[]) => ({
    name: path.join(ROOT, name),
    status,
    message,
    assertionResults,
  });

  it('counts tests, and files that failed without one, and names them with the first line of why', () => {
    const testResults = [
      file('test/a.test.ts', 'failed', '', test('holds'), test('breaks', 'Error: so\n  at a line')),
      file('test/b.test.ts', 'failed', 'SyntaxError: b\nmore'),
      file('test/c.test.ts', 'passed', '', test('goes')),
    ];
    expect(countReport('unit', { numPassedTests: 2, testResults }, 1)).toEqual({
      passed: 2,
      failed: 2,
      failures: ['test/a.test.ts > breaks: Error: so', 'test/b.test.ts: SyntaxError: b'],
    });
  });

  it('takes a run that failed without a failed test for one failure', () => {
    const failures = ['unit tests: exit code 1'];
    expect(countReport('unit', { numPassedTests: 2, testResults: [] }, 1)).toEqual({ passed: 2, failed: 1, failures });
    expect(countReport('unit', { numPassedTests: 2, testResults: [] }, 0)).toMatchObject({ failed: 0 });
  });
});

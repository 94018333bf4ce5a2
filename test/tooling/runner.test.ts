import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { runSteps, type Step } from '../../scripts/checks/runner.ts';

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
    expect(await runSteps(steps, 2)).toEqual({ passed: 2, failed: 2 });
    expect(lines.filter((line) => /^ {2}(ok|FAIL) /.test(line))).toHaveLength(4);
  });

  it('shows the output of a step that fails, and only of that', async () => {
    await runSteps([node('quiet', 'console.log("no news")'), node('loud', 'console.error("why"); process.exit(1)')]);
    expect(lines.join('\n')).toContain('why');
    expect(lines.join('\n')).not.toContain('no news');
  });

  it('takes a program that is not there for a failure', async () => {
    expect(await runSteps([{ name: 'gone', command: ['etcdkit-no-such-program'] }])).toEqual({ passed: 0, failed: 1 });
  });

  it('lets a step count for itself', async () => {
    const step: Step = { ...node('many', 'process.exit(1)'), count: (exitCode) => ({ passed: 40, failed: exitCode }) };
    expect(await runSteps([step, node('one', '')])).toEqual({ passed: 41, failed: 1 });
  });
});

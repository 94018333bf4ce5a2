import { execFile } from 'node:child_process';
import path from 'node:path';
import { expect, it } from 'vitest';

const MAIN = path.join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');

/** Runs the executable to its end. */
function run(...args: string[]): Promise<{ code: number | string | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', 'tsx', MAIN, ...args], (error, stdout, stderr) => {
      resolve({ code: error?.code ?? 0, stdout, stderr });
    });
  });
}

it('names its commands', async () => {
  const { code, stdout } = await run('--help');
  expect(stdout).toMatch(/^ {2}server {2}/m);
  expect(code).toBe(0);
});

it('knows its version', async () => {
  const { code, stdout } = await run('--version');
  expect(stdout).toMatch(/^etcdkit \d+\.\d+\.\d+\n$/);
  expect(code).toBe(0);
});

it('refuses a command that it does not have, be it one of Object', async () => {
  for (const name of ['nope', 'constructor']) {
    const { code, stderr } = await run(name);
    expect(stderr).toContain(`unknown command "${name}"`);
    expect(code).toBe(2);
  }
});

it('passes on what follows the command', async () => {
  const { code, stdout } = await run('server', '--version');
  expect(stdout).toMatch(/^etcd Version: /);
  expect(code).toBe(0);
});

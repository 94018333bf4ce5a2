/** `npm start` without its set-up: ends by itself with exit code 0, and shows what it promises. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { Etcd } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';

const run = promisify(execFile);
const root = path.join(import.meta.dirname, '..', '..');

/** Rejects when the tour's exit code is not 0, or when it does not end. */
async function tour(...args: string[]): Promise<string> {
  const tsx = path.join(root, 'node_modules', '.bin', 'tsx');
  const options = { cwd: root, timeout: 50_000, killSignal: 'SIGKILL' as const };
  const { stdout } = await run(tsx, ['examples/tour.ts', ...args], options);
  return stdout;
}

function expectAll(output: string): void {
  expect(output).toContain('get greeting: hello (version 1 of the key)');
  expect(output).toContain('ada takes it');
  expect(output).toContain("grace does not: it is ada's");
  expect(output).toContain('a scan finds 1000 of them with 2997 visits');
  const events = [...output.matchAll(/^ {3}event at revision \d+: (.*)$/gm)].map(([, text]) => text);
  expect(events).toEqual(['before the cut', 'while it was cut', 'still cut', 'after the cut']);
  expect(output).toContain('later the key is still there: 10.0.0.7:8080');
  expect(output).toContain('revoked: the key is gone');
  expect(output).toContain('code unavailable, applied: no');
  expect(output).toContain('What next');
}

describeOnRealEtcd('the tour', (suite) => {
  it('runs on a cluster that is there, and leaves nothing behind', async () => {
    expectAll(await tour('--endpoints', suite.cluster.endpoints.join(',')));
    await using etcd = new Etcd({ endpoints: suite.cluster.endpoints });
    expect(await etcd.count({ all: true })).toBe(0);
    expect(await etcd.leases.list()).toEqual([]);
  });

  it('runs on a member of its own', async () => {
    const output = await tour();
    expectAll(output);
    expect(output).toContain('started for this tour');
  });
});

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
  const options = { cwd: root, timeout: 50_000, killSignal: 'SIGKILL' as const };
  const { stdout } = await run(process.execPath, ['--import', 'tsx', 'examples/tour.ts', ...args], options);
  return stdout;
}

/** That everything moves on from the instance that dies. */
function expectMoves(output: string): void {
  const dead = /(orders-[abc]) holds the lock, and dies/.exec(output)?.[1] ?? 'nobody';
  const [before = '', after = ''] = output.split(`${dead} holds the lock, and dies`);
  for (const id of ['orders-a', 'orders-b', 'orders-c'])
    expect(before).toMatch(new RegExp(`registry {2}${id} at \\S+ is up`));
  expect(before).toMatch(new RegExp(`leader {4}${dead}, in term \\d+`));
  const terms = [...output.matchAll(/leader {4}(orders-[abc]), in term (\d+)/g)];
  expect(terms[1]?.[1]).not.toBe(dead);
  expect(Number(terms[1]?.[2])).toBeGreaterThan(Number(terms[0]?.[2]));
  expect(after).toMatch(new RegExp(`registry {2}${dead} at \\S+ is gone`));
  expect(after).toContain('lock      free again');
  expect(after).toMatch(/the number is (\d+), and the three have added \1\n/);
  expect(after).toContain('What next');
}

describeOnRealEtcd('the tour', (suite) => {
  it('runs on a cluster that is there, and leaves nothing behind', async () => {
    expectMoves(await tour('--endpoints', suite.cluster.endpoints.join(',')));
    await using etcd = new Etcd({ endpoints: suite.cluster.endpoints });
    expect(await etcd.count({ all: true })).toBe(0);
    // The dead instance's leases run out by themselves.
    await expect.poll(() => etcd.leases.list(), { timeout: 20_000 }).toEqual([]);
  });

  it('runs on a cluster of its own, whose leading member is killed too', async () => {
    const output = await tour();
    expectMoves(output);
    expect(output).toMatch(/cluster {3}(m\d), which led it, is killed\n.*cluster {3}(?!\1)m\d leads it now/);
  });
});

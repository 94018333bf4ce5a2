/** The microservices: no request is lost while instances come, drain and are killed, and nothing is left running. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const root = path.join(import.meta.dirname, '..', '..');

it('lose no request, and end by themselves', async () => {
  const options = { cwd: root, timeout: 110_000, killSignal: 'SIGKILL' as const };
  const args = ['--import', 'tsx', 'examples/microservices/main.ts'];
  // Rejects when the exit code is not 0: when a request has failed while instances came and drained.
  const { stdout } = await promisify(execFile)(process.execPath, args, options);
  const chapters = [...stdout.matchAll(/^(\S.*): (\d+) answered, (\d+) failed\n {2}(.*)$/gm)].map(
    ([, title = '', answered, failed, who = '']) => ({
      title,
      answered: Number(answered),
      failed: Number(failed),
      who,
    }),
  );
  expect(chapters.map(({ title }) => title)).toEqual([
    'prices, and two of stock and of shop',
    'stock is scaled from two to three',
    'prices is deployed anew: one comes, the other drains',
    'shop is scaled down to one',
    'one instance of stock is killed',
  ]);
  // Reading does no harm when it is done twice: not even the one that is killed costs a request.
  expect(chapters.map(({ failed }) => failed)).toEqual([0, 0, 0, 0, 0]);
  expect(chapters.every(({ answered }) => answered > 0)).toBe(true);
  const [, scaled, deployed, smaller, killed] = chapters.map(({ who }) => who);
  expect(scaled).toContain('stock-3');
  expect(deployed).toContain('prices-2');
  expect(smaller).not.toContain('prices-1');
  expect(killed).not.toContain('shop-1');
});

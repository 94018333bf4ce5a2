import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const ROOT = path.join(import.meta.dirname, '..', '..');

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'etcdkit-traces-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function traces(...args: string[]): { readonly code: number | null; readonly lines: readonly string[] } {
  const { status, stdout } = spawnSync(process.execPath, ['--import', 'tsx', 'scripts/traces.ts', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  return { code: status, lines: stdout.trimEnd().split('\n') };
}

describe('npm run traces', () => {
  it('replays every .txt below a directory and counts', async () => {
    const below = path.join(directory, 'b', 'c');
    await mkdir(path.join(below, 'folder.txt'), { recursive: true });
    await writeFile(path.join(directory, 'a.txt'), 'vote\n----\nVoteWon\n');
    await writeFile(path.join(below, 'd.txt'), 'vote\n----\nVoteLost\n');
    await writeFile(path.join(below, 'e.txt'), Uint8Array.of(0xff));
    await writeFile(path.join(below, 'f.md'), 'vote\n----\nVoteLost\n');
    const { code, lines } = traces(directory);
    const [first, second, place, expected, actual, third, reason, last, ...more] = lines;
    expect([first, second, third]).toEqual([
      `ok ${path.join(directory, 'a.txt')}`,
      `FAILED ${path.join(below, 'd.txt')}`,
      `FAILED ${path.join(below, 'e.txt')}`,
    ]);
    expect([place, expected, actual]).toEqual([
      `${path.join(below, 'd.txt')}:1: vote gives another output`,
      '- VoteLost',
      '+ VoteWon',
    ]);
    expect(reason).toContain('e.txt: ');
    expect([last, ...more]).toEqual(['1 passed, 2 failed']);
    expect(code).toBe(1);
  });

  it('succeeds when all files pass', async () => {
    await writeFile(path.join(directory, 'a.txt'), 'vote\n----\nVoteWon\n');
    expect(traces(directory, '7')).toMatchObject({ code: 0, lines: [expect.any(String), '1 passed, 0 failed'] });
  });

  it('fails without a file, and without a directory', () => {
    expect(traces(directory)).toEqual({ code: 1, lines: ['0 passed, 0 failed'] });
    expect(traces(path.join(directory, 'none'))).toEqual({ code: 1, lines: ['0 passed, 0 failed'] });
    expect(traces().code).toBe(1);
  });
});

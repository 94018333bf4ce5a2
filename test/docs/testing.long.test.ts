/** The code of docs/testing.md compiles and runs, in the runners that it is for. */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { codeBlocks, Programs, root } from './code-blocks.ts';

const run = promisify(execFile);
const DOCUMENT = 'docs/testing.md';

const blocks = await codeBlocks(DOCUMENT);

/** What each program prints, in their order. */
const printed = [
  /^hello\nhttp:\/\/127\.0\.0\.1:\d+\n$/,
  /pass 1\n(.*\n)*.*fail 0\n/,
  /^1\n$/,
  /^for a minute\nundefined\nlost\n$/,
];

let programs: Programs;
beforeAll(async () => {
  programs = await Programs.create();
});
afterAll(() => programs[Symbol.asyncDispose]());

/** The block that is for a runner. */
async function blockFor(runner: string): Promise<string> {
  const text = await readFile(path.join(root, DOCUMENT), 'utf8');
  return new RegExp(`^\`\`\`[jt]s ${runner}\\n(.*?)^\`\`\`$`, 'ms').exec(text)?.[1] ?? '';
}

it('is all expected', () => {
  expect(blocks).toHaveLength(printed.length);
});

it('compiles', async () => {
  for (const block of blocks) await programs.add(block);
  await programs.add({ at: 'vitest', code: await blockFor('vitest') });
  await programs.checkTypes();
});

it.each(blocks.map((block, index) => ({ ...block, expected: printed[index] })))('runs: $at', async (block) => {
  expect(await programs.run(await programs.add(block), {})).toMatch(block.expected ?? /never/);
});

it.each(['vitest', 'jest'])('passes in %s', async (runner) => {
  const code = await blockFor(runner);
  expect(code).toContain('startEtcd');
  const file = await programs.add({ at: `for-${runner}.test`, code });
  const folder = path.dirname(file);
  // Jest is no dependency of ours. What the block uses of it Vitest has too.
  const config = `export default {
    resolve: { tsconfigPaths: true, alias: { '@jest/globals': 'vitest' } },
    // As in the project's own: the sources are under test here, and not a package.
    test: { deps: { interopDefault: false }, include: ['${path.basename(file)}'] },
  };`;
  await writeFile(path.join(folder, 'vitest.config.mjs'), config);
  const vitest = path.join(root, 'node_modules', 'vitest', 'vitest.mjs');
  const { stdout } = await run(process.execPath, [vitest, 'run', '--root', folder], {
    env: { PATH: process.env.PATH },
  });
  expect(stdout).toMatch(/1 passed/);
});

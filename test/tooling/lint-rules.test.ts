/**
 * Each of ESLint's rules, broken on purpose in a small tree of its own; and each exception,
 * which must not reach further than it says.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ESLint } from 'eslint';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = path.join(import.meta.dirname, '..', '..');

const work = 'declare function work(): Promise<void>;';

/** A file, the line that is tried in it, and the rule that it breaks. */
const cases: readonly [file: string, line: string, rule: string | undefined][] = [
  ['src/client/a.ts', `${work} work();`, '@typescript-eslint/no-floating-promises'],
  ['test/a.ts', `${work} work();`, '@typescript-eslint/no-floating-promises'],
  ['src/client/b.ts', `${work} void work();`, undefined],
  ['src/client/c.ts', `${work} [1].forEach(async () => work());`, '@typescript-eslint/no-misused-promises'],
  ['src/client/d.ts', `${work} if (work()) {}`, '@typescript-eslint/no-misused-promises'],
  ['src/client/e.ts', 'await 1;', '@typescript-eslint/await-thenable'],
  [
    'src/client/f.ts',
    "const a = 'a' as string; (a as string).at(0);",
    '@typescript-eslint/no-unnecessary-type-assertion',
  ],
  [
    'src/client/g.ts',
    "declare const a: 'b' | 'c'; switch (a) { case 'b': }",
    '@typescript-eslint/switch-exhaustiveness-check',
  ],
  ['src/client/h.ts', "declare const a: 'b' | 'c'; switch (a) { case 'b': break; default: }", undefined],
  [
    'src/client/i.ts',
    "import { Stats } from 'node:fs'; export type A = Stats;",
    '@typescript-eslint/consistent-type-imports',
  ],
  ['src/client/j.ts', 'Math.random();', 'no-restricted-properties'],
  ['recipes/a.ts', 'Math.random();', 'no-restricted-properties'],
  ['src/server/raft/a.ts', 'Date.now();', 'no-restricted-properties'],
  ['src/client/k.ts', 'performance.now();', 'no-restricted-properties'],
  ['src/client/l.ts', 'setTimeout(() => {}, 1);', 'no-restricted-globals'],
  ['src/client/m.ts', 'setInterval(() => {}, 1);', 'no-restricted-globals'],
  ['src/client/n.ts', 'setImmediate(() => {});', 'no-restricted-globals'],
  ['src/client/o.ts', 'globalThis.setTimeout(() => {}, 1);', 'no-restricted-properties'],
  [
    'src/client/p.ts',
    "import { setTimeout as sleep } from 'node:timers/promises'; await sleep(1);",
    'no-restricted-imports',
  ],
  ['src/client/q.ts', 'new Date();', 'no-restricted-syntax'],
  ['src/client/r.ts', 'new Date(0);', undefined],
  ['test/b.ts', 'Math.random(); Date.now(); setTimeout(() => {}, 1);', undefined],
  ['src/support/clock.ts', 'performance.now(); setTimeout(() => {}, 1);', undefined],
  ['src/client/options.ts', 'export const random = Math.random;', undefined],
  ['src/client/transport/grpc.ts', 'Date.now(); setImmediate(() => {});', undefined],
  ['src/client/transport/grpc-tls.ts', 'Date.now();', 'no-restricted-properties'],
  ['src/client/connection/token.ts', 'Date.now();', undefined],
  // A directive that suppresses nothing has no rule of its own.
  ['src/client/s.ts', '// eslint-disable-next-line no-restricted-properties\nexport {};', ''],
];

describe('lint rules', () => {
  let tree = '';
  const found = new Map<string, readonly string[]>();

  beforeAll(async () => {
    // Inside the project, so that packages are found.
    await mkdir(path.join(root, '.cache'), { recursive: true });
    tree = await mkdtemp(path.join(root, '.cache', 'lint-rules-'));
    for (const [file, line] of cases) {
      await mkdir(path.dirname(path.join(tree, file)), { recursive: true });
      await writeFile(path.join(tree, file), `${line}\nexport {};\n`);
    }
    const tsconfig = { extends: '../../tsconfig.json', compilerOptions: { rootDir: '.' }, include: ['**/*.ts'] };
    await writeFile(path.join(tree, 'tsconfig.json'), JSON.stringify(tsconfig));
    const eslint = new ESLint({
      cwd: tree,
      overrideConfigFile: path.join(root, 'eslint.config.js'),
      overrideConfig: { languageOptions: { parserOptions: { tsconfigRootDir: tree } } },
    });
    for (const { filePath, messages } of await eslint.lintFiles(['src', 'recipes', 'test'])) {
      found.set(path.relative(tree, filePath), [...new Set(messages.map(({ ruleId }) => ruleId ?? ''))]);
    }
  }, 60_000);

  afterAll(() => rm(tree, { recursive: true, force: true }));

  it.each(cases)('%s: %s', (file, _line, rule) => {
    expect(found.get(file)).toEqual(rule === undefined ? [] : [rule]);
  });
});

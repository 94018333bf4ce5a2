/**
 * Each import rule, broken on purpose in a small tree of its own: a rule whose pattern went
 * stale passes everything, and nobody would notice.
 */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const root = path.join(import.meta.dirname, '..', '..');

/** Files that may be imported. */
const innocent = [
  'src/index.ts',
  'src/protocol/keys.ts',
  'src/protocol/package-definition.ts',
  'src/support/clock.ts',
  'src/telemetry/channels.ts',
  'src/telemetry/recipes.ts',
  'src/client/etcd.ts',
  'src/server/raft/raft.ts',
  'src/server/mvcc/store.ts',
  'src/server/member/member.ts',
  'src/testing/cluster.ts',
  'src/grpc/index.ts',
  'src/undici/index.ts',
  'recipes/session.ts',
  'test/support/etcd.ts',
];

/** Who imports what, and the rules that this breaks. */
const imports: readonly [from: string, imported: string, broken: readonly string[]][] = [
  ['src/protocol/a.ts', '../support/clock.ts', ['protocol-is-a-leaf']],
  ['src/protocol/b.ts', './keys.ts', []],
  ['src/support/a.ts', '../protocol/keys.ts', ['support-is-a-leaf']],
  ['src/telemetry/a.ts', '../client/etcd.ts', ['telemetry-stands-below']],
  ['src/telemetry/b.ts', '../protocol/keys.ts', []],
  ['src/client/a.ts', '../server/raft/raft.ts', ['client-imports-down']],
  ['src/client/b.ts', '../index.ts', ['client-imports-down']],
  ['src/client/c.ts', '../telemetry/channels.ts', []],
  ['src/client/d.ts', '../../recipes/session.ts', ['client-imports-down']],
  ['recipes/a.ts', '../src/client/etcd.ts', ['recipes-only-public']],
  ['recipes/b.ts', '../src/index.ts', []],
  ['recipes/c.ts', './session.ts', []],
  ['recipes/d.ts', '../src/telemetry/recipes.ts', []],
  ['recipes/e.ts', '../src/telemetry/channels.ts', ['recipes-only-public']],
  ['src/server/a.ts', '../client/etcd.ts', ['server-imports-down']],
  ['src/server/mvcc/a.ts', 'node:fs', ['deterministic-core']],
  ['src/server/mvcc/b.ts', '../member/member.ts', ['deterministic-core-stays-inside']],
  ['src/server/mvcc/c.ts', '../../protocol/keys.ts', []],
  ['src/server/raft/a.ts', 'node:events', ['deterministic-core', 'raft-imports-nothing']],
  ['src/server/raft/b.ts', '../mvcc/store.ts', ['raft-imports-nothing']],
  ['src/server/raft/c.ts', 'zod', ['raft-imports-nothing']],
  ['src/server/b.ts', '../testing/cluster.ts', ['nobody-imports-testing', 'server-imports-down']],
  ['src/client/e.ts', '../../test/support/etcd.ts', ['shipped-code-imports-shipped-code']],
  ['src/client/f.ts', 'fast-check', ['shipped-code-needs-shipped-packages']],
  ['src/client/g.ts', '@opentelemetry/api', []],
  ['src/client/h.ts', '@opentelemetry/sdk-trace-node', ['no-telemetry-sdk']],
  ['src/client/connection/a.ts', '@grpc/grpc-js', ['grpc-js-behind-the-transport']],
  ['src/client/transport/grpc-a.ts', '@grpc/grpc-js', []],
  ['src/client/i.ts', 'protobufjs', ['reflection-behind-its-own-entry']],
  ['src/client/j.ts', '@grpc/proto-loader', ['reflection-behind-its-own-entry']],
  ['src/client/k.ts', '../protocol/package-definition.ts', ['package-definition-is-an-entry']],
  ['src/client/loop-a.ts', './loop-b.ts', ['no-cycles']],
  // A cycle is told once.
  ['src/client/loop-b.ts', './loop-a.ts', []],
  ['test/loop-value-a.ts', './loop-value-b.ts', ['no-cycles-in-tests']],
  ['test/loop-value-b.ts', './loop-value-a.ts', []],
  ['test/loop-type-a.ts', './loop-type-b.ts', []],
  ['test/loop-type-b.ts', './loop-type-a.ts', []],
  ['src/server/lease/a.ts', '@grpc/grpc-js', ['grpc-js-behind-the-transport']],
  ['src/grpc/a.ts', '../client/etcd.ts', ['grpc-stands-on-the-recipes']],
  ['src/grpc/b.ts', '../index.ts', []],
  ['src/grpc/c.ts', '@grpc/grpc-js', ['grpc-js-is-the-users']],
  ['src/undici/a.ts', '../client/etcd.ts', ['undici-stands-on-the-recipes']],
  ['src/undici/b.ts', '../../recipes/session.ts', []],
  ['recipes/f.ts', 'undici', ['undici-behind-its-own-entry']],
  ['recipes/g.ts', '../src/grpc/index.ts', ['integrations-are-entries', 'recipes-only-public']],
  ['src/client/l.ts', './gone.ts', ['everything-resolves']],
];

interface CruiseResult {
  readonly summary: {
    readonly violations: readonly { readonly from: string; readonly rule: { readonly name: string } }[];
  };
}

describe('import rules', () => {
  let tree = '';
  let violations: CruiseResult['summary']['violations'] = [];

  beforeAll(async () => {
    // Inside the project, so that packages are found.
    await mkdir(path.join(root, '.cache'), { recursive: true });
    tree = await mkdtemp(path.join(root, '.cache', 'import-rules-'));
    const write = async (file: string, text: string): Promise<void> => {
      await mkdir(path.dirname(path.join(tree, file)), { recursive: true });
      await writeFile(path.join(tree, file), text);
    };
    for (const file of innocent) await write(file, 'export type Thing = string;\n');
    for (const [from, imported] of imports) {
      // A type where the name says so: rules have to see those too, except where types are free.
      const isOurs = imported.startsWith('.');
      const line = isOurs ? `import type { Thing } from '${imported}';` : `import * as thing from '${imported}';`;
      const value = from.includes('-value-') ? `import '${imported}';\n` : '';
      await write(
        from,
        `${value}${line}\nexport type ${isOurs ? 'Again = Thing' : 'Other = typeof thing'};\nexport type Thing = 1;\n`,
      );
    }
    await copyFile(path.join(root, 'package.json'), path.join(tree, 'package.json'));
    await write('tsconfig.json', JSON.stringify({ extends: '../../tsconfig.json' }));
    const args = [
      '--config',
      path.join(root, '.dependency-cruiser.cjs'),
      '--output-type',
      'json',
      'src',
      'recipes',
      'test',
    ];
    const cli = path.join(root, 'node_modules', '.bin', 'depcruise');
    const { stdout } = await run(cli, args, { cwd: tree, maxBuffer: 64 * 1024 * 1024 });
    violations = (JSON.parse(stdout) as CruiseResult).summary.violations;
  }, 60_000);

  afterAll(() => rm(tree, { recursive: true, force: true }));

  it.each(imports)('%s imports %s: %j', (from, _imported, broken) => {
    const names = violations.filter((violation) => violation.from === from).map(({ rule }) => rule.name);
    expect([...new Set(names)].sort()).toEqual([...broken].sort());
  });

  it('has a case for every rule', () => {
    const config = createRequire(import.meta.url)('../../.dependency-cruiser.cjs') as {
      forbidden: readonly { readonly name: string }[];
    };
    const tried = new Set(imports.flatMap(([, , broken]) => broken));
    expect(config.forbidden.map(({ name }) => name).filter((name) => !tried.has(name))).toEqual([]);
  });
});

/**
 * The programs of the guides compile, run one after another on one server, as somebody does who reads them all, end by
 * themselves, and print what the text says.
 */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startEtcd, type TestCluster } from '../../src/testing/index.ts';
import { outputPattern, Programs, programsOf, root } from './code-blocks.ts';

const GUIDES = [
  'getting-started',
  'watch',
  'leases',
  'locks',
  'elections',
  'queues',
  'stm',
  'recipes',
  'services',
  'config',
  'telemetry',
  'security',
  'operations',
];

const all = (await Promise.all(GUIDES.map((name) => programsOf(`docs/${name}.md`)))).flat();

/** Run by tests of their own. */
const ELSEWHERE = ['server', 'testing'];

describe('the guides', () => {
  it('are all here', async () => {
    const files = (await readdir(path.join(root, 'docs'))).filter((name) => name.endsWith('.md'));
    const texts = await Promise.all(files.map((name) => readFile(path.join(root, 'docs', name), 'utf8')));
    const withPrograms = files.filter((_, index) => texts[index]?.includes('\n```ts'));
    expect(withPrograms.map((name) => path.basename(name, '.md')).sort()).toEqual([...GUIDES, ...ELSEWHERE].sort());
  });

  let programs: Programs;
  let server: TestCluster;
  beforeAll(async () => {
    programs = await Programs.create();
    server = await startEtcd();
  });
  afterAll(async () => {
    await server.close();
    await programs[Symbol.asyncDispose]();
  });

  it.each(GUIDES)('%s has a program that runs', (name) => {
    const runs = all.filter(
      ({ at, runs, prints }) => at.startsWith(`docs/${name}.md:`) && runs && prints !== undefined,
    );
    expect(runs).not.toEqual([]);
  });

  it('compile', async () => {
    for (const program of all) await programs.add(program);
    await programs.checkTypes();
  });

  it.each(all.filter(({ runs }) => runs))('$at', async (program) => {
    const file = await programs.add(program);
    const output = await programs.run(file, { ETCD_ENDPOINTS: server.endpoints.join(',') });
    // One whose output is not in the text only has to end by itself.
    if (program.prints !== undefined) expect(output).toMatch(outputPattern(program.prints));
  });
});

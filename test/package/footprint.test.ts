/**
 * What a program pays for importing the client: which packages are loaded and which files
 * are opened, as seen from inside the process.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Project, pack } from './packed.ts';

let project: Project;

/** Loader hooks: write down every ES module, and every CommonJS one that an ES module imports. */
const HOOKS = `
import { appendFileSync } from 'node:fs';
export async function load(url, context, next) {
  appendFileSync(new URL('loaded.txt', import.meta.url), url + '\\n');
  return next(url, context);
}
`;

/** Runs the code it is given, and tells what was loaded and opened meanwhile. */
const TRACE = `
import fs from 'node:fs';
import { createRequire, register, syncBuiltinESMExports } from 'node:module';
import { fileURLToPath } from 'node:url';

const trail = new URL('loaded.txt', import.meta.url);
fs.writeFileSync(trail, '');
const opened = [];
for (const api of [fs, fs.promises]) {
  for (const name of ['open', 'openSync', 'readFile', 'readFileSync', 'createReadStream', 'readdir', 'readdirSync']) {
    const original = api[name];
    if (original === undefined) continue;
    api[name] = (...args) => {
      opened.push(String(args[0]));
      return original.apply(api, args);
    };
  }
}
syncBuiltinESMExports();
register('./hooks.mjs', import.meta.url);
await import(process.argv[2]);
// What CommonJS modules require never passes the hooks.
const loaded = Object.keys(createRequire(import.meta.url).cache);
const files = [...new Set(opened)].filter((file) => !loaded.includes(file));
for (const url of fs.readFileSync(trail, 'utf8').split('\\n')) if (url.startsWith('file:')) loaded.push(fileURLToPath(url));
process.stdout.write(JSON.stringify({ files, loaded }));
`;

interface Footprint {
  /** Files opened that are not modules. */
  readonly files: readonly string[];
  /** Names of the packages that modules were loaded from. */
  readonly packages: readonly string[];
}

async function footprint(code: string): Promise<Footprint> {
  await project.write('subject.mjs', code);
  const { files, loaded } = JSON.parse(await project.node('trace.mjs', './subject.mjs')) as {
    files: string[];
    loaded: string[];
  };
  const names = loaded.map((file) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]);
  return { files, packages: [...new Set(names.filter((name) => name !== undefined))].sort() };
}

beforeAll(async () => {
  project = await Project.create();
  await project.install((await pack(project.folder)).tarball);
  await project.write('hooks.mjs', HOOKS);
  await project.write('trace.mjs', TRACE);
});
afterAll(() => project?.[Symbol.asyncDispose]());

describe('importing the client and making one', () => {
  const use = "import { Etcd } from 'etcdkit'; await new Etcd({ endpoints: '127.0.0.1:2379' }).close();";

  it('loads its own packages, and neither protobufjs nor an OpenTelemetry SDK', async () => {
    const { packages } = await footprint(use);
    expect(packages).toEqual(['@grpc/grpc-js', '@js-sdsl/ordered-map', '@opentelemetry/api', 'etcdkit', 'zod']);
  });

  it('opens no file', async () => {
    expect((await footprint(use)).files).toEqual([]);
  });
});

describe('the trace', () => {
  it('sees packages that are loaded, also by other packages', async () => {
    const { packages } = await footprint(
      "import { etcdPackageDefinition } from 'etcdkit/proto'; etcdPackageDefinition();",
    );
    expect(packages).toEqual(expect.arrayContaining(['@grpc/proto-loader', 'protobufjs']));
  });

  it('sees files that are opened', async () => {
    const { files } = await footprint("import fs from 'node:fs'; fs.readFileSync('package.json');");
    expect(files).toEqual(['package.json']);
  });
});

/** What npm would publish, used as its users do. Needs `npm run build`. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Packed, Project, pack, root } from './packed.ts';

let project: Project;
let packed: Packed;

beforeAll(async () => {
  project = await Project.create();
  packed = await pack(project.folder);
  await project.install(packed.tarball, ...(await said('README.md', /^npm install etcdkit(.*)$/m)));
});
afterAll(() => project?.[Symbol.asyncDispose]());

/** Which packages a document says to install. */
async function said(document: string, command: RegExp): Promise<string[]> {
  const [, packages] = command.exec(await readFile(path.join(root, document), 'utf8')) ?? [];
  if (packages === undefined) throw new Error(`${document} does not say what to install`);
  return packages.split(' ').filter((name) => name !== '');
}

describe('the tarball', () => {
  it('holds what contents.txt lists, and nothing else', async () => {
    const listed = (await readFile(path.join(import.meta.dirname, 'contents.txt'), 'utf8'))
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((pattern) => ({ pattern, matches: (file: string) => path.matchesGlob(file, pattern) }));
    const unlisted = packed.files.filter((file) => !listed.some(({ matches }) => matches(file)));
    expect(unlisted).toEqual([]);
    const missing = listed.filter(({ matches }) => !packed.files.some(matches)).map(({ pattern }) => pattern);
    expect(missing).toEqual([]);
  });

  it('has the source of every compiled file, where its source map says', async () => {
    const compiled = packed.files.filter((file) => file.startsWith('dist/') && /\.(js|d\.ts)$/.test(file));
    expect(compiled.length).toBeGreaterThan(100);
    for (const file of compiled) {
      const map = JSON.parse(await readFile(path.join(root, `${file}.map`), 'utf8')) as { sources: string[] };
      const sources = map.sources.map((source) => path.posix.join(path.posix.dirname(file), source));
      expect(packed.files, file).toEqual(expect.arrayContaining(sources));
    }
  });

  it('satisfies publint', async () => {
    await project.tool('publint', 'run', packed.tarball, '--strict');
  });

  it('resolves to types that are right, for ESM and bundlers', async () => {
    await project.tool('attw', packed.tarball, '--profile', 'esm-only');
  });
});

describe('installed into an empty project', () => {
  it('is imported by an ES module', async () => {
    await project.write('esm.js', `import { Etcd, EtcdError, json } from 'etcdkit';\n${USE}`);
    expect(await project.node('esm.js')).toBe('invalid-argument true\n');
  });

  it('is required by a CommonJS module', async () => {
    await project.write('cjs.cjs', `const { Etcd, EtcdError, json } = require('etcdkit');\n${USE}`);
    expect(await project.node('cjs.cjs')).toBe('invalid-argument true\n');
  });

  it('gives raw grpc-js its package definition', async () => {
    const program = `import { etcdPackageDefinition } from 'etcdkit/proto';
      console.log(Object.keys(etcdPackageDefinition()).includes('etcdserverpb.KV'));`;
    await project.write('proto.js', program);
    expect(await project.node('proto.js')).toBe('true\n');
  });

  it('runs the bundled server', async () => {
    const program = `import { Etcd } from 'etcdkit';
      import { EtcdServer } from 'etcdkit/server';
      const server = await EtcdServer.start();
      const etcd = new Etcd({ endpoints: server.endpoint });
      await etcd.put('greeting', 'hello');
      console.log((await etcd.get('greeting')).value);
      await etcd.close();
      await server.stop();`;
    await project.write('server.js', program);
    expect(await project.node('server.js')).toBe('hello\n');
  });

  it('has clusters for tests', async () => {
    const program = `import { TestCluster, VirtualClock } from 'etcdkit/testing';
      const clock = new VirtualClock();
      const cluster = await TestCluster.start({ clock });
      const etcd = cluster.client();
      await etcd.put('greeting', 'hello');
      await clock.advance(60_000);
      console.log((await etcd.get('greeting')).value);
      await cluster.close();`;
    await project.write('testing.js', program);
    expect(await project.node('testing.js')).toBe('hello\n');
  });

  it("resolves services for the program's own grpc-js", async () => {
    const program = `import * as grpc from '@grpc/grpc-js';
      import { Etcd } from 'etcdkit';
      import { registerEtcdResolver } from 'etcdkit/grpc';
      import { ServiceRegistry } from 'etcdkit/recipes';
      import { EtcdServer } from 'etcdkit/server';
      const server = await EtcdServer.start();
      const etcd = new Etcd({ endpoints: server.endpoint });
      registerEtcdResolver(grpc, new ServiceRegistry(etcd));
      const orders = new grpc.Client('etcd:///orders', grpc.credentials.createInsecure());
      orders.makeUnaryRequest('/orders/Get', Buffer.from, String, '', async (error) => {
        console.log(error.details);
        orders.close();
        await etcd.close();
        await server.stop();
      });`;
    await project.write('grpc.js', program);
    expect(await project.node('grpc.js')).toBe('orders has no instance that takes requests\n');
  });

  it('has a dispatcher for those who have undici', async () => {
    await project.write('undici.js', "await import('etcdkit/undici');");
    await expect(project.node('undici.js')).rejects.toThrow("Cannot find package 'undici'");
  });

  it("has an executable, and a stand-in for etcd's", async () => {
    const executable = path.join(project.folder, 'node_modules', '.bin', 'etcdkit');
    expect(await project.node(executable, '--version')).toMatch(/^etcdkit \d+\.\d+\.\d+\n$/);
    expect(await project.run('node_modules/etcdkit/bin/etcd', '--version')).toMatch(/^etcd Version: \d+\.\d+\.\d+\n/);
  });

  it('has no other entry points', async () => {
    await project.write('deep.js', "await import('etcdkit/dist/src/client/etcd.js');");
    await expect(project.node('deep.js')).rejects.toThrow('ERR_PACKAGE_PATH_NOT_EXPORTED');
  });

  it('takes what the telemetry guide says to install, and sets it up', async () => {
    const packages = await said('docs/telemetry.md', /`npm install (@opentelemetry[^`]+)`/);
    expect(packages).toHaveLength(2);
    await project.install(...packages);
    const program = `import { startTelemetry } from 'etcdkit/telemetry';
      const telemetry = await startTelemetry({ serviceName: 'orders' });
      await telemetry.shutdown();
      console.log('over');`;
    await project.write('telemetry.js', program);
    expect(await project.node('telemetry.js')).toBe('over\n');
  });

  it.each(['NodeNext', 'ESNext'])('compiles in strict TypeScript, module %s', async (module) => {
    await project.write('consumer.ts', await readFile(path.join(import.meta.dirname, 'consumer.ts.txt'), 'utf8'));
    const options = {
      module,
      moduleResolution: module === 'NodeNext' ? 'NodeNext' : 'Bundler',
      target: 'ES2022',
      lib: ['ES2023', 'ESNext.Disposable'],
      types: ['node'],
      typeRoots: [path.join(root, 'node_modules', '@types')],
      strict: true,
      exactOptionalPropertyTypes: true,
      noEmit: true,
      // The package's own declarations are part of what is tried.
      skipLibCheck: false,
    };
    await project.write('tsconfig.json', JSON.stringify({ compilerOptions: options, files: ['consumer.ts'] }));
    await project.tool('tsc', '-p', '.');
  });
});

/** Makes a client and has it refuse an option; no server is needed. */
const USE = `
const etcd = new Etcd({ endpoints: ['127.0.0.1:2379'] });
etcd.keyspace('users/', json());
etcd.close();
try {
  new Etcd({ timeoutMs: -1 });
} catch (error) {
  console.log(error.code, error instanceof EtcdError);
}
`;

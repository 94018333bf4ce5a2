/** The server as plain JavaScript, for tests that start it hundreds of times: reading TypeScript takes as long as all else. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';

const ROOT = path.join(import.meta.dirname, '..', '..');

/** Where a build lies. Inside the package, so that the packages that it needs are found. */
const OUT = path.join(ROOT, '.cache', `server-build-${process.pid}`);

/** A build of the sources as they are now. */
export interface ServerBuild extends Disposable {
  /** The executable. */
  readonly main: string;
  /** A module that loads what the server needs and then waits for a byte: for processes that are to start at once. */
  readonly hold: string;
}

/** Strips the types of every source file; nobody checks them here. */
export function buildServer(): ServerBuild {
  const sources = path.join(ROOT, 'src');
  for (const name of readdirSync(sources, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts') || name.endsWith('.d.ts')) continue;
    const out = path.join(OUT, 'src', name.replace(/\.ts$/, '.js'));
    mkdirSync(path.dirname(out), { recursive: true });
    writeFileSync(out, transpile(readFileSync(path.join(sources, name), 'utf8')));
  }
  const hold = path.join(OUT, 'hold.js');
  const needed = ['etcd-server.js', 'cli/run.js'].map((name) =>
    JSON.stringify(pathToFileURL(path.join(OUT, 'src', 'server', name)).href),
  );
  writeFileSync(
    hold,
    `import { readSync } from 'node:fs';
${needed.map((url) => `await import(${url});`).join('\n')}
process.stdout.write('held\\n');
readSync(0, Buffer.alloc(1));
`,
  );
  return {
    main: path.join(OUT, 'src', 'cli', 'main.js'),
    hold,
    [Symbol.dispose]: () => rmSync(OUT, { recursive: true, force: true }),
  };
}

function transpile(source: string): string {
  return ts.transpileModule(source, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      rewriteRelativeImportExtensions: true,
    },
  }).outputText;
}

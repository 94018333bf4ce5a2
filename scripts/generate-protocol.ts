/**
 * Generates `src/protocol/generated/` from `proto/`: typed messages with their codecs, one file per package, and the
 * descriptor. Run with `npm run generate`.
 *
 * protobufjs does the parsing and resolving; this only prints. It stays a tool of the repository: what it prints needs
 * neither protobufjs nor a .proto file at run time.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import { emitDescriptor, emitPackage } from './protocol/emit-file.ts';
import { readPackage } from './protocol/model.ts';
import { fileName } from './protocol/text.ts';

const HOME = fileURLToPath(new URL('..', import.meta.url));
const SOURCES = join(HOME, 'proto');
const TARGET = join(HOME, 'src/protocol/generated');

const sources = readdirSync(SOURCES).filter((name) => name.endsWith('.proto'));
const root = new protobuf.Root();
root.resolvePath = (_origin, target) => join(SOURCES, basename(target));
root.loadSync(sources, { keepCase: true, alternateCommentMode: true });
root.resolveAll();

const files = new Map<string, string>();
for (const source of sources) {
  const name = /^package ([\w.]+);/m.exec(readFileSync(join(SOURCES, source), 'utf8'))?.[1];
  if (name === undefined) throw new Error(`${source} names no package`);
  files.set(fileName(name), emitPackage(readPackage(root, name, source)));
}
files.set('descriptor.ts', emitDescriptor(root));

mkdirSync(TARGET, { recursive: true });
for (const stale of readdirSync(TARGET)) if (!files.has(stale)) rmSync(join(TARGET, stale));
for (const [name, text] of files) writeFileSync(join(TARGET, name), text);

/**
 * Gets promtool, which checks what deploy/ has for Prometheus: `npx tsx scripts/promtool.ts`.
 *
 * It is looked for in the project's cache, on PATH, and in Debian's package of Prometheus, from which it is taken
 * without installing anything. The cache entry appears by one rename.
 */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, copyFile, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { unpackFromDebian } from './etcd/debian.ts';
import { withLock } from './etcd/lock.ts';

const run = promisify(execFile);

const CACHE = path.join(import.meta.dirname, '..', '.cache', 'prometheus');
const CACHED = path.join(CACHE, 'promtool');

/** The executable. Rejects, with why, where none can be had. */
export async function ensurePromtool(): Promise<string> {
  const onPath = (process.env.PATH ?? '').split(path.delimiter).map((folder) => path.join(folder, 'promtool'));
  for (const candidate of [CACHED, ...onPath]) if (await isExecutable(candidate)) return candidate;
  await mkdir(CACHE, { recursive: true });
  return withLock(path.join(CACHE, 'lock'), async () => {
    if (!(await isExecutable(CACHED))) await fillCache();
    return CACHED;
  });
}

async function fillCache(): Promise<void> {
  const work = await mkdtemp(path.join(CACHE, '.work-'));
  try {
    const found = path.join(await unpackFromDebian(['prometheus'], work), 'promtool');
    await run(found, ['--version']);
    const ready = path.join(work, 'promtool');
    await copyFile(found, ready);
    await rename(ready, CACHED);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    console.log(await ensurePromtool());
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}

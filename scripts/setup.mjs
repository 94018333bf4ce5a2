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

/** Ends with the line that everything that counts checks ends with. */
function fail(exitCode) {
  console.log('0 passed, 1 failed');
  process.exit(exitCode);
}

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`etcdkit needs Node.js 20.19 or newer; this is ${process.version}.`);
  fail(1);
}

if (!inStep()) {
  console.log('Installing packages …');
  // Not `npm ci`: it refuses a lock file that was written where a registry had no builds for other platforms.
  const { status } = spawnSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: 'inherit',
    // npm is a script with an extension of its own there.
    shell: process.platform === 'win32',
  });
  if (status !== 0) fail(status ?? 1);
  if (!inStep()) {
    console.error(
      'What npm installed is not what package-lock.json says. Is package.json ahead of it? Run `npm install`.',
    );
    fail(1);
  }
}

/**
 * Directories for what nobody else may read: mode 0700, as etcd's are.
 *
 * Node's own `mkdir` with `recursive` goes from a path to its parent and back for as long as the system says ENOENT, and
 * so never ends where nothing can be made though the parent is there, such as below `/proc`. Here that is an error.
 *
 * @module
 */
import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';

/** Makes a directory, and those above it that are missing. It may be there already. @throws Error with Node's `code`. */
export async function makeDirectory(directory: string): Promise<void> {
  if (await isDirectory(directory)) return;
  const parent = path.dirname(directory);
  if (parent !== directory) await makeDirectory(parent);
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    // Somebody else was quicker.
    if (!(await isDirectory(directory))) throw error;
  }
}

async function isDirectory(directory: string): Promise<boolean> {
  try {
    return (await stat(directory)).isDirectory();
  } catch {
    return false; // what is wrong with it mkdir says
  }
}

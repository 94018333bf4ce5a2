/**
 * Files of Unix sockets.
 *
 * @module
 */
import { lstat, rm } from 'node:fs/promises';

/** A socket that a killed server has left behind would be in the way; any other file is not ours. */
export async function removeSocket(path: string): Promise<void> {
  const there = await lstat(path).catch(() => undefined);
  if (there?.isSocket()) await rm(path, { force: true });
}

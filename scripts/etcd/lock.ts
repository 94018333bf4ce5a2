/** A lock between processes, so that parallel test runs do not all download the same packages. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 100;
const TIMEOUT_MS = 900_000;

/**
 * Runs `work` while holding the lock file. A lock whose owner no longer runs is taken over.
 *
 * It saves work and is not relied on for correctness: whoever fills the cache does so by an atomic rename, so two
 * holders (a take-over can race another) would only do the same work twice.
 */
export async function withLock<T>(file: string, work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + TIMEOUT_MS;
  while (!(await tryCreate(file))) {
    const owner = Number(await readFile(file, 'utf8').catch(() => ''));
    // An empty file belongs to an owner that is about to write its id.
    if (owner > 0 && !isRunning(owner)) await rm(file, { force: true });
    else if (Date.now() > deadline)
      throw new Error(`${file} has been held by process ${owner} for too long; remove it`);
    else await sleep(POLL_MS);
  }
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

async function tryCreate(file: string): Promise<boolean> {
  try {
    await writeFile(file, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

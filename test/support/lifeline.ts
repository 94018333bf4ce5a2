/**
 * Nothing that a test starts outlives the test process: neither child processes nor temporary folders.
 *
 * Ordinary disposal comes first. Two nets lie below it: an `exit` handler, and for the cases no handler sees (SIGKILL,
 * an out-of-memory abort) one small shell per test process. The shell reads our current state from a pipe and acts on
 * the last line it got once the pipe closes, which the kernel does however we end.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import os from 'node:os';
import path from 'node:path';

/** A line is process ids, then absolute folders, each followed by a tab. Processes go first: they write to folders. */
const WATCHDOG = `
IFS= read -r state || exit 0
while IFS= read -r line; do state=$line; done
IFS='\t'
for item in $state; do case $item in /*) ;; *) kill -9 "$item" 2>/dev/null ;; esac; done
sleep 0.2
for item in $state; do case $item in /*) rm -rf -- "$item" ;; esac; done
`;

const pids = new Set<number>();
const folders = new Set<string>();
let watchdog: ChildProcess | undefined;

/** Ends `child` with this process at the latest; forgotten by itself once the child has exited. */
export function tieProcess(child: ChildProcess): void {
  const { pid } = child;
  if (pid === undefined) return;
  pids.add(pid);
  // At 'exit' the id has just been reaped and may be given to a stranger, so it must be forgotten at once.
  child.once('exit', () => {
    pids.delete(pid);
    publish();
  });
  publish();
}

/** A temporary folder; removed by {@link TempFolder.remove}, by `await using`, or with this process at the latest. */
export class TempFolder implements AsyncDisposable {
  readonly path: string;

  constructor(prefix: string) {
    this.path = mkdtempSync(path.join(os.tmpdir(), `${prefix}-`));
    folders.add(this.path);
    publish();
  }

  /** A path inside the folder. */
  file(...names: string[]): string {
    return path.join(this.path, ...names);
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true, maxRetries: 5 });
    if (folders.delete(this.path)) publish();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove();
  }
}

function publish(): void {
  watchdog ??= startWatchdog();
  watchdog.stdin?.write(`${[...pids, ...folders].map((item) => `${item}\t`).join('')}\n`);
}

function startWatchdog(): ChildProcess {
  // Detached: a signal to our process group (Ctrl-C) must not end the watchdog before its work is done.
  const child = spawn('sh', ['-c', WATCHDOG], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
  child.unref();
  (child.stdin as Socket).unref();
  // The tests go on without this net if it cannot be had; the exit handler is still there.
  child.on('error', () => {});
  child.stdin?.on('error', () => {});
  process.once('exit', cleanUpNow);
  return child;
}

function cleanUpNow(): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It is gone already.
    }
  }
  for (const folder of folders) {
    try {
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    } catch {
      // The watchdog tries once more.
    }
  }
}

/**
 * No child outlives this process, however it ends.
 *
 * Ordinary ends are the supervisor's. For those that no handler sees (SIGKILL, an abort for want of memory) there is one
 * small shell: it hears from a pipe which children there are, and kills them once the pipe closes, which the system does
 * however we end. Where there is no shell the handler of `exit` is all there is.
 *
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';

/** Each line has the process ids of that moment; only the last one counts. */
const SCRIPT = `
IFS= read -r pids || exit 0
while IFS= read -r line; do pids=$line; done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
`;

/** See the head of this file. */
export class Watchdog {
  readonly #pids = new Set<number>();
  readonly #shell: ChildProcess;
  readonly #exit = (): void => {
    for (const pid of this.#pids) killNow(pid);
  };

  constructor() {
    // Detached: a Ctrl-C for our process group must not end it before its work is done.
    this.#shell = spawn('sh', ['-c', SCRIPT], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    this.#shell.unref();
    (this.#shell.stdin as Socket).unref();
    this.#shell.on('error', () => {});
    this.#shell.stdin?.on('error', () => {});
    process.once('exit', this.#exit);
  }

  /** Ends the child with this process at the latest. */
  tie(child: ChildProcess): void {
    const { pid } = child;
    if (pid === undefined) return;
    this.#pids.add(pid);
    // From then on the id may be a stranger's.
    child.once('exit', () => {
      this.#pids.delete(pid);
      this.#tell();
    });
    this.#tell();
  }

  #tell(): void {
    this.#shell.stdin?.write(`${[...this.#pids].join(' ')}\n`);
  }
}

function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
}

/**
 * Starts an `etcd` executable as etcd's own end-to-end tests do: stdin is null, stdout and stderr are one pseudo-terminal
 * that is read line by line, the folder is a temporary one, and of the environment there is little.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { unsupportedArchEnv } from '../../../scripts/etcd.ts';
import { tieProcess } from '../../support/lifeline.ts';

export const READY = 'ready to serve client requests';

/** All that they pass on, and what their builds with failpoints are told. */
const ENVIRONMENT = {
  PATH: process.env.PATH ?? '',
  SHELL: '/bin/sh',
  ETCD_VERIFY: 'all',
  GOFAIL_HTTP: '127.0.0.1:22381',
  GOFAIL_FAILPOINTS: '',
  ...unsupportedArchEnv,
};

/** A process on a terminal. Dispose it: it is killed. */
export class OnTerminal implements AsyncDisposable {
  /** Exit status as a shell has it: 128 and the signal's number for one that a signal ended. */
  readonly ended: Promise<number>;
  readonly #waiting = new Set<() => void>();
  #text = '';
  #over = false;

  constructor(executable: string, args: readonly string[], folder: string) {
    const quoted = [executable, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
    // The process id is known before anything else happens, and `exec` keeps it.
    const command = `echo "pid $$"; exec ${quoted} </dev/null`;
    // `script` of util-linux makes the terminal.
    const terminal = spawn('script', ['-q', '-e', '-c', command, '/dev/null'], {
      env: ENVIRONMENT,
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    tieProcess(terminal);
    terminal.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text;
      this.#wake();
    });
    this.ended = once(terminal, 'close').then(([code]) => {
      this.#over = true;
      this.#wake();
      return code as number;
    });
  }

  /** What it has printed, in lines. */
  get lines(): string[] {
    return this.#text.split('\r\n').slice(1, -1);
  }

  /** Waits for a line with that in it. Rejects if it ends before, with the last it said. */
  async line(part: string): Promise<string> {
    for (;;) {
      const found = this.lines.find((line) => line.includes(part));
      if (found !== undefined) return found;
      if (this.#over) throw new Error(`it ended without "${part}":\n${this.lines.slice(-40).join('\n')}`);
      await this.#more();
    }
  }

  /** Sends a signal to the process itself. */
  signal(signal: NodeJS.Signals): void {
    const pid = Number(/^pid (\d+)\r\n/.exec(this.#text)?.[1]);
    // While it has not ended, nobody else has its id.
    if (!this.#over && pid > 0) process.kill(pid, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    while (!this.#over && !this.#text.includes('\n')) await this.#more();
    // The terminal goes with it.
    this.signal('SIGKILL');
    await this.ended;
  }

  #more(): Promise<void> {
    return new Promise((resolve) => this.#waiting.add(resolve));
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/** The flags that every member of theirs is started with, in their forms and with their repetitions. */
export function flagsOf(clientPort: number, peerUrl: string): string[] {
  const clientUrl = `http://localhost:${clientPort}`;
  return [
    ...['--name', 'test-0', '--data-dir', 'data', '--snapshot-count', '10000'],
    ...['--listen-client-urls', clientUrl, '--advertise-client-urls', clientUrl],
    ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
    ...[`--initial-cluster=test-0=${peerUrl}`, '--initial-cluster-state', 'new'],
    ...['--initial-cluster-token', 'new', '--initial-cluster-token', 'again', '--snapshot-count=500'],
    ...['--experimental-initial-corrupt-check', '--strict-reconfig-check=false'],
    ...['--heartbeat-interval=20', '--election-timeout=200', '--experimental-snapshot-catchup-entries=100'],
  ];
}

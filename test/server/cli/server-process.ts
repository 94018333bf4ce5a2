/** The server as a process, for tests of what its parent sees: lines, exit status, signals. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { tieProcess } from '../../support/lifeline.ts';
import { freePorts, releasePorts } from '../../support/ports.ts';

const EXECUTABLE = path.join(import.meta.dirname, '..', '..', '..', 'scripts', 'etcd', 'bundled');

/** How a process ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** One line of the log. */
export interface LogLine {
  readonly level: string;
  readonly ts: string;
  readonly caller: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** A running, or ended, server process. Dispose it: it is killed. */
export class ServerProcess implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly ended: Promise<Ending>;
  stdout = '';
  stderr = '';
  readonly #waiting = new Set<() => void>();

  /** @param executable Another than that of the bundled server, which is to take the same flags. */
  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}, executable = EXECUTABLE) {
    // As etcd's own frameworks pass it on: neither HOME nor anything of Node's.
    const environment = { PATH: process.env.PATH ?? '', ...env };
    const child = spawn(executable, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = child;
    tieProcess(child);
    child.stdout.setEncoding('utf8').on('data', (text: string) => this.#heard('stdout', text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => this.#heard('stderr', text));
    this.ended = once(child, 'close').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
    }));
    void this.ended.then(() => this.#wake());
  }

  /** The lines of its log so far. Lines that are no JSON throw. */
  get lines(): LogLine[] {
    return this.stderr
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as LogLine);
  }

  /** Waits until it has printed something. Rejects if it ends before. */
  async printed(text: string): Promise<void> {
    for (;;) {
      if (this.stderr.includes(text) || this.stdout.includes(text)) return;
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`the server has ended without "${text}":\n${this.stdout}${this.stderr}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  #heard(stream: 'stdout' | 'stderr', text: string): void {
    this[stream] += text;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/** Ports of one member, and the flags that name them. */
export class Seat implements Disposable {
  readonly clientUrl: string;
  readonly args: readonly string[];
  readonly #ports: readonly number[];

  private constructor(ports: readonly number[], dataDir: string) {
    const [client, peer] = ports;
    this.#ports = ports;
    this.clientUrl = `http://127.0.0.1:${client}`;
    const peerUrl = `http://127.0.0.1:${peer}`;
    this.args = [
      '--name=m1',
      `--data-dir=${dataDir}`,
      `--listen-client-urls=${this.clientUrl}`,
      `--advertise-client-urls=${this.clientUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=m1=${peerUrl}`,
      '--unsafe-no-fsync',
    ];
  }

  static async take(dataDir: string): Promise<Seat> {
    return new Seat(await freePorts(2), dataDir);
  }

  [Symbol.dispose](): void {
    releasePorts(this.#ports);
  }
}

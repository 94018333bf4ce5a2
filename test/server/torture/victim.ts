/** A server process that is made to be killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { tieProcess } from '../../support/lifeline.ts';
import type { ServerBuild } from '../../support/server-build.ts';

const READY = 'ready to serve client requests';

/** How a process is held short. */
export interface VictimOptions {
  /** What a shell does before it becomes the process, such as `ulimit -f 100`. */
  readonly limits?: string | undefined;
  /** User to run as. */
  readonly uid?: number | undefined;
}

/**
 * One life. The process starts at once, loads its code, and waits: {@link Victim.go} lets it have the data. So the next
 * one can be loaded while the one before is alive.
 */
export class Victim {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  /** How it ended. */
  code: number | null = null;
  log = '';
  #wake: (() => void) | undefined;
  #held: Promise<unknown>;

  constructor({ main, hold }: ServerBuild, args: readonly string[], { limits = ':', uid }: VictimOptions = {}) {
    const command = ['-c', `${limits}; exec "$@"`, 'sh', process.execPath, '--import', hold, main, 'server', ...args];
    const child = spawn('sh', command, {
      env: { PATH: process.env.PATH ?? '' },
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(uid === undefined ? {} : { uid }),
    });
    this.#child = child;
    tieProcess(child);
    this.#held = once(child.stdout, 'data');
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
      this.#wake?.();
    });
    child.stdin.on('error', () => {});
    this.#exited = once(child, 'close').then(([code]) => {
      this.code = code as number | null;
      this.#wake?.();
    });
  }

  /** Resolves once its code is loaded. */
  async held(): Promise<void> {
    await this.#held;
  }

  /** Lets it begin. */
  go(): void {
    (this.#child.stdin as Writable).write('.');
  }

  /** Whether it has ended. */
  get dead(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Resolves once it serves. @throws with its log if it ends before. */
  async ready(): Promise<void> {
    while (!this.log.includes(READY)) {
      if (this.dead) throw new Error(`the server has ended before it was ready:\n${this.log}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** SIGKILL. Resolves once it is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** The last line of its log. */
  get lastLine(): { readonly level?: string; readonly msg?: string; readonly error?: string } {
    return JSON.parse(this.log.trimEnd().split('\n').at(-1) ?? '{}') as object;
  }

  /** Resolves once it has ended by itself. */
  async end(): Promise<void> {
    await this.#exited;
  }
}

/**
 * A member as a process: the bundled executable, or a real etcd with the same flags.
 *
 * What it prints goes to a file beside its data. It is in a process group of its own, so that a Ctrl-C in the terminal is
 * ours alone to answer.
 *
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../support/clock.ts';
import { deferred } from '../../support/signals.ts';
import type { MemberPlan } from './state-file.ts';
import type { Watchdog } from './watchdog.ts';

/** How the process is. `ended`: by itself. */
export type ProcessState = 'running' | 'paused' | 'stopped' | 'killed' | 'ended';

/** How long an orderly end may take, in ms. */
const STOP_MS = 10_000;

/** What all members have in common. */
export interface Fleet {
  readonly dataDir: string;
  readonly clusterToken: string;
  readonly members: readonly MemberPlan[];
  readonly real: string | undefined;
  readonly watchdog: Watchdog;
}

/** See the head of this file. */
export class MemberProcess {
  readonly plan: MemberPlan;
  readonly #fleet: Fleet;
  #child: ChildProcess | undefined;
  #ended = deferred<void>();
  #state: ProcessState = 'stopped';
  /** What was asked of it, while it has not ended. */
  #leaving: 'stopped' | 'killed' | undefined;
  /** How it ended, if it did by itself: `code 1`, `SIGSEGV`. */
  ending = '';
  /** Hears of each change. */
  changed: () => void = () => {};

  constructor(plan: MemberPlan, fleet: Fleet) {
    this.plan = plan;
    this.#fleet = fleet;
  }

  get state(): ProcessState {
    return this.#state;
  }

  /** Whether there is a process. */
  get alive(): boolean {
    return this.#child !== undefined;
  }

  /** Where its log is. */
  get logFile(): string {
    return path.join(this.#fleet.dataDir, `${this.plan.name}.log`);
  }

  /** Starts it, if it is not there. */
  start(): void {
    if (this.#child) return;
    mkdirSync(this.#fleet.dataDir, { recursive: true, mode: 0o700 });
    const log = openSync(this.logFile, 'a', 0o600);
    const [program, ...args] = this.#command();
    const child = spawn(program, args, { detached: true, stdio: ['ignore', log, log], windowsHide: true });
    closeSync(log);
    this.#fleet.watchdog.tie(child);
    this.#child = child;
    this.#ended = deferred();
    this.ending = '';
    this.#set('running');
    const ended = (ending: string): void => {
      if (this.#child !== child) return;
      this.#child = undefined;
      if (!this.#leaving) this.ending = ending;
      this.#set(this.#leaving ?? 'ended');
      this.#leaving = undefined;
      this.#ended.resolve();
    };
    child.once('error', (error: NodeJS.ErrnoException) => ended(error.code ?? 'error'));
    child.once('exit', (code, signal) => ended(signal ?? `code ${code}`));
  }

  /** Ends it in good order, or, when that takes too long, at once. */
  async stop(): Promise<void> {
    if (!this.#child) return;
    // To a server a second signal means "at once".
    if (!this.#leaving) {
      this.#leaving = 'stopped';
      this.#signal('SIGCONT');
      this.#signal('SIGTERM');
    }
    const late = systemClock.after(STOP_MS, () => this.#signal('SIGKILL'));
    await this.#ended.promise;
    late.cancel();
  }

  /** Ends it at once. */
  async kill(): Promise<void> {
    if (!this.#child) return;
    this.#leaving = 'killed';
    this.#signal('SIGKILL');
    await this.#ended.promise;
  }

  /** It stands still. */
  pause(): void {
    if (this.#state !== 'running') return;
    this.#signal('SIGSTOP');
    this.#set('paused');
  }

  /** It goes on. */
  resume(): void {
    if (this.#state !== 'paused') return;
    this.#signal('SIGCONT');
    this.#set('running');
  }

  #signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  #set(state: ProcessState): void {
    this.#state = state;
    this.changed();
  }

  #command(): [string, ...string[]] {
    const { dataDir, clusterToken, members, real } = this.#fleet;
    const { name, clientUrl, peerUrl } = this.plan;
    const flags = [
      ...['--name', name, '--data-dir', path.join(dataDir, name)],
      ...['--listen-client-urls', clientUrl, '--advertise-client-urls', clientUrl],
      ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
      ...['--initial-cluster', members.map((member) => `${member.name}=${member.peerUrl}`).join(',')],
      ...['--initial-cluster-state', 'new', '--initial-cluster-token', clusterToken],
    ];
    if (real !== undefined) return [real, ...flags];
    // Of the same kind as this module: sources, or built.
    const main = fileURLToPath(new URL(`../main${path.extname(import.meta.url)}`, import.meta.url));
    return [process.execPath, ...process.execArgv, main, 'server', ...flags];
  }
}

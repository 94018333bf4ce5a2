/** One etcd process of a test cluster, with the means to hurt it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ProbeTls, probe } from './http-probe.ts';
import { tieProcess } from './lifeline.ts';

const LOG_LIMIT = 64 * 1024;
const PROBE_TIMEOUT_MS = 2_000;
/** A health request that finds no leader hangs in etcd: better to ask again soon, but with more patience each time. */
const FIRST_HEALTH_TIMEOUT_MS = 250;
const HEALTH_POLL_MS = 20;
/** Generous: a loaded machine with two cores may start several clusters at a time. */
const HEALTH_TIMEOUT_MS = 30_000;
const TERMINATE_TIMEOUT_MS = 10_000;

const STOP_TIMEOUT_MS = 10_000;
const STOP_POLL_MS = 1;

/** How to run a member. */
export interface EtcdMemberOptions {
  readonly name: string;
  readonly binary: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly dataDir: string;
  readonly tls?: ProbeTls | undefined;
}

/** What a member says of itself. Ids are decimal, as etcd's JSON has them. */
export interface MemberStatus {
  readonly memberId: string;
  /** `'0'` while no leader is known. */
  readonly leaderId: string;
  readonly raftTerm: number;
  readonly version: string;
}

/** A member; {@link EtcdMember.kill} and the like return once the process is really in the state they name. */
export class EtcdMember {
  readonly name: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly dataDir: string;
  /** `host:port` of the client URL. */
  readonly address: string;
  readonly #options: EtcdMemberOptions;
  #child: ChildProcess | undefined;
  #log = '';
  /** Whether the process was told to end. */
  #ending = false;
  #crash: string | undefined;

  constructor(options: EtcdMemberOptions) {
    this.#options = options;
    this.name = options.name;
    this.clientUrl = options.clientUrl;
    this.peerUrl = options.peerUrl;
    this.dataDir = options.dataDir;
    this.address = new URL(options.clientUrl).host;
  }

  /** Whether the process runs (a paused one does). */
  get running(): boolean {
    return this.#child !== undefined;
  }

  /** The process id. @throws when the member is down. */
  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`etcd member ${this.name} is not running`);
    return pid;
  }

  /** How the process ended when nobody had told it to: an exit code that is not 0, or a signal. For good. */
  get crash(): string | undefined {
    return this.#crash;
  }

  /** The last 64 KiB of output of all runs. */
  get log(): string {
    return this.#log;
  }

  /** Starts the process without waiting for anything. Rejects only when it can't be run at all. */
  async spawn(): Promise<void> {
    if (this.#child) throw new Error(`etcd member ${this.name} is running already`);
    const { binary, args, env } = this.#options;
    const child = spawn(binary, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#ending = false;
    tieProcess(child);
    for (const output of [child.stdout, child.stderr]) {
      output?.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-LOG_LIMIT);
      });
    }
    // 'exit' and not 'close': a stopped reader of the output must not make a dead member look alive.
    child.once('exit', (code, signal) => {
      this.#log += `\n[${this.name} exited: ${signal ?? code}]\n`;
      // One that was to be killed may have crashed just before.
      const asked = this.#ending && (signal === 'SIGKILL' || signal === 'SIGTERM');
      if (!asked && code !== 0) this.#crash ??= `${signal ?? code}`;
      if (this.#child === child) this.#child = undefined;
    });
    try {
      await once(child, 'spawn');
    } catch (error) {
      this.#child = undefined;
      throw error;
    }
    // Logged errors of the process itself come as 'exit'; this keeps a failing kill() from being unhandled.
    child.on('error', () => {});
  }

  /** Waits until the member serves linearizable reads. Rejects when it exits or the time is up, with its log. */
  async waitHealthy(timeoutMs = HEALTH_TIMEOUT_MS): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    let last: unknown = 'nothing yet';
    let patienceMs = FIRST_HEALTH_TIMEOUT_MS;
    while (performance.now() < deadline) {
      if (!this.#child) throw new Error(`etcd member ${this.name} exited before it was healthy:\n${this.#log}`);
      try {
        const { tls } = this.#options;
        const { status, body } = await probe(`${this.clientUrl}/health`, { tls, timeoutMs: patienceMs });
        if (status === 200 && /"health":\s*"true"/.test(body)) return;
        last = `${status} ${body}`;
      } catch (error) {
        last = error;
        if ((error as Error).name === 'AbortError') patienceMs = Math.min(2 * patienceMs, PROBE_TIMEOUT_MS);
      }
      await sleep(HEALTH_POLL_MS);
    }
    throw new Error(`etcd member ${this.name} is not healthy after ${timeoutMs} ms (${String(last)}):\n${this.#log}`);
  }

  /** The member's own view of the cluster; it answers without a quorum too. */
  async status(): Promise<MemberStatus> {
    const url = `${this.clientUrl}/v3/maintenance/status`;
    const { status, body } = await probe(url, { tls: this.#options.tls, body: {}, timeoutMs: PROBE_TIMEOUT_MS });
    if (status !== 200) throw new Error(`status of etcd member ${this.name}: ${status} ${body}`);
    const answer = JSON.parse(body) as {
      header?: { member_id?: string };
      leader?: string;
      raftTerm?: string;
      version?: string;
    };
    return {
      memberId: answer.header?.member_id ?? '0',
      leaderId: answer.leader ?? '0',
      raftTerm: Number(answer.raftTerm ?? 0),
      version: answer.version ?? '',
    };
  }

  /** SIGKILL: no goodbye to anyone. Does nothing when the member is down. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child) return;
    const exited = once(child, 'exit');
    this.#ending = true;
    child.kill('SIGKILL');
    await exited;
  }

  /** SIGTERM: an orderly end; a leader hands over first. Kills after ten seconds. */
  async terminate(): Promise<void> {
    const child = this.#child;
    if (!child) return;
    const exited = once(child, 'exit');
    this.#ending = true;
    child.kill('SIGTERM');
    // A stopped process does not see the signal before it runs again.
    child.kill('SIGCONT');
    const timer = setTimeout(() => child.kill('SIGKILL'), TERMINATE_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  }

  /** SIGSTOP: connections stay open and nothing answers, as in a long pause or a hung disk. Blocks until it is so. */
  pause(): void {
    process.kill(this.pid, 'SIGSTOP');
    blockUntilStopped(this.pid);
  }

  /** SIGCONT: the end of {@link EtcdMember.pause}. */
  resume(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  /**
   * Starts the member again on its data and ports, killing it first when it runs, and waits until it is healthy.
   * Without a quorum it never is: restart several with `Promise.all`, or pass `waitHealthy: false`. Mostly it takes
   * well under a second; when etcd's announcement of itself falls into an election, it waits 5.4 s to repeat it.
   */
  async restart(options: { waitHealthy?: boolean; timeoutMs?: number } = {}): Promise<void> {
    await this.kill();
    await this.spawn();
    if (options.waitHealthy !== false) await this.waitHealthy(options.timeoutMs);
  }
}

/**
 * A process stops when one of its threads comes round to the signal, which on a busy machine can take longer than a
 * request and its answer. Blocks, so that nothing of the test runs between the order and its execution.
 */
function blockUntilStopped(pid: number): void {
  const threads = `/proc/${pid}/task`;
  if (!existsSync(threads)) return; // no Linux
  const deadline = performance.now() + STOP_TIMEOUT_MS;
  while (!readdirSync(threads).every((thread) => isStopped(`${threads}/${thread}/stat`))) {
    if (performance.now() > deadline) throw new Error(`process ${pid} did not stop within ${STOP_TIMEOUT_MS} ms`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STOP_POLL_MS);
  }
}

function isStopped(statPath: string): boolean {
  try {
    // The state follows the name, which is in parentheses and may have some of its own (proc_pid_stat(5)).
    return /^\) [TtZX]/.test(readFileSync(statPath, 'latin1').replace(/^.*(?=\))/s, ''));
  } catch {
    return true; // a thread that has ended meanwhile
  }
}

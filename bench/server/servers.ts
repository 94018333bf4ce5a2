/**
 * The two servers, as processes of one member with the same flags, on the same disk.
 *
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { ensureEtcd, unsupportedArchEnv } from '../../scripts/etcd.ts';
import { KV, PutRequest } from '../../src/protocol/generated/etcdserverpb.ts';
import { deferred } from '../../src/support/signals.ts';
import { freePorts } from '../../test/support/ports.ts';
import { LoadConnection } from './connection.ts';

/** Ours, from the build, and the one that it is compared with. */
export type ServerName = 'etcdkit' | 'etcd';

const BUILT = path.join(import.meta.dirname, '../../dist/src/cli/main.js');
const START_TIMEOUT_MS = 120_000;
const POLL_MS = 2;

/** A server that runs. Its data is gone once it is disposed of. */
export class BenchServer implements AsyncDisposable {
  readonly endpoint: string;
  /** How long the first {@link run} took. */
  startedInMs = 0;
  readonly #command: readonly string[];
  readonly #folder: string;
  #child: ChildProcess | undefined;

  private constructor(endpoint: string, command: readonly string[], folder: string) {
    this.endpoint = endpoint;
    this.#command = command;
    this.#folder = folder;
  }

  /** Makes one with no data and starts it. */
  static async start(name: ServerName): Promise<BenchServer> {
    const folder = await mkdtemp(path.join(tmpdir(), 'etcdkit-bench-'));
    const [client, peer] = await freePorts(2);
    const [clientUrl, peerUrl] = [`http://127.0.0.1:${client}`, `http://127.0.0.1:${peer}`];
    const program = name === 'etcd' ? [(await ensureEtcd('3.5')).etcd] : [process.execPath, BUILT, 'server'];
    const flags = {
      name: 'bench',
      'data-dir': folder,
      'listen-client-urls': clientUrl,
      'advertise-client-urls': clientUrl,
      'listen-peer-urls': peerUrl,
      'initial-advertise-peer-urls': peerUrl,
      'initial-cluster': `bench=${peerUrl}`,
      'log-level': 'error',
    };
    const command = [...program, ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`)];
    const server = new BenchServer(`127.0.0.1:${client}`, command, folder);
    server.startedInMs = await server.run();
    return server;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Starts the process. @returns How long it took from there to the first put that was done, in ms. */
  async run(): Promise<number> {
    const [program = '', ...args] = this.#command;
    const startedAt = performance.now();
    this.#child = spawn(program, args, { env: { ...process.env, ...unsupportedArchEnv }, stdio: 'ignore' });
    while (!(await putOnce(this.endpoint))) {
      if (performance.now() - startedAt > START_TIMEOUT_MS) throw new Error(`${program} does not start`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return performance.now() - startedAt;
  }

  /** Ends the process, well. The data stays. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  }

  /** Memory of the process that is in use, in MB; only where the system has /proc. */
  async residentMb(): Promise<number> {
    const status = await readFile(`/proc/${this.pid}/status`, 'latin1');
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** One put on a connection of its own. @returns Whether it was done. */
export async function putOnce(endpoint: string): Promise<boolean> {
  const { promise, resolve } = deferred<boolean>();
  const connection = await LoadConnection.open(endpoint, KV.put.path, resolve).catch(() => undefined);
  if (connection === undefined) return false;
  connection.send(PutRequest.encode({ key: Buffer.from('bench/first'), value: Buffer.from('v') }));
  connection.flush();
  const done = await promise;
  connection.close();
  return done;
}

/** A whole server, its log, and what it says of itself. */
import { setImmediate as turn } from 'node:timers/promises';
import { EtcdServer, type EtcdServerOptions } from '../../../src/server/index.ts';
import { probe } from '../../support/http-probe.ts';
import { connectRaw, type RawClient } from '../rpc/raw-client.ts';

/** Kinds of resources that a connection, a stream or a wait would leave behind. */
const LASTING = ['TCPServerWrap', 'TCPSocketWrap', 'Timeout'];

/** What a server counts that must go back to what it was. */
const GAUGES = ['etcd_debugging_mvcc_watcher_total'];

/** See the head of this file. */
export class Target implements AsyncDisposable {
  readonly server: EtcdServer;
  readonly log: string[];
  readonly #before: readonly string[];

  private constructor(server: EtcdServer, log: string[]) {
    this.server = server;
    this.log = log;
    this.#before = resources();
  }

  static async start(options: EtcdServerOptions = {}): Promise<Target> {
    const log: string[] = [];
    const write = (level: string, caller: string, message: string, fields: object = {}): void => {
      const text = (_: string, value: unknown) => {
        if (value instanceof Error) return `${value.stack}`;
        return typeof value === 'bigint' ? String(value) : value;
      };
      log.push(`${level} ${caller} ${message} ${JSON.stringify(fields, text)}`);
    };
    return new Target(await EtcdServer.start({ bcryptCost: 4, ...options, log: { write } }), log);
  }

  get url(): string {
    return this.server.clientUrl;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  connect(): Promise<RawClient> {
    return connectRaw(this.url);
  }

  /** Values of /metrics, by name; series of one name are added up. */
  async metrics(): Promise<Map<string, number>> {
    const { body } = await probe(`${this.url}/metrics`, { timeoutMs: 10_000 });
    const sums = new Map<string, number>();
    for (const line of body.split('\n')) {
      const [, name = '', value] = /^([a-z_]+)(?:\{.*\})? (\S+)$/.exec(line) ?? [];
      if (name !== '') sums.set(name, (sums.get(name) ?? 0) + Number(value));
    }
    return sums;
  }

  /** Nothing is left of what clients did, every call has ended, and no fault of the server was reported. */
  async expectNothingLeft(): Promise<void> {
    const left = async (): Promise<string[]> => {
      const metrics = await this.metrics();
      const found = GAUGES.filter((name) => metrics.get(name) !== 0).map((name) => `${name} ${metrics.get(name)}`);
      const running = (metrics.get('grpc_server_started_total') ?? 0) - (metrics.get('grpc_server_handled_total') ?? 0);
      if (running !== 0) found.push(`${running} calls`);
      // The connection that has just asked goes too.
      for (let i = 0; i < 20; i++) await turn();
      return [...found, ...added(this.#before)];
    };
    let found = await left();
    for (let round = 0; found.length > 0 && round < 500; round++) found = await left();
    if (found.length > 0) throw new Error(`left behind: ${found.join(', ')}`);
    // A machine that is busy is no fault of the server's.
    const lines = this.log.filter((line) => !line.includes('apply request took too long'));
    const faults = lines.filter((line) => /^(warn|error|fatal)/.test(line));
    if (faults.length > 0) throw new Error(`the server has reported:\n${faults.slice(0, 5).join('\n')}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.stop();
  }
}

function resources(): string[] {
  return process.getActiveResourcesInfo().filter((kind) => LASTING.includes(kind));
}

function added(before: readonly string[]): string[] {
  const old = [...before];
  return resources().filter((kind) => {
    const at = old.indexOf(kind);
    if (at >= 0) old.splice(at, 1);
    return at < 0;
  });
}

/** Runs `work` for each item, some at a time. */
export async function inLanes<T>(
  lanes: number,
  items: Iterable<T>,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const rest = items[Symbol.iterator]();
  const lane = async (): Promise<void> => {
    for (let next = rest.next(); !next.done; next = rest.next()) await work(next.value);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

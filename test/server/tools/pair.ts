/**
 * One tool of etcd's, run twice with the same words: on a real etcd of its own version, and on the bundled server.
 *
 * What it prints must be the same but for what differs between any two clusters: ids, terms, positions in the log,
 * sizes, addresses. Those become names, such as `<member>` or `<lease1>`, on both sides, so that a name in the words of
 * a later command (`{lease1}`) means each side's own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { expect } from 'vitest';
import { type EtcdRelease, unsupportedArchEnv } from '../../../scripts/etcd.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import { tieProcess } from '../../support/lifeline.ts';

/** A tool that hangs is a fault, and says what it had printed. */
const PATIENCE_MS = 30_000;

/** What a command left. */
export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  /** Only what it calls an error: 3.5 logs there too. */
  readonly errors: string;
  /** Byte for byte: each character is one. */
  readonly raw: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly input?: string | undefined;
}

/** A cluster, and what its ids are called. */
export class Side implements AsyncDisposable {
  readonly cluster: EtcdCluster;
  readonly #etcdctl: string;
  /** Goes before the words of every command. */
  readonly #flags: readonly string[];
  readonly #names = new Map<string, string>();

  private constructor(cluster: EtcdCluster, etcdctl: string, flags: readonly string[]) {
    this.cluster = cluster;
    this.#etcdctl = etcdctl;
    this.#flags = flags;
  }

  static async of(cluster: EtcdCluster, etcdctl: string, flags: readonly string[] = []): Promise<Side> {
    const side = new Side(cluster, etcdctl, flags);
    const [member] = cluster.members;
    if (member === undefined) throw new Error('a cluster without members');
    const { stdout } = await side.run(['get', 'x', '-w', 'json']);
    for (const name of ['cluster', 'member']) {
      side.nameId(name, BigInt(new RegExp(`"${name}_id":(\\d+)`).exec(stdout)?.[1] ?? 0));
    }
    side.name('client', member.clientUrl);
    side.name('address', member.address);
    side.name('peer', member.peerUrl);
    return side;
  }

  /** What `text` is to be called from now on. */
  name(name: string, text: string): void {
    this.#names.set(name, text);
  }

  /** The same for an id, which is printed in hex, with or without zeros before it, and in decimal. */
  nameId(name: string, id: bigint): void {
    const hex = BigInt.asUintN(64, id).toString(16);
    this.name(name, hex);
    this.name(`${name}:16`, hex.padStart(16, '0'));
    this.name(`${name}:10`, id.toString());
  }

  /** What is called so. */
  named(name: string): string {
    const text = this.#names.get(name);
    if (text === undefined) throw new Error(`nothing is called ${name}`);
    return text;
  }

  /** Text in which whatever has a name is called by it. */
  plain(text: string): string {
    const named = [...this.#names].sort(([, a], [, b]) => b.length - a.length);
    let plain = text;
    for (const [name, value] of named) plain = plain.replaceAll(value, `<${name.replace(':16', '')}>`);
    return plain;
  }

  async run(words: readonly string[], { env, input = '' }: RunOptions = {}): Promise<Ran> {
    const tool = this.start(words, env);
    tool.child.stdin?.end(input);
    const code = await tool.ended;
    return { code, stdout: tool.stdout, errors: tool.errors, raw: tool.raw };
  }

  /** One that goes on: end it by `stop`, or dispose it. */
  start(words: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
    const args = words.map((word) => word.replace(/\{([\w:]+)\}/g, (_, name: string) => this.named(name)));
    const own = { PATH: process.env.PATH ?? '', ETCDCTL_API: '3', ...unsupportedArchEnv };
    const endpoints = args.some((arg) => arg.startsWith('--endpoints'))
      ? {}
      : { ETCDCTL_ENDPOINTS: this.cluster.endpoints.join() };
    return new Running(
      spawn(this.#etcdctl, [...this.#flags, ...args], { env: { ...own, ...endpoints, ...env } }),
      words,
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cluster[Symbol.asyncDispose]();
  }
}

/** A tool that runs. */
export class Running implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  raw = '';
  #stderr = '';
  #over = false;
  readonly #words: readonly string[];
  readonly #waiting = new Set<() => void>();

  constructor(child: ChildProcess, words: readonly string[]) {
    this.child = child;
    this.#words = words;
    tieProcess(child);
    child.stdin?.on('error', () => {});
    child.stdout?.on('data', (bytes: Buffer) => {
      this.raw += bytes.toString('latin1');
      this.#wake();
    });
    child.stderr?.on('data', (bytes: Buffer) => {
      this.#stderr += bytes.toString();
      this.#wake();
    });
    this.ended = new Promise((resolve) => child.once('close', resolve));
    const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
    void this.ended.then(() => {
      clearTimeout(timer);
      this.#over = true;
      this.#wake();
    });
  }

  get stdout(): string {
    return Buffer.from(this.raw, 'latin1').toString();
  }

  /** What it calls an error. */
  get errors(): string {
    return this.#stderr
      .split('\n')
      .filter((line) => line !== '' && !/^(\{"level"|[\d-]+ [\d:.]+ [A-Z] \||.*\bWARNING\b)/.test(line))
      .join('\n');
  }

  /** Waits until it has printed that, `times` times if it is a text. */
  async printed(wanted: string | RegExp, times = 1): Promise<void> {
    const isThere = (): boolean =>
      typeof wanted === 'string' ? this.stdout.split(wanted).length > times : wanted.test(this.stdout);
    while (!isThere()) {
      if (this.#over) {
        const what = `etcdctl ${this.#words.join(' ')} ended without ${wanted}`;
        throw new Error(`${what}:\n${this.stdout}${this.#stderr}`);
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Ends it, by default as Ctrl-C does. */
  async stop(signal: NodeJS.Signals = 'SIGINT'): Promise<number | null> {
    this.child.kill(signal);
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL');
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/** What no two clusters have in common. */
const VARYING: readonly (readonly [RegExp, string])[] = [
  [/"(raft_term|raftTerm|raftIndex|raftAppliedIndex|dbSize|dbSizeInUse)":\d+/g, '"$1":<n>'],
  [/"(RaftTerm|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)" : \d+/g, '"$1" : <n>'],
  [/took( = |":"|" : )[^\s",]+/gi, 'took <time>'],
  [/\b\d+(\.\d+)?(µs|ms|s) /g, '<time> '],
  [/"version":"3\.\d+\.\d+"|"Version" : "3\.\d+\.\d+"/g, '<version>'],
];

/** See the head of this file. */
export class Pair implements AsyncDisposable {
  readonly real: Side;
  readonly ours: Side;

  private constructor(real: Side, ours: Side) {
    this.real = real;
    this.ours = ours;
  }

  /** @param version whose tool, and which etcd it is compared on. */
  static async start(version: EtcdRelease, flags: readonly string[] = []): Promise<Pair> {
    const [real, ours] = await Promise.all([
      EtcdCluster.start({ version, flags }),
      EtcdCluster.start({ version: 'bundled', flags }),
    ]);
    const { etcdctl } = real.binaries;
    return new Pair(await Side.of(real, etcdctl), await Side.of(ours, etcdctl));
  }

  /** The same words on both; whatever they print has to be the same. @returns What it was on ours. */
  async same(words: readonly string[], options?: RunOptions): Promise<Ran> {
    const real = await this.real.run(words, options);
    const ours = await this.ours.run(words, options);
    const [theirs, mine] = [this.text(this.real, real), this.text(this.ours, ours)];
    expect(mine, `etcdctl ${words.join(' ')}`).toEqual(theirs);
    return ours;
  }

  /** The same, for commands that must not fail, on either. */
  async good(line: string, options?: RunOptions): Promise<string> {
    const ran = await this.same(line.split(' '), options);
    expect(ran.code, `etcdctl ${line}: ${ran.errors}`).toBe(0);
    return ran.stdout;
  }

  /** The same, for commands that must fail, on both. @returns What it was called. */
  async bad(line: string, options?: RunOptions): Promise<string> {
    const ran = await this.same(line.split(' '), options);
    expect(ran.code, `etcdctl ${line}`).not.toBe(0);
    return ran.errors;
  }

  /** Runs a command that prints an id, and gives it a name on each side. */
  async naming(name: string, line: string, id: RegExp, radix: 'hex' | 'decimal' = 'hex'): Promise<void> {
    const texts: string[] = [];
    for (const side of [this.real, this.ours]) {
      const { stdout, errors } = await side.run(line.split(' '));
      const found = id.exec(stdout)?.[1];
      if (found === undefined) throw new Error(`etcdctl ${line} printed no id: ${stdout}${errors}`);
      side.nameId(name, BigInt(radix === 'hex' ? `0x${found}` : found));
      texts.push(varying(side.plain(stdout)));
    }
    expect(texts[1], `etcdctl ${line}`).toBe(texts[0]);
  }

  /** What is compared of a command. */
  text(side: Side, { code, stdout, errors }: Ran): unknown {
    return { code, stdout: varying(side.plain(stdout)), errors: varying(side.plain(errors)) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.real[Symbol.asyncDispose](), this.ours[Symbol.asyncDispose]()]);
  }
}

export function varying(text: string): string {
  let plain = text;
  for (const [pattern, instead] of VARYING) plain = plain.replace(pattern, instead);
  // Members are listed by their ids, which are filled up with blanks.
  plain = plain.replace(/^Member .*/, (line) => line.replace(/ +/g, ' '));
  plain = plain.replace(/(?<=ETCD_INITIAL_CLUSTER=")[^"]*/, (list) => list.split(',').sort().join());
  // The columns of a table are as wide as what is in them.
  return plain.startsWith('+-') ? plain.replace(/-+/g, '-').replace(/ +/g, ' ') : plain;
}

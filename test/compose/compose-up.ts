/**
 * `docker compose up` without Docker: the very commands and environment of the services, as processes.
 *
 * Each service has a loopback address of its own in place of a container's, with the ports that the file names, so
 * nothing else is rewritten than names to addresses and mounted folders to temporary ones. What a container would see
 * of this machine's environment, it sees here: nothing but PATH.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureEtcd, unsupportedArchEnv } from '../../scripts/etcd.ts';
import { TempFolder, tieProcess } from '../support/lifeline.ts';
import { type Compose, type Healthcheck, root, type Service } from './compose-file.ts';

const LOG_LIMIT = 64 * 1024;

/** A service that runs, or has been stopped. */
export interface Container {
  readonly service: Service;
  /** Of the port that clients are to connect to. */
  readonly endpoint: string;
  readonly running: boolean;
  /** As `docker compose stop`: SIGTERM, and SIGKILL when the time it was given is over. The exit status. */
  stop(): Promise<number | string>;
  /** As `docker compose start`: the same command on the same volumes. Or what `other` runs, in this one's place. */
  start(other?: Service | undefined): void;
  /** Asks as the health check says until it passes. @throws when it failed as often as the file allows. */
  healthy(): Promise<void>;
}

/** Words of a command, found on this machine. */
type Programs = (word: string) => readonly string[];

/** A project that runs; dispose it, and no process or folder is left. */
export class ComposeProject implements AsyncDisposable {
  readonly containers: readonly Container[];
  readonly #folder: TempFolder;

  private constructor(containers: readonly Container[], folder: TempFolder) {
    this.containers = containers;
    this.#folder = folder;
  }

  /** Starts the services of some profiles, and waits until all are healthy, as `up --wait` does. */
  static async up(compose: Compose, profiles: readonly string[]): Promise<ComposeProject> {
    const chosen = compose.services.filter((service) => service.profiles.some((profile) => profiles.includes(profile)));
    const folder = new TempFolder('etcdkit-compose');
    const programs = await programsHere();
    const rewrite = rewriter(chosen, folder);
    const project = new ComposeProject(
      chosen.map((service) => new Process(service, (text) => rewrite(service, text), programs)),
      folder,
    );
    try {
      for (const container of project.containers) container.start();
      await Promise.all(project.containers.map((container) => container.healthy()));
      return project;
    } catch (error) {
      await project[Symbol.asyncDispose]();
      throw error;
    }
  }

  get endpoints(): string[] {
    return this.containers.map(({ endpoint }) => endpoint);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.containers.map((container) => container.stop()));
    await this.#folder.remove();
  }
}

/** The words that images have on their PATH, as what they are here. */
async function programsHere(): Promise<Programs> {
  const { etcd, etcdctl } = await ensureEtcd('3.5');
  const { bin } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { bin: { etcdkit: string } };
  // The sources as they are: a test must not run yesterday's build.
  const source = bin.etcdkit.replace('./dist/', '').replace(/js$/, 'ts');
  const tsx = path.join(root, 'node_modules', 'tsx', 'dist', 'loader.mjs');
  const known: Readonly<Record<string, readonly string[]>> = {
    etcdkit: [process.execPath, '--import', `file://${tsx}`, path.join(root, source)],
    node: [process.execPath],
    '/usr/local/bin/etcd': [etcd],
    '/usr/local/bin/etcdctl': [etcdctl],
  };
  return (word) => {
    const found = known[word];
    if (found === undefined) throw new Error(`no such program in the images: ${word}`);
    return found;
  };
}

/** What takes the place of hosts, ports and folders in the texts of a service. */
function rewriter(services: readonly Service[], folder: TempFolder): (service: Service, text: string) => string {
  const addresses = new Map(services.map(({ name }) => [name, loopbackAddress()]));
  const addressOf = ({ name }: Service): string => addresses.get(name) ?? '';
  const published = new Map(
    services.flatMap((service) =>
      service.ports.map(({ host, containerPort }) => [host, `${addressOf(service)}:${containerPort}`] as const),
    ),
  );
  const hosts = new Map(services.flatMap((service) => service.hostnames.map((name) => [name, addressOf(service)])));
  return (service, text) => {
    let result = text.replaceAll(/127\.0\.0\.1:\d+/g, (host) => published.get(host) ?? host);
    result = result.replaceAll(/\b(?:0\.0\.0\.0|localhost)\b/g, addressOf(service));
    result = result.replaceAll(/\b([a-z]\w*)(?=:\d)/g, (name) => hosts.get(name) ?? name);
    for (const { source, target } of service.mounts) {
      const here = source.startsWith('.') ? path.join(root, source) : folder.file(source);
      if (result === target || result.startsWith(`${target}/`)) result = here + result.slice(target.length);
    }
    return result;
  };
}

/** One of many: two runs at the same time hardly draw the same. */
function loopbackAddress(): string {
  return `127.${randomInt(64, 255)}.${randomInt(0, 255)}.${randomInt(1, 255)}`;
}

class Process implements Container {
  readonly service: Service;
  readonly endpoint: string;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #commandOf: (words: readonly string[]) => string[];
  /** What runs here: the service, or another one in its place. */
  #runs: Service;
  #child: ChildProcess | undefined;
  #log = '';

  constructor(service: Service, rewrite: (text: string) => string, programs: Programs) {
    this.service = service;
    this.#runs = service;
    this.#commandOf = ([program = '', ...args]) => [...programs(program), ...args.map(rewrite)];
    this.endpoint = rewrite(service.ports[0]?.host ?? '');
    const given = Object.entries(service.environment).map(([name, value]) => [name, rewrite(value)] as const);
    this.#environment = { PATH: process.env.PATH ?? '', ...unsupportedArchEnv, ...Object.fromEntries(given) };
    for (const { target } of service.mounts) mkdirSync(rewrite(target), { recursive: true, mode: 0o700 });
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  start(other?: Service | undefined): void {
    this.#runs = other ?? this.#runs;
    const [program = '', ...args] = this.#commandOf(this.#runs.command);
    const child = spawn(program, args, { env: this.#environment, stdio: ['ignore', 'pipe', 'pipe'] });
    tieProcess(child);
    for (const output of [child.stdout, child.stderr]) {
      output.on('data', (chunk: Buffer) => {
        this.#log = (this.#log + chunk.toString()).slice(-LOG_LIMIT);
      });
    }
    child.once('error', (error) => {
      this.#log += error.message;
    });
    this.#child = child;
  }

  async stop(): Promise<number | string> {
    const child = this.#child;
    if (child === undefined || !this.running) return child?.exitCode ?? child?.signalCode ?? 'not started';
    const timer = setTimeout(() => child.kill('SIGKILL'), this.service.stopGraceMs);
    const status = await new Promise<number | string>((resolve) => {
      child.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown'));
      child.kill('SIGTERM');
    });
    clearTimeout(timer);
    return status;
  }

  async healthy(): Promise<void> {
    const { healthcheck, name } = this.#runs;
    if (healthcheck === undefined) return;
    const startedAt = performance.now();
    for (let failures = 0; failures < healthcheck.retries; ) {
      if (!this.running) throw new Error(`${name} has ended:\n${this.#log}`);
      const failure = await this.#askHealth(healthcheck);
      if (failure === undefined) return;
      // While it starts, failures do not count.
      if (performance.now() - startedAt > healthcheck.start_period) failures += 1;
      // As the file says at the most: a test need not wait as long as that.
      await sleep(Math.min(healthcheck.interval, 200));
    }
    throw new Error(`${name} is not healthy:\n${this.#log}`);
  }

  /** Why it is not healthy. */
  #askHealth({ command, timeout }: Healthcheck): Promise<string | undefined> {
    const [program = '', ...args] = this.#commandOf(command);
    return new Promise((resolve) => {
      const settings = { env: this.#environment, timeout, killSignal: 'SIGKILL' as const };
      const child = execFile(program, args, settings, (error, _stdout, stderr) => {
        resolve(error === null ? undefined : stderr || error.message);
      });
      tieProcess(child);
    });
  }
}

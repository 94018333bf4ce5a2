/**
 * The processes of the services: started, drained by SIGTERM as an orchestrator does, killed. They end with this one.
 *
 * @module
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

/** See the head of this file. Instances are called `stock-1`, `stock-2`, … */
export class Fleet implements AsyncDisposable {
  readonly #endpoints: readonly string[];
  readonly #processes = new Map<string, ChildProcess>();
  readonly #counts = new Map<string, number>();

  constructor(endpoints: readonly string[]) {
    this.#endpoints = endpoints;
  }

  /** The instances of a service, oldest first. */
  running(service: string): string[] {
    return [...this.#processes.keys()].filter((id) => id.startsWith(`${service}-`));
  }

  /** Resolves with the new instance's id when it is registered. */
  async start(service: string): Promise<string> {
    const count = (this.#counts.get(service) ?? 0) + 1;
    this.#counts.set(service, count);
    const id = `${service}-${count}`;
    const env = { ...process.env, ETCD_ENDPOINTS: this.#endpoints.join(','), INSTANCE: id };
    const child = fork(path.join(import.meta.dirname, `${service}.ts`), { env });
    this.#processes.set(id, child);
    // An instance that cannot start says why on its standard error, and ends.
    const [first] = (await Promise.race([once(child, 'message'), once(child, 'exit')])) as unknown[];
    if (first !== 'registered') throw new Error(`${id} has not started`);
    return id;
  }

  /** Ends an instance in good order, and waits until it has. */
  drain(id: string): Promise<void> {
    return this.#end(id, 'SIGTERM');
  }

  /** Ends an instance without a word. */
  kill(id: string): Promise<void> {
    return this.#end(id, 'SIGKILL');
  }

  async #end(id: string, signal: NodeJS.Signals): Promise<void> {
    const child = this.#processes.get(id);
    this.#processes.delete(id);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#processes.keys()].map((id) => this.kill(id)));
  }
}

/** Channels and a registry on a bundled server: instances come, drain and die under load. */
import * as grpc from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { type Registration, ServiceRegistry } from '../../recipes/index.ts';
import { registerEtcdResolver } from '../../src/grpc/index.ts';
import { startEtcd } from '../../src/testing/index.ts';
import { Greeter, GreeterClient } from './greeter.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** Asks without a pause until it is ended, and keeps who has answered and what failed. */
class Load {
  readonly answers: string[] = [];
  readonly failures: unknown[] = [];
  #over = false;
  readonly #asking: Promise<void>;

  constructor(ask: () => Promise<string>) {
    this.#asking = this.#ask(ask);
  }

  async #ask(ask: () => Promise<string>): Promise<void> {
    while (!this.#over)
      await ask().then(
        (answer) => this.answers.push(answer),
        (error) => this.failures.push(error),
      );
  }

  /** Resolves when this one has answered from now on. */
  async answered(by: string): Promise<void> {
    const from = this.answers.length;
    while (!this.answers.includes(by, from)) await new Promise((resolve) => setImmediate(resolve));
  }

  async end(): Promise<void> {
    this.#over = true;
    await this.#asking;
  }
}

describe('a channel over a registry', () => {
  it('follows instances that come and drain without a call lost, and lives on while etcd is away', async () => {
    const server = await startEtcd();
    const etcd = server.client();
    closing.push(() => server.close());
    const registry = new ServiceRegistry(etcd);
    const registration = registerEtcdResolver(grpc, registry);
    closing.push(() => registration[Symbol.dispose]());
    const started: Greeter[] = [];
    closing.push(() => started.forEach((greeter) => void greeter.kill()));
    const start = async (id: string): Promise<Registration> => {
      const greeter = await Greeter.start(id);
      started.push(greeter);
      return registry.register({ name: 'orders', id, address: '127.0.0.1', port: greeter.port, protocol: 'grpc' });
    };
    const a = await start('a');
    const orders = new GreeterClient('etcd:///orders');
    closing.push(() => orders.close());
    const load = new Load(() => orders.greet());
    closing.push(() => load.end());
    await load.answered('a');
    await start('b');
    await load.answered('b');
    await a.drain({ propagationMs: 50, inFlight: () => started[0]?.kill() });
    await load.answered('b');
    await load.answered('b');
    expect(load.failures).toEqual([]);
    const from = load.answers.length;
    await server.members[0]?.kill();
    await load.answered('b');
    await load.answered('b');
    expect(load.failures).toEqual([]);
    expect(load.answers.slice(from)).not.toContain('a');
  });

  it('refuses a call that would be one too many, also one that is ready to wait, and takes the next', async () => {
    const server = await startEtcd();
    closing.push(() => server.close());
    const registry = new ServiceRegistry(server.client());
    const registration = registerEtcdResolver(grpc, (name) => registry.follow(name, { maxInFlight: 1 }));
    closing.push(() => registration[Symbol.dispose]());
    const greeter = await Greeter.start('a');
    closing.push(() => greeter.kill());
    await registry.register({ name: 'orders', id: 'a', address: '127.0.0.1', port: greeter.port });
    const orders = new GreeterClient('etcd:///orders');
    closing.push(() => orders.close());
    greeter.hold();
    const called = greeter.called();
    const first = orders.greet();
    await called;
    await expect(orders.greet({ waitForReady: true })).rejects.toMatchObject({
      code: grpc.status.UNAVAILABLE,
      details: expect.stringContaining('as many requests under way as they may'),
    });
    greeter.letGo();
    expect(await first).toBe('a');
    expect(await orders.greet()).toBe('a');
    expect(greeter.calls).toBe(2);
  });
});

/** A dispatcher over a registry on a bundled server: instances come, drain and are killed under load. */
import { fetch } from 'undici';
import { afterEach, expect, it } from 'vitest';
import { type Registration, ServiceRegistry } from '../../recipes/index.ts';
import { startEtcd } from '../../src/testing/index.ts';
import { serviceDispatcher } from '../../src/undici/index.ts';
import { Shop } from './shop.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

it('loses no request while instances come, drain and are killed', async () => {
  const server = await startEtcd();
  closing.push(() => server.close());
  const registry = new ServiceRegistry(server.client());
  const started = new Map<string, Shop>();
  closing.push(() => Promise.all([...started.values()].map((shop) => shop.kill())));
  const start = async (id: string): Promise<Registration> => {
    const shop = await Shop.start(id);
    started.set(id, shop);
    return registry.register({ name: 'orders', id, address: '127.0.0.1', port: shop.port, protocol: 'http' });
  };
  const a = await start('a');
  const dispatcher = serviceDispatcher(registry);
  closing.push(() => dispatcher.close());

  const answers: string[] = [];
  const failures: unknown[] = [];
  let over = false;
  /** How many requests of each of the three have ended. */
  const ended = [0, 0, 0];
  const ask = async (who: number): Promise<void> => {
    for (; !over; ended[who]! += 1) {
      // Orders of two kinds: one that may be repeated, and one that may not.
      const method = answers.length % 2 === 0 ? 'GET' : 'POST';
      try {
        const answer = await fetch('http://orders/', { dispatcher, method });
        answers.push(`${answer.status} ${await answer.text()}`);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  const asking = Promise.all(ended.map((_, who) => ask(who)));
  closing.push(() => {
    over = true;
    return asking;
  });
  const answered = async (by: string): Promise<void> => {
    const from = answers.length;
    while (!answers.includes(`200 ${by}`, from)) await new Promise((resolve) => setImmediate(resolve));
  };
  /** Resolves when each has sent a request since, and knows what came of it. */
  const askedAnew = async (): Promise<void> => {
    const from = [...ended];
    while (ended.some((count, who) => count < from[who]! + 2)) await new Promise((resolve) => setImmediate(resolve));
  };
  await answered('a');
  await start('b');
  await start('c');
  await answered('b');
  await answered('c');
  await a.drain({ propagationMs: 50 });
  await started.get('a')?.kill();
  await answered('b');
  expect(failures).toEqual([]);
  const mayFail = answers.length;
  // Nobody is told of this one. What was on its way there and may not be repeated is lost, and nothing after it.
  await started.get('c')?.kill();
  // Until its connections are seen to be broken, requests are still sent there.
  await askedAnew();
  await answered('b');
  const lost = failures.length;
  expect(lost).toBeLessThanOrEqual(3);
  const from = answers.length;
  while (answers.length < from + 50) await new Promise((resolve) => setImmediate(resolve));
  expect(failures).toHaveLength(lost);
  expect(answers.slice(mayFail + 3)).not.toContain('200 a');
  expect(answers.every((answer) => answer.startsWith('200'))).toBe(true);
});

/**
 * Instances of a service that come and go, and requests that find those that are there.
 *
 *   node --import tsx examples/services.ts
 *
 * @module
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { NoInstanceError, type Registration, ServiceRegistry } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

await using etcd = await connect();
const registry = new ServiceRegistry(etcd);

/** An instance that serves and is registered; usually a process of its own. */
async function start(id: string): Promise<{ readonly server: Server; readonly registration: Registration }> {
  const server = createServer((_request, response) => response.end(id));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { server, registration: await registry.register({ name: 'orders', id, address: '127.0.0.1', port }) };
}

const one = await start('one');
const two = await start('two');
await using orders = await registry.discover('orders', { balance: 'round-robin' });

/** Sends a request to whoever is chosen, and says what came of it. */
async function ask(): Promise<string> {
  using picked = orders.pick();
  const answer = await fetch(`http://${picked.authority}/`, { headers: { connection: 'close' } });
  picked.done(answer.ok ? 'success' : 'failure');
  return await answer.text();
}

const answers = [await ask(), await ask(), await ask(), await ask()];
console.log(`four requests, by turns: ${answers.sort().join(' ')}`);

// Said first, and gone only when the news had time to spread and nothing is in flight.
const { server, registration } = one;
await registration.drain({ propagationMs: 100, inFlight: () => new Promise((resolve) => server.close(resolve)) });
console.log(`one is drained; two requests: ${await ask()} ${await ask()}`);

two.server.close();
await two.registration.drain({ propagationMs: 100 });
try {
  orders.pick();
} catch (error) {
  if (!(error instanceof NoInstanceError)) throw error;
  console.log(`nobody is left: ${error.code}`);
}

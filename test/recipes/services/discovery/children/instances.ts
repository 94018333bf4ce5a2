/**
 * A process with instances of many services: registers them all, says so, and then does as it is told, line by line:
 * `news` updates one instance of each service with the time of day, `deploy` replaces one of each by a new one, properly
 * drained. Says `done` after each. Ends with its input.
 */
import { createInterface } from 'node:readline';
import type { Registration } from '../../../../../recipes/services/registration/registration.ts';
import { ServiceRegistry } from '../../../../../recipes/services/service-registry.ts';
import { Etcd } from '../../../../../src/index.ts';

const [endpoint = '', label = '', services = '', count = '', ttlSeconds = ''] = process.argv.slice(2);
const etcd = new Etcd({ endpoints: [endpoint], timeoutMs: 30_000 });
const registry = new ServiceRegistry(etcd);
const instances = new Map<string, Registration[]>();
let made = 0;

async function begin(service: string): Promise<void> {
  made += 1;
  const spec = {
    name: service,
    id: `${label}-${made}`,
    address: '127.0.0.1',
    port: made,
    metadata: { process: label },
  };
  const registration = await registry.register(spec, { ttlSeconds: Number(ttlSeconds) });
  instances.get(service)?.push(registration);
}

const names = Array.from({ length: Number(services) }, (_, index) => `service-${index}`);
for (const name of names) {
  instances.set(name, []);
  await Promise.all(Array.from({ length: Number(count) }, () => begin(name)));
}
console.log('done');

const commands: Record<string, (name: string) => Promise<void>> = {
  async news(name) {
    // What the parent compares with is the same machine's clock.
    await instances.get(name)?.[0]?.update(() => ({ metadata: { process: label, at: String(Date.now()) } }));
  },
  async deploy(name) {
    await begin(name);
    await instances.get(name)?.shift()?.drain({ propagationMs: 500 });
  },
};
for await (const line of createInterface({ input: process.stdin })) {
  const command = commands[line];
  if (command === undefined) throw new Error(`no such command: ${line}`);
  // One after the other for the news, or the latency would be that of a queue.
  if (line === 'news') for (const name of names) await command(name);
  else await Promise.all(names.map(command));
  console.log('done');
}
process.exit(0);

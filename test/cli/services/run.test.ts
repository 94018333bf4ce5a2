/** `etcdkit services`, on a server in this process. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { ServiceRegistry } from '../../../recipes/services/service-registry.ts';
import { runServices } from '../../../src/cli/services/run.ts';
import { startEtcd } from '../../../src/testing/index.ts';
import { Captured } from '../captured.ts';

async function bed() {
  const server = await startEtcd();
  onTestFinished(() => server.close());
  const etcd = server.client();
  const environment = { ETCDCTL_ENDPOINTS: server.endpoints.join(',') };
  const services = (...args: readonly string[]) => Captured.run((out) => runServices({ args, environment, ...out }));
  const registry = new ServiceRegistry(etcd);
  const orders = { name: 'orders', id: 'a', address: '10.0.0.7', port: 8080, zone: 'z1', tags: ['blue'] };
  const registered = await registry.register(orders);
  onTestFinished(() => registered.deregister());
  return { etcd, environment, services, registry, registered };
}

describe('etcdkit services', () => {
  it('lists instances, and says which entries are none', async () => {
    const { services, etcd } = await bed();
    await etcd.put('services/users/x', '{"address":"::1","port":1}');
    await etcd.put('services/users/y', 's3cret');
    const { status, stdout, stderr } = await services('list');
    expect(status).toBe(0);
    const lines = stdout.split('\n').map((line) => line.split(/ {2,}/));
    expect(lines[1]?.slice(0, 4)).toEqual(['orders', 'a', '10.0.0.7:8080', 'up']);
    expect(lines[2]?.slice(0, 3)).toEqual(['users', 'x', '[::1]:1']);
    expect(stderr).toMatch(/^services\/users\/y: /);
    expect(stderr).not.toContain('s3cret');
    expect((await services('list', 'users')).stdout).not.toContain('orders');
    expect(JSON.parse((await services('list', 'orders', '--json')).stdout)).toMatchObject([
      { id: 'a', tags: ['blue'] },
    ]);
  });

  it('watches them come and go', async () => {
    const { environment, registry } = await bed();
    const over = new AbortController();
    const [stdout, stderr] = [new Captured(), new Captured()];
    const watching = runServices({ args: ['watch'], environment, stdout, stderr, signal: over.signal });
    await stdout.until('added    orders/a  10.0.0.7:8080  up\n');
    const users = await registry.register({ name: 'users', id: 'b', address: '10.0.0.8', port: 80 });
    await stdout.until('added    users/b  10.0.0.8:80  up\n');
    await users.deregister();
    await stdout.until('removed  users/b  10.0.0.8:80  gone\n');
    over.abort();
    expect(await watching).toBe(0);
  });

  it.each([
    [[], 'list or watch is missing'],
    [['nope'], 'unknown command'],
    [['list', '--layout', 'x'], '--layout'],
    [['list', '--layout', 'go'], 'NAME or --prefix'],
  ])('has a usage for %j', async (args, message) => {
    const { status, stderr } = await Captured.run((out) => runServices({ args, environment: {}, ...out }));
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });
});

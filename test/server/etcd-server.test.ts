import { describe, expect, it } from 'vitest';
import { Etcd } from '../../src/index.ts';
import { EtcdServer } from '../../src/server/index.ts';
import { TempFolder } from '../support/lifeline.ts';

/** What could keep the process alive, by kind. Timers of the test runner come and go. */
function resources(): string[] {
  const lasting = ['TCPServerWrap', 'TCPSocketWrap', 'PipeServerWrap', 'Worker', 'MessagePort', 'Timeout'];
  return process
    .getActiveResourcesInfo()
    .filter((kind) => lasting.includes(kind))
    .sort();
}

/** What is there of more than before. */
function added(before: readonly string[]): string[] {
  const old = [...before];
  return resources().filter((kind) => {
    const at = old.indexOf(kind);
    if (at >= 0) old.splice(at, 1);
    return at < 0;
  });
}

/** Waits until everything that is being closed is. */
async function expectOnly(before: readonly string[]): Promise<void> {
  for (let turn = 0; turn < 1_000 && added(before).length > 0; turn++)
    await new Promise((resolve) => setImmediate(resolve));
  expect(added(before)).toEqual([]);
}

describe('a server in this process', () => {
  it('serves from memory on a port of its own', async () => {
    await using server = await EtcdServer.start();
    expect(server.endpoint).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(server.clientUrl).toBe(`http://${server.endpoint}`);
    await using etcd = new Etcd({ endpoints: server.endpoint });
    await etcd.put('greeting', 'hello');
    expect((await etcd.get('greeting'))?.value).toBe('hello');
    const { members } = await etcd.cluster.members();
    expect(members).toMatchObject([{ name: 'default', clientUrls: [server.clientUrl] }]);
  });

  it('shares nothing with another one', async () => {
    await using one = await EtcdServer.start({ name: 'one' });
    await using two = await EtcdServer.start({ name: 'two' });
    await using first = new Etcd({ endpoints: one.endpoint });
    await using second = new Etcd({ endpoints: two.endpoint });
    await first.put('a', '1');
    expect(await second.get('a')).toBeUndefined();
  });

  it('keeps what it has in a folder', async () => {
    await using folder = new TempFolder('etcdkit-server');
    for (const life of ['1', '2', '3']) {
      await using server = await EtcdServer.start({ dataDir: folder.file('data') });
      await using etcd = new Etcd({ endpoints: server.endpoint });
      expect((await etcd.get('life'))?.value).toBe(life === '1' ? undefined : String(Number(life) - 1));
      await etcd.put('life', life);
    }
  });

  it('leaves nothing behind, however often', async () => {
    const before = resources();
    for (let round = 0; round < 20; round++) {
      const server = await EtcdServer.start();
      const etcd = new Etcd({ endpoints: server.endpoint });
      await etcd.put('a', '1');
      await etcd.close();
      await server.stop();
      // Twice does no harm.
      await server.stop();
    }
    await expectOnly(before);
  });

  it('ends while clients hold streams', async () => {
    const server = await EtcdServer.start();
    await using etcd = new Etcd({ endpoints: server.endpoint });
    const end = new AbortController();
    const { revision } = await etcd.put('a', '1');
    // From the past: it may be opened after the write.
    const watch = etcd.watch('a', { from: revision, signal: end.signal })[Symbol.asyncIterator]();
    await watch.next();
    await server.stop();
    end.abort();
    expect(await etcd.get('a', { timeoutMs: 200 }).catch((error: Error) => error)).toBeInstanceOf(Error);
  });

  it('says that its port is taken, and leaves nothing running', async () => {
    await using server = await EtcdServer.start();
    const port = Number(server.endpoint.split(':')[1]);
    const before = resources();
    await expect(EtcdServer.start({ port })).rejects.toThrow('address already in use');
    await expectOnly(before);
  });
});

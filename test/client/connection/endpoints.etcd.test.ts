/** Which endpoints a client uses, and how they change while it runs. */
import { promises as dns } from 'node:dns';
import { once } from 'node:events';
import net from 'node:net';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, UnavailableError } from '../../../src/client/errors.ts';
import { Etcd } from '../../../src/client/etcd.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import { describeOnRealEtcd, versions } from '../../support/fixtures.ts';
import { GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { freePorts } from '../../support/ports.ts';
import { DnsServer } from './dns-server.ts';

const RANGE = '/etcdserverpb.KV/Range';

/** Carries connections from one listener to a `host:port`. */
async function pipe(listenOn: net.ListenOptions, target: string): Promise<AsyncDisposable> {
  const { hostname, port } = new URL(`tcp://${target}`);
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    const upstream = net.connect(Number(port), hostname);
    for (const end of [socket, upstream]) {
      sockets.add(end);
      end.on('error', () => {});
      end.once('close', () => {
        sockets.delete(end);
        socket.destroy();
        upstream.destroy();
      });
    }
    socket.pipe(upstream).pipe(socket);
  });
  server.listen(listenOn);
  await once(server, 'listening');
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

const names = (etcd: Etcd): string[] => etcd.endpoints.map(({ endpoint }) => endpoint);

describeOnRealEtcd('the endpoints of a client', (suite) => {
  const address = (): string => suite.cluster.members[0]!.address;

  it('may be a unix socket', async () => {
    await using folder = new TempFolder('unix');
    const path = folder.file('etcd.sock');
    await using _socket = await pipe({ path }, address());
    for (const endpoint of [`unix:${path}`, `unix://${path}`]) {
      await using etcd = new Etcd({ endpoints: endpoint });
      const key = suite.prefix();
      await etcd.put(key, 'v');
      expect((await etcd.get(key))?.value).toBe('v');
      expect(names(etcd)).toEqual([`unix:${path}`]);
    }
    await using nobody = new Etcd({ endpoints: `unix:${folder.file('none.sock')}`, timeoutMs: 300 });
    await expect(nobody.get('k')).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('ENOENT'),
    });
  });

  it('may be an IPv6 address', async () => {
    const [port = 0] = await freePorts(1);
    await using _socket = await pipe({ port, host: '::1' }, address());
    await using etcd = new Etcd({ endpoints: `http://[::1]:${port}` });
    await etcd.put(suite.prefix(), 'v');
    expect(names(etcd)).toEqual([`[::1]:${port}`]);
  });

  it('may be a host name', async () => {
    await using etcd = new Etcd({ endpoints: `localhost:${address().split(':')[1]}` });
    await etcd.put(suite.prefix(), 'v');
  });

  it('can be replaced while it runs', async () => {
    await using first = await GrpcFaultProxy.start({ target: address() });
    await using second = await GrpcFaultProxy.start({ target: address() });
    await using third = await GrpcFaultProxy.start({ target: address() });
    await using etcd = new Etcd({ endpoints: [first.address, second.address] });
    for (let i = 0; i < 4; i++) await etcd.get('k');
    etcd.setEndpoints([second.address, third.address]);
    const before = first.count(RANGE);
    for (let i = 0; i < 10; i++) await etcd.get('k');
    expect(first.count(RANGE)).toBe(before);
    expect(second.connections.opened).toBe(1);
    expect(third.count(RANGE)).toBeGreaterThan(2);
    await expect.poll(() => first.connections.open).toBe(0);
    expect(() => etcd.setEndpoints([])).toThrow(InvalidArgumentError);
    expect(() => etcd.setEndpoints(['ftp://x'])).toThrow(InvalidArgumentError);
    expect(names(etcd)).toEqual([second.address, third.address]);
  });

  it('can be aimed at, also one that is not in the list', async () => {
    await using proxy = await GrpcFaultProxy.start({ target: address() });
    await using etcd = new Etcd({ endpoints: address() });
    for (let i = 0; i < 3; i++) await etcd.get('k', { endpoint: proxy.address });
    expect(proxy.count(RANGE)).toBe(3);
    expect(names(etcd)).toEqual([address()]);
    await expect(etcd.get('k', { endpoint: '127.0.0.1:1', timeoutMs: 300 })).rejects.toMatchObject({
      code: 'unavailable',
      endpoint: '127.0.0.1:1',
    });
  });

  it('of another cluster are refused', async () => {
    await using other = await EtcdCluster.start({ version: suite.version });
    await using etcd = new Etcd({ endpoints: address() });
    await etcd.get('k');
    etcd.setEndpoints([other.endpoints[0]!]);
    const error = await etcd.get('k').catch((cause: unknown) => cause);
    expect(error).toMatchObject({ name: 'ClusterMismatchError', code: 'cluster-mismatch', applied: 'no' });
  });

  it('come from DNS, the heaviest of the first first', async () => {
    const port = Number(address().split(':')[1]);
    const record = { target: 'localhost', port, priority: 1, weight: 1 };
    await using server = await DnsServer.start({
      '_etcd-client._tcp.plain.test': [
        { ...record, target: 'b.test', priority: 2 },
        { ...record, target: 'a.test', weight: 5 },
        record,
      ],
      '_etcd-client._tcp.both.test': [record],
      '_etcd-client-ssl._tcp.both.test': [{ ...record, target: 'secure.test' }],
      '_etcd-client-blue._tcp.plain.test': [record],
    });
    const resolver = new dns.Resolver();
    resolver.setServers([server.address]);
    const resolveSrv = (name: string) => resolver.resolveSrv(name);
    await using plain = await Etcd.discover('plain.test', { resolveSrv });
    expect(names(plain)).toEqual([`a.test:${port}`, `localhost:${port}`, `b.test:${port}`]);
    await using both = await Etcd.discover('both.test', { resolveSrv });
    // Clear text is no fallback next to TLS.
    expect(names(both)).toEqual([`secure.test:${port}`]);
    await using blue = await Etcd.discover('plain.test', { resolveSrv, serviceName: 'blue' });
    await blue.put(suite.prefix(), 'v');
    await expect(Etcd.discover('none.test', { resolveSrv })).rejects.toBeInstanceOf(UnavailableError);
    expect(server.questions).toContain('_etcd-client-ssl._tcp.plain.test');
  });
});

describe('following the member list', () => {
  describeOnRealEtcd(
    'of three members',
    (suite) => {
      it('adopts what can be reached, and keeps the seeds', async () => {
        await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
        await using etcd = new Etcd({ endpoints: proxy.address });
        await etcd.sync();
        const advertised = suite.cluster.members.map((member) => member.address);
        expect(names(etcd)[0]).toBe(proxy.address);
        expect(names(etcd).slice(1).toSorted()).toEqual(advertised.toSorted());
        const connections = proxy.connections.opened;
        await etcd.sync();
        expect(proxy.connections.opened).toBe(connections);
      });

      it('does not adopt what cannot be reached or belongs to another cluster', async () => {
        await using other = await EtcdCluster.start({ version: suite.version });
        const [first, second, third] = suite.cluster.members;
        const seen: string[] = [];
        await using etcd = new Etcd({
          endpoints: first!.address,
          connectTimeoutMs: 500,
          autoSync: {
            mapAddress: (url) => {
              seen.push(url);
              if (url === second!.clientUrl) return 'http://127.0.0.1:1';
              if (url === third!.clientUrl) return other.endpoints[0];
              return url;
            },
          },
        });
        await etcd.sync();
        expect(seen.toSorted()).toEqual(suite.cluster.endpoints.toSorted());
        expect(names(etcd)).toEqual([first!.address]);
      });

      it('leaves out what the mapping leaves out, and what is no address', async () => {
        const [first, second] = suite.cluster.members;
        await using etcd = new Etcd({
          endpoints: first!.address,
          autoSync: { mapAddress: (url) => (url === second!.clientUrl ? 'mailto:nobody' : undefined) },
        });
        await etcd.sync();
        expect(names(etcd)).toEqual([first!.address]);
      });
    },
    { members: 3, versions: ['3.5'] },
  );

  describeOnRealEtcd(
    'of members that advertise TLS',
    (suite) => {
      it('never falls back to clear text', async () => {
        const { ca } = suite.cluster.tls!;
        await using etcd = new Etcd({
          endpoints: suite.cluster.endpoints,
          tls: { ca },
          autoSync: { mapAddress: (url) => url.replace('https:', 'http:') },
        });
        await etcd.sync();
        expect(names(etcd)).toEqual([suite.cluster.members[0]!.address]);
      });

      it('may be mixed with endpoints in clear text, each by its scheme', async () => {
        const { ca } = suite.cluster.tls!;
        const secure = suite.cluster.members[0]!.address;
        await using plain = await EtcdCluster.start({ version: suite.version });
        // Two clusters, so that each kind of endpoint must say which it is.
        await using etcd = new Etcd({ endpoints: [`https://${secure}`], tls: { ca } });
        await etcd.put('k', 'secure');
        await using mixed = new Etcd({ endpoints: [plain.endpoints[0]!], tls: { ca } });
        await mixed.put('k', 'plain');
        expect((await etcd.get('k'))?.value).toBe('secure');
        await using folder = new TempFolder('unixs');
        const path = folder.file('tls.sock');
        await using _socket = await pipe({ path }, secure);
        await using both = new Etcd({ endpoints: [`https://${secure}`, `unixs:${path}`], tls: { ca } });
        for (let i = 0; i < 6; i++) expect((await both.get('k'))?.value).toBe('secure');
        await expect.poll(() => both.endpoints.map(({ state }) => state)).toEqual(['ready', 'ready']);
      });
    },
    { tls: 'server', versions: ['3.5'] },
  );

  describeOnRealEtcd(
    'with a learner',
    (suite) => {
      it('leaves it out, but serves serializable reads from it when it is named', async () => {
        const [clientPort = 0, peerPort = 0] = await freePorts(2);
        const clientUrl = `http://127.0.0.1:${clientPort}`;
        const peerUrl = `http://127.0.0.1:${peerPort}`;
        await suite.cluster.etcdctl(['member', 'add', 'learner', '--learner', `--peer-urls=${peerUrl}`]);
        await using folder = new TempFolder('learner');
        const { EtcdMember } = await import('../../support/etcd-member.ts');
        const first = suite.cluster.members[0]!;
        const learner = new EtcdMember({
          name: 'learner',
          binary: suite.cluster.binaries.etcd,
          args: [
            '--name=learner',
            `--data-dir=${folder.file('data')}`,
            `--listen-client-urls=${clientUrl}`,
            `--advertise-client-urls=${clientUrl}`,
            `--listen-peer-urls=${peerUrl}`,
            `--initial-advertise-peer-urls=${peerUrl}`,
            `--initial-cluster=m1=${first.peerUrl},learner=${peerUrl}`,
            '--initial-cluster-state=existing',
            '--unsafe-no-fsync',
            '--heartbeat-interval=20',
            '--election-timeout=200',
          ],
          env: process.env,
          clientUrl,
          peerUrl,
          dataDir: folder.file('data'),
        });
        try {
          await learner.spawn();
          await using front = await GrpcFaultProxy.start({ target: learner.address });
          await using etcd = new Etcd({ endpoints: [first.address, front.address] });
          const key = suite.prefix();
          await expect
            .poll(() => etcd.put(key, 'v').then(() => etcd.endpoints.map(({ isLearner }) => isLearner)), {
              timeout: 20_000,
            })
            .toEqual([false, true]);
          for (let i = 0; i < 10; i++) await etcd.put(key, 'v');
          for (let i = 0; i < 10; i++) await etcd.get(key);
          expect(front.count(RANGE)).toBe(0);
          await expect
            .poll(() => etcd.get(key, { serializable: true, endpoint: front.address }).then((kv) => kv?.value), {
              timeout: 10_000,
            })
            .toBe('v');
          const before = front.count(RANGE);
          for (let i = 0; i < 10; i++) await etcd.get(key, { serializable: true });
          expect(front.count(RANGE) - before).toBe(5);
          await using synced = new Etcd({ endpoints: first.address });
          await synced.sync();
          expect(names(synced)).toEqual([first.address]);
        } finally {
          await learner.kill();
        }
      });
    },
    { versions: [versions[1]] },
  );
});

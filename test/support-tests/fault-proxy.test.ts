import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FaultProxy } from '../support/fault-proxy.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';

/** A connection that remembers what came and how it ended. */
class Probe {
  readonly socket: net.Socket;
  readonly chunks: Buffer[] = [];
  end: string | undefined;

  constructor(port: number) {
    this.socket = net.connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    this.socket.on('data', (chunk) => this.chunks.push(chunk));
    this.socket.on('end', () => {
      this.end ??= 'FIN';
    });
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.end ??= error.code;
    });
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  async expectText(text: string): Promise<void> {
    await expect.poll(() => this.text, { interval: 5, timeout: 3_000 }).toBe(text);
  }

  async expectEnd(end: string): Promise<void> {
    await expect.poll(() => this.end, { interval: 5, timeout: 3_000 }).toBe(end);
  }
}

describe('FaultProxy before an echo server', () => {
  let echo: net.Server;
  let proxy: FaultProxy;
  const probes: Probe[] = [];
  const accepted: net.Socket[] = [];

  beforeAll(async () => {
    echo = net.createServer({ noDelay: true }, (socket) => {
      accepted.push(socket);
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
  });
  beforeEach(async () => {
    accepted.length = 0;
    proxy = await FaultProxy.start({ target: `127.0.0.1:${(echo.address() as net.AddressInfo).port}` });
  });
  afterEach(async () => {
    await proxy[Symbol.asyncDispose]();
    for (const probe of probes.splice(0)) probe.socket.destroy();
  });
  afterAll(() => {
    echo.close();
  });

  async function connect(): Promise<Probe> {
    const probe = new Probe(proxy.port);
    probes.push(probe);
    probe.socket.write('hi');
    await probe.expectText('hi');
    return probe;
  }

  it('carries bytes and half-closes, and counts', async () => {
    const probe = await connect();
    const large = Buffer.alloc(5_000_000, 'x');
    probe.socket.end(large);
    await probe.expectEnd('FIN');
    expect(Buffer.concat(probe.chunks).length).toBe(large.length + 2);
    await expect.poll(() => proxy.stats.open).toBe(0);
    expect(proxy.stats).toMatchObject({ opened: 1, bytesToServer: 5_000_002, bytesToClient: 5_000_002, swallowed: 0 });
  });

  it('cuts and resets, and takes new connections', async () => {
    const first = await connect();
    proxy.cut();
    await first.expectEnd('FIN');
    const second = await connect();
    proxy.reset();
    await second.expectEnd('ECONNRESET');
    await connect();
    expect(proxy.stats).toMatchObject({ opened: 3, open: 1 });
  });

  it('refuses new connections and keeps open ones, then accepts on the same port', async () => {
    const kept = await connect();
    const { port } = proxy;
    proxy.refuse();
    const refused = new Probe(port);
    await refused.expectEnd('ECONNREFUSED');
    kept.socket.write('!');
    await kept.expectText('hi!');
    await proxy.accept();
    expect(proxy.port).toBe(port);
    await connect();
  });

  it('is a black hole until healed, which resets what has gaps', async () => {
    const old = await connect();
    const idle = await connect();
    proxy.blackhole();
    const fresh = new Probe(proxy.port);
    probes.push(fresh);
    await once(fresh.socket, 'connect');
    fresh.socket.write('lost');
    old.socket.write('lost');
    await expect.poll(() => proxy.stats.swallowed).toBe(8);
    expect([old.text, fresh.text, fresh.end, old.end]).toEqual(['hi', '', undefined, undefined]);
    proxy.heal();
    await old.expectEnd('ECONNRESET');
    await fresh.expectEnd('ECONNRESET');
    idle.socket.write('!');
    await idle.expectText('hi!');
  });

  it('swallows one direction only, and the end of connections with it', async () => {
    const probe = await connect();
    proxy.blackhole('to-client');
    probe.socket.write('applied');
    await expect.poll(() => proxy.stats.bytesToServer).toBe(9);
    for (const socket of accepted) socket.destroy();
    await sleep(50);
    expect([probe.text, probe.end]).toEqual(['hi', undefined]);
    proxy.heal();
    await probe.expectEnd('ECONNRESET');
  });

  it('holds bytes without loss', async () => {
    const probe = await connect();
    proxy.pause('to-client');
    probe.socket.write('later');
    await expect.poll(() => proxy.stats.bytesToServer).toBe(7);
    await sleep(50);
    expect(probe.text).toBe('hi');
    proxy.resume();
    await probe.expectText('hilater');
  });

  it('delays each way without adding up', async () => {
    const probe = await connect();
    proxy.delay(60, 'to-server');
    proxy.delay(40, 'to-client');
    const start = performance.now();
    for (const piece of ['a', 'b', 'c']) {
      probe.socket.write(piece);
      await sleep(10);
    }
    await probe.expectText('hiabc');
    const elapsed = performance.now() - start;
    expect(elapsed).toBeGreaterThanOrEqual(115);
    expect(elapsed).toBeLessThan(300);
  });

  it('slices', async () => {
    const probe = await connect();
    proxy.slice(1, 'to-client');
    probe.socket.write('0123456789');
    await probe.expectText('hi0123456789');
    expect(probe.chunks.length).toBeGreaterThan(3);
  });

  it.each([0, 1, 2, 5])('cuts after byte %i to the client, once', async (bytes) => {
    const probe = await connect();
    const done = proxy.cutAfter(bytes, 'to-client');
    probe.socket.write('abcde');
    await done;
    await probe.expectEnd('FIN');
    expect(probe.text).toBe(`hi${'abcde'.slice(0, bytes)}`);
    await connect();
  });

  it('cuts after the n-th byte to the server, over several connections', async () => {
    const done = proxy.cutAfter(3, 'to-server', { reset: true });
    await connect();
    const second = new Probe(proxy.port);
    probes.push(second);
    second.socket.write('xyz');
    await done;
    await second.expectEnd('ECONNRESET');
    expect(proxy.stats.bytesToServer).toBe(3);
  });

  it('ends a connection whose server is not there', async () => {
    const gone = net.createServer().listen(0, '127.0.0.1');
    await once(gone, 'listening');
    proxy.retarget(`127.0.0.1:${(gone.address() as net.AddressInfo).port}`);
    await new Promise((resolve) => gone.close(resolve));
    const probe = new Probe(proxy.port);
    probe.socket.write('x');
    await expect.poll(() => probe.end).toMatch(/FIN|ECONNRESET/);
  });
});

describeOnRealEtcd('FaultProxy before etcd', (suite) => {
  it('carries etcdctl, and keeps a reply from it that etcd has given', async () => {
    await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]?.address ?? '' });
    const through = { endpoints: [`http://${proxy.address}`] };
    const key = `${suite.prefix()}a`;
    await suite.cluster.etcdctl(['put', key, '1'], through);
    proxy.slice(1);
    expect(await suite.cluster.etcdctl(['get', '--print-value-only', key], through)).toBe('1\n');
    proxy.slice(0);
    // The exchange ends with bytes that etcdctl does not wait for, so the cut moves back until it hits the reply.
    const before = proxy.stats.bytesToClient;
    await suite.cluster.etcdctl(['put', key, '2'], through);
    const whole = proxy.stats.bytesToClient - before;
    for (let back = 10; ; back += 10) {
      expect(back).toBeLessThan(whole);
      void proxy.cutAfter(whole - back, 'to-client');
      const put = suite.cluster.etcdctl(['put', key, `${back}`, '--command-timeout=1s'], through);
      const failed = await put.then(
        () => false,
        () => true,
      );
      expect(await suite.cluster.etcdctl(['get', '--print-value-only', key])).toBe(`${back}\n`);
      if (failed) break;
    }
  });
});

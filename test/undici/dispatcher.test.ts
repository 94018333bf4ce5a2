/** Requests to services, against real HTTP servers. */
import { Readable } from 'node:stream';
import { Agent, type Dispatcher, fetch, request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { NoInstanceError } from '../../recipes/services/errors.ts';
import { VirtualClock } from '../../src/testing/index.ts';
import { type ServiceDispatcherOptions, serviceDispatcher } from '../../src/undici/index.ts';
import { FakeService } from '../recipes/services/fake-service.ts';
import { Certificates } from '../support/certificates.ts';
import { hangUp, Shop, status } from './shop.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function shops(...ids: string[]): Promise<[Shop, Shop, Shop]> {
  const started = await Promise.all(ids.map((id) => Shop.start(id)));
  closing.push(() => Promise.all(started.map((shop) => shop.kill())));
  return started as [Shop, Shop, Shop];
}

function dispatcherOf(service: FakeService, options: ServiceDispatcherOptions = {}): Dispatcher {
  const dispatcher = serviceDispatcher(() => service, options);
  closing.push(() => dispatcher.destroy());
  return dispatcher;
}

async function ask(dispatcher: Dispatcher, options: Partial<Dispatcher.RequestOptions> = {}, url = 'http://orders/17') {
  const { statusCode, body } = await request(url, { dispatcher, ...options });
  return { statusCode, text: await body.text() };
}

async function tally(dispatcher: Dispatcher, requests: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let n = 0; n < requests; n += 1) {
    const { text } = await ask(dispatcher);
    counts[text] = (counts[text] ?? 0) + 1;
  }
  return counts;
}

describe('a request to http://orders/', () => {
  it('goes to an instance, and the discovery is told how it ended', async () => {
    const [a, b] = await shops('a', 'b');
    const service = new FakeService('orders', [a.instance, b.instance]);
    const dispatcher = dispatcherOf(service);
    expect(await tally(dispatcher, 10)).toEqual({ a: 5, b: 5 });
    expect(service.outcomes()).toEqual(Array(10).fill('success'));
    expect(a.seen[0]).toMatchObject({ method: 'GET', url: '/17', host: 'orders' });
    a.answer = status(500);
    b.answer = status(404);
    service.picks.length = 0;
    await tally(dispatcher, 2);
    expect([...service.outcomes('a'), ...service.outcomes('b')]).toEqual(['failure', 'success']);
  });

  it.each([
    ['of undici', fetch],
    ['of Node.js', globalThis.fetch as unknown as typeof fetch],
  ])('comes from the fetch %s', async (_name, anyFetch) => {
    const [a] = await shops('a');
    const service = new FakeService('orders', [a.instance]);
    const dispatcher = dispatcherOf(service);
    const answer = await anyFetch('http://orders/17?x=1', { dispatcher, method: 'POST', body: 'hello' });
    expect(await answer.text()).toBe('a');
    expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    expect(answer.url).toBe('http://orders/17?x=1');
    expect(a.seen).toEqual([{ method: 'POST', url: '/17?x=1', host: 'orders', body: 'hello' }]);
    expect(service.outcomes()).toEqual(['success']);
  });

  it.each([
    ['of undici', fetch],
    ['of Node.js', globalThis.fetch as unknown as typeof fetch],
  ])('can be aborted, with the fetch %s', async (_name, anyFetch) => {
    const [a] = await shops('a');
    const abort = new AbortController();
    a.answer = () => abort.abort(new Error('enough'));
    const service = new FakeService('orders', [a.instance]);
    const dispatcher = dispatcherOf(service);
    await expect(anyFetch('http://orders/', { dispatcher, signal: abort.signal })).rejects.toThrow('enough');
    expect(service.outcomes()).toEqual(['cancelled']);
  });

  it('can be aborted while the service is looked for', async () => {
    const service = new FakeService();
    const abort = new AbortController();
    const dispatcher = dispatcherOf(service);
    const asked = ask(dispatcher, { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(asked).rejects.toThrow('enough');
    const [a] = await shops('a');
    service.set(a.instance);
    expect(await ask(dispatcher)).toMatchObject({ text: 'a' });
    expect(a.seen).toHaveLength(1);
  });

  it('is under way until its answer is read', async () => {
    const [a] = await shops('a');
    a.answer = (_request, response) => response.write('first');
    const service = new FakeService('orders', [a.instance]);
    const dispatcher = dispatcherOf(service);
    const { body } = await request('http://orders/', { dispatcher });
    expect(service.underWay).toBe(1);
    body.destroy();
    await new Promise((resolve) => body.once('close', resolve));
    expect(service.outcomes()).toEqual(['cancelled']);
  });

  it('fails when nobody takes requests', async () => {
    const dispatcher = dispatcherOf(new FakeService('orders', []));
    await expect(ask(dispatcher)).rejects.toThrow(NoInstanceError);
    await expect(fetch('http://orders/', { dispatcher })).rejects.toMatchObject({ cause: expect.any(NoInstanceError) });
  });

  it('fails at once when all have as many requests under way as they may', async () => {
    const [a] = await shops('a');
    const service = new FakeService('orders', [a.instance]);
    const dispatcher = dispatcherOf(service);
    service.pick = () => {
      throw new NoInstanceError('orders', 'all-busy');
    };
    await expect(ask(dispatcher)).rejects.toMatchObject({ code: 'no-instance', reason: 'all-busy' });
    expect(a.seen).toEqual([]);
  });

  it('waits for the first list no longer than the limit', async () => {
    const clock = new VirtualClock();
    const service = new FakeService();
    const dispatcher = dispatcherOf(service, { clock, readyTimeoutMs: 1_000 });
    const asked = ask(dispatcher);
    asked.catch(() => {});
    await clock.advance(1_000);
    await expect(asked).rejects.toMatchObject({ code: 'unavailable' });
    const [a] = await shops('a');
    service.set(a.instance);
    expect(await ask(dispatcher)).toMatchObject({ text: 'a' });
  });

  it('begins a new discovery when the last one has failed', async () => {
    const [a] = await shops('a');
    const services = [new FakeService(), new FakeService('orders', [a.instance])];
    services[0]?.fail(new Error('no permission'));
    let asked = 0;
    const dispatcher = serviceDispatcher(() => services[asked++] as FakeService);
    closing.push(() => dispatcher.close());
    await expect(ask(dispatcher)).rejects.toThrow('no permission');
    expect(await ask(dispatcher)).toMatchObject({ text: 'a' });
  });

  it('carries the hash key, and goes to the port with the name', async () => {
    const [a] = await shops('a');
    const service = new FakeService('orders', [{ ...a.instance, port: 1, ports: { http: a.port } }]);
    const dispatcher = dispatcherOf(service, { hashHeader: 'X-User', portName: 'http' });
    expect(await ask(dispatcher, { headers: { 'x-user': 'ada' } })).toMatchObject({ text: 'a' });
    expect(service.picks[0]?.options.hashKey).toBe('ada');
  });
});

describe('hosts', () => {
  it('that are no services are left alone', async () => {
    const [a] = await shops('a');
    const service = new FakeService();
    const dispatcher = dispatcherOf(service);
    expect(await ask(dispatcher, {}, `http://127.0.0.1:${a.port}/`)).toMatchObject({ text: 'a' });
    expect(await ask(dispatcher, {}, `http://localhost:${a.port}/`)).toMatchObject({ text: 'a' });
    expect(a.seen[0]?.host).toBe(`127.0.0.1:${a.port}`);
    expect(service.picks).toEqual([]);
  });

  it('are services when they are listed, or a function says so', async () => {
    const [a] = await shops('a');
    const asked: string[] = [];
    const discover = (name: string) => {
      asked.push(name);
      return new FakeService(name, [a.instance]);
    };
    const listed = serviceDispatcher(discover, { services: ['Orders'] });
    const mapped = serviceDispatcher(discover, { services: (host) => /^(.*)\.shop$/.exec(host)?.[1] });
    closing.push(
      () => listed.close(),
      () => mapped.close(),
    );
    await ask(listed, {}, 'http://orders:8080/');
    await ask(mapped, {}, 'http://users.shop/');
    expect(asked).toEqual(['Orders', 'users']);
    expect(a.seen.map(({ host }) => host)).toEqual(['orders:8080', 'users.shop']);
  });

  it('keep the Host that the request has, and show the instance when asked to', async () => {
    const [a] = await shops('a');
    const service = new FakeService('orders', [a.instance]);
    await ask(dispatcherOf(service), { headers: ['Host', 'www'] });
    await ask(dispatcherOf(service), { headers: new Map([['x', 'y']]) });
    await ask(dispatcherOf(service, { hostHeader: 'instance' }));
    expect(a.seen.map(({ host }) => host)).toEqual(['www', 'orders', `127.0.0.1:${a.port}`]);
  });
});

describe('https', () => {
  it("wants a certificate for the service's name, whichever instance answers", async () => {
    await using certificates = await Certificates.create();
    const { key, cert } = await certificates.issue({ name: 'orders', hosts: ['orders'] });
    const ca = certificates.ca.cert;
    const shop = await Shop.start('a', { key, cert });
    closing.push(() => shop.kill());
    const service = new FakeService('orders', [shop.instance]);
    const inner = new Agent({ connect: { ca } });
    closing.push(() => inner.close());
    const https = 'https://orders/';
    expect(await ask(dispatcherOf(service, { dispatcher: inner }), {}, https)).toMatchObject({ text: 'a' });
    const other = new Agent({ connect: { ca } });
    closing.push(() => other.close());
    const byAddress = dispatcherOf(service, { dispatcher: other, hostHeader: 'instance' });
    await expect(ask(byAddress, {}, https)).rejects.toThrow(/altnames/);
  });
});

describe('a request that fails', () => {
  it('goes to another instance when it never left, whatever it is', async () => {
    const [dead, live] = await shops('dead', 'live');
    const gone = dead.instance;
    await dead.kill();
    const service = new FakeService('orders', [gone, live.instance]);
    const dispatcher = dispatcherOf(service, { retry: { retries: 0 } });
    for (let n = 0; n < 4; n += 1) {
      const body = n % 2 === 0 ? 'pay' : Readable.from(['pay']);
      expect(await ask(dispatcher, { method: 'POST', body })).toMatchObject({ text: 'live' });
      const answer = await fetch('http://orders/', { dispatcher, method: 'POST', body: 'pay' });
      expect(await answer.text()).toBe('live');
    }
    expect(live.seen.map(({ body }) => body)).toEqual(Array(8).fill('pay'));
    expect(service.outcomes('dead')).toContain('failure');
    expect(service.underWay).toBe(0);
  });

  it('fails in the end when none can be reached', async () => {
    const [a, b] = await shops('a', 'b');
    const service = new FakeService('orders', [a.instance, b.instance]);
    await Promise.all([a.kill(), b.kill()]);
    await expect(ask(dispatcherOf(service))).rejects.toThrow('ECONNREFUSED');
    expect(service.outcomes('a')).toEqual(['failure']);
    expect(service.outcomes('b').filter((outcome) => outcome === 'failure')).toHaveLength(1);
    expect(service.underWay).toBe(0);
  });

  it.each([502, 503, 504])('goes to another instance after a %i, when it may be done twice', async (code) => {
    const [bad, good] = await shops('bad', 'good');
    bad.answer = status(code);
    const service = new FakeService('orders', [bad.instance, good.instance]);
    const dispatcher = dispatcherOf(service);
    for (const method of ['GET', 'PUT', 'DELETE', 'GET'] as const) {
      expect(await ask(dispatcher, { method })).toEqual({ statusCode: 200, text: 'good' });
    }
    expect(bad.seen.length).toBeGreaterThan(0);
    expect(service.outcomes('bad')).toEqual(bad.seen.map(() => 'failure'));
    bad.seen.length = 0;
    const posts = [await ask(dispatcher, { method: 'POST' }), await ask(dispatcher, { method: 'POST' })];
    expect(posts.map(({ statusCode }) => statusCode).sort()).toEqual([200, code]);
  });

  it('goes to another instance when its connection breaks, and may be done twice', async () => {
    const [bad, good] = await shops('bad', 'good');
    bad.answer = hangUp;
    const service = new FakeService('orders', [bad.instance, good.instance]);
    const dispatcher = dispatcherOf(service);
    expect(await tally(dispatcher, 4)).toEqual({ good: 4 });
    const posts = await Promise.allSettled([1, 2].map(() => ask(dispatcher, { method: 'POST', body: 'pay' })));
    expect(posts.map((post) => post.status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(service.underWay).toBe(0);
  });

  it('is not sent again with a body that was begun', async () => {
    const [bad, good] = await shops('bad', 'good');
    bad.answer = status(503);
    const service = new FakeService('orders', [bad.instance, good.instance]);
    const dispatcher = dispatcherOf(service);
    const codes: number[] = [];
    for (let n = 0; n < 2; n += 1) {
      codes.push((await ask(dispatcher, { method: 'PUT', body: Readable.from(['once']) })).statusCode);
    }
    expect(codes.sort()).toEqual([200, 503]);
  });

  it('shows the last answer when nobody else is left to ask', async () => {
    const [a, b] = await shops('a', 'b');
    a.answer = status(503);
    b.answer = status(502);
    const service = new FakeService('orders', [a.instance, b.instance]);
    const { statusCode, text } = await ask(dispatcherOf(service));
    expect([502, 503]).toContain(statusCode);
    expect(text).toBe('busy');
    expect([...a.seen, ...b.seen]).toHaveLength(2);
    expect(service.underWay).toBe(0);
  });

  it('is not sent again once its answer has begun', async () => {
    const [a, b] = await shops('a', 'b');
    for (const shop of [a, b]) {
      shop.answer = ({ socket }, response) => {
        response.writeHead(200, { 'content-length': 10 });
        response.write('half', () => socket.destroy());
      };
    }
    const service = new FakeService('orders', [a.instance, b.instance]);
    await expect(ask(dispatcherOf(service))).rejects.toThrow();
    expect([...a.seen, ...b.seen]).toHaveLength(1);
    expect(service.outcomes()).toEqual(['failure']);
  });

  it('is sent again only as often, and while the budget lasts', async () => {
    const all = await Promise.all(['a', 'b', 'c', 'd'].map((id) => Shop.start(id)));
    closing.push(() => Promise.all(all.map((shop) => shop.kill())));
    for (const shop of all) shop.answer = status(503);
    const seen = (): number => all.reduce((sum, shop) => sum + shop.seen.length, 0);
    const service = new FakeService(
      'orders',
      all.map((shop) => shop.instance),
    );
    await ask(dispatcherOf(service, { retry: { retries: 2 } }));
    expect(seen()).toBe(3);
    const dispatcher = dispatcherOf(service, { retry: { retries: 2, budgetTokens: 8, budgetRatio: 1 } });
    for (let n = 0; n < 10; n += 1) await ask(dispatcher);
    // Eight tokens, of which half may go: three attempts of the first request, one of the second and then no more retries.
    expect(seen() - 3).toBe(3 + 1 + 8);
    for (const shop of all) shop.answer = undefined;
    for (let n = 0; n < 8; n += 1) await ask(dispatcher);
    const [first] = all;
    if (first) first.answer = status(503);
    expect((await tally(dispatcher, 4)).busy).toBeUndefined();
  });

  it('says what is wrong with it at once, without asking others', async () => {
    const [a, b] = await shops('a', 'b');
    const service = new FakeService('orders', [a.instance, b.instance]);
    await expect(ask(dispatcherOf(service), { headers: { 'bad header': 'x' } })).rejects.toThrow('invalid header');
    expect(service.picks).toHaveLength(1);
    expect(service.outcomes()).toEqual(['cancelled']);
  });
});

describe('a drained instance', () => {
  it('gets no new requests, and those under way end well', async () => {
    const [a, b] = await shops('a', 'b');
    let finish = (): void => {};
    a.answer = (_request, response) => {
      finish = () => void response.end('a');
    };
    const service = new FakeService('orders', [a.instance]);
    const dispatcher = dispatcherOf(service);
    const slow = ask(dispatcher);
    while (a.seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
    service.set(b.instance);
    expect(await tally(dispatcher, 5)).toEqual({ b: 5 });
    finish();
    expect(await slow).toMatchObject({ text: 'a' });
  });
});

describe('closing', () => {
  it('waits for requests under way, refuses others, and closes the discoveries', async () => {
    const [a] = await shops('a');
    let finish = (): void => {};
    a.answer = (_request, response) => {
      finish = () => void response.end('a');
    };
    const service = new FakeService('orders', [a.instance]);
    const dispatcher = serviceDispatcher(() => service);
    const slow = ask(dispatcher);
    while (a.seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const closed = dispatcher.close();
    await expect(ask(dispatcher)).rejects.toMatchObject({ code: 'UND_ERR_CLOSED' });
    expect(service.closed).toBe(false);
    finish();
    expect(await slow).toMatchObject({ text: 'a' });
    await closed;
    expect(service.closed).toBe(true);
  });

  it('waits for requests that wait for a list', async () => {
    const [a] = await shops('a');
    const service = new FakeService();
    const dispatcher = serviceDispatcher(() => service);
    const asked = ask(dispatcher);
    const closed = dispatcher.close();
    service.set(a.instance);
    expect(await asked).toMatchObject({ text: 'a' });
    await closed;
  });

  it('for good ends requests that wait for a list', async () => {
    const dispatcher = serviceDispatcher(() => new FakeService());
    const waiting = ask(dispatcher);
    const refused = expect(waiting).rejects.toMatchObject({ code: 'UND_ERR_DESTROYED' });
    await dispatcher.destroy();
    await refused;
  });

  it("leaves the caller's own dispatcher open", async () => {
    const [a] = await shops('a');
    const inner = new Agent({ connections: 1 });
    closing.push(() => inner.close());
    await using dispatcher = serviceDispatcher(() => new FakeService('orders', [a.instance]), { dispatcher: inner });
    expect(await ask(dispatcher)).toMatchObject({ text: 'a' });
    await dispatcher.close();
    expect(await ask(inner, {}, `http://127.0.0.1:${a.port}/`)).toMatchObject({ text: 'a' });
  });
});

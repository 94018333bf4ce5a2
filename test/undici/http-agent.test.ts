/** `node:http` through the agent, against real HTTP servers. */
import http from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { NoInstanceError } from '../../recipes/services/errors.ts';
import { VirtualClock } from '../../src/testing/index.ts';
import { serviceAgent } from '../../src/undici/index.ts';
import { FakeService } from '../recipes/services/fake-service.ts';
import { hangUp, Shop } from './shop.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function shops(...ids: string[]): Promise<[Shop, Shop]> {
  const started = await Promise.all(ids.map((id) => Shop.start(id)));
  closing.push(() => Promise.all(started.map((shop) => shop.kill())));
  return started as [Shop, Shop];
}

function agentOf(service: FakeService): http.Agent {
  const agent = serviceAgent(() => service);
  closing.push(() => agent.destroy());
  return agent;
}

function get(url: string, agent: http.Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = http.get(url, { agent }, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += String(chunk);
      });
      response.on('end', () => resolve(text));
    });
    asked.on('error', reject);
  });
}

describe('an http.Agent', () => {
  it('sends each request to the instance that is picked for it', async () => {
    const [a, b] = await shops('a', 'b');
    const service = new FakeService('orders', [a.instance, b.instance]);
    const agent = agentOf(service);
    const answers: string[] = [];
    for (let n = 0; n < 4; n += 1) answers.push(await get('http://orders/17', agent));
    expect(answers.sort()).toEqual(['a', 'a', 'b', 'b']);
    expect(a.seen[0]).toMatchObject({ url: '/17', host: 'orders' });
    while (service.underWay > 0) await new Promise((resolve) => setImmediate(resolve));
    expect(service.outcomes()).toEqual(Array(4).fill('success'));
    service.set(b.instance);
    expect(await get('http://orders/', agent)).toBe('b');
  });

  it('tries another instance when there is no connection', async () => {
    const [dead, live] = await shops('dead', 'live');
    const gone = dead.instance;
    await dead.kill();
    const service = new FakeService('orders', [gone, live.instance]);
    const agent = agentOf(service);
    for (let n = 0; n < 3; n += 1) expect(await get('http://orders/', agent)).toBe('live');
    expect(service.outcomes('dead')).toContain('failure');
    service.set(gone);
    await expect(get('http://orders/', agent)).rejects.toThrow('ECONNREFUSED');
    service.set();
    await expect(get('http://orders/', agent)).rejects.toThrow(NoInstanceError);
  });

  it('does not send a request again', async () => {
    const [a, b] = await shops('a', 'b');
    a.answer = hangUp;
    b.answer = hangUp;
    const agent = agentOf(new FakeService('orders', [a.instance, b.instance]));
    await expect(get('http://orders/', agent)).rejects.toThrow('socket hang up');
    expect([...a.seen, ...b.seen]).toHaveLength(1);
  });

  it('leaves other hosts alone', async () => {
    const [a] = await shops('a');
    const agent = agentOf(new FakeService());
    expect(await get(`http://127.0.0.1:${a.port}/`, agent)).toBe('a');
  });

  it('waits for the first list no longer than the limit, and closes what it has begun', async () => {
    const clock = new VirtualClock();
    const service = new FakeService();
    const agent = serviceAgent(() => service, { clock, readyTimeoutMs: 1_000 });
    const asked = get('http://orders/', agent);
    asked.catch(() => {});
    while (clock.pending.all === 0) await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(1_000);
    await expect(asked).rejects.toMatchObject({ code: 'unavailable' });
    agent.destroy();
    while (!service.closed) await new Promise((resolve) => setImmediate(resolve));
  });
});

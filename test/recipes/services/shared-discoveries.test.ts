/** Many users of one discovery. */
import { describe, expect, it } from 'vitest';
import { listedWithin, SharedDiscoveries } from '../../../recipes/services/shared-discoveries.ts';
import { VirtualClock } from '../../../src/testing/index.ts';
import { FakeService, instanceAt } from './fake-service.ts';

/** Gives these services, one after the other. */
function sourceOf(...services: FakeService[]): { readonly shared: SharedDiscoveries; readonly asked: string[] } {
  const asked: string[] = [];
  const follow = (name: string): FakeService => {
    asked.push(name);
    return services[asked.length - 1] as FakeService;
  };
  return { shared: new SharedDiscoveries({ follow }), asked };
}

const listed = (name = 'orders'): FakeService => new FakeService(name, [instanceAt('a', 1)]);

describe('shared discoveries', () => {
  it('are begun once for each name, and closed with the last user', async () => {
    const [orders, users] = [listed(), listed('users')];
    const { shared, asked } = sourceOf(orders, users);
    const [first, second, other] = [shared.acquire('orders'), shared.acquire('orders'), shared.acquire('users')];
    expect(await first.listed).toBe(orders);
    expect(await second.listed).toBe(orders);
    expect(await other.listed).toBe(users);
    expect(asked).toEqual(['orders', 'users']);
    first.release();
    first.release();
    await shared.closed();
    expect(orders.closed).toBe(false);
    second.release();
    await shared.closed();
    expect([orders.closed, users.closed]).toEqual([true, false]);
  });

  it('are begun anew after a failure, and after one was given back as broken', async () => {
    const failing = new FakeService();
    failing.fail(new Error('no permission'));
    const [broken, good] = [listed(), listed()];
    const { shared } = sourceOf(failing, broken, good);
    const first = shared.acquire('orders');
    await expect(first.listed).rejects.toThrow('no permission');
    first.release();
    const [second, third] = [shared.acquire('orders'), shared.acquire('orders')];
    expect(await second.listed).toBe(broken);
    second.release(true);
    const fourth = shared.acquire('orders');
    expect(await fourth.listed).toBe(good);
    expect(broken.closed).toBe(false);
    third.release();
    await shared.closed();
    expect([failing.closed, broken.closed, good.closed]).toEqual([true, true, false]);
  });

  it('fail their users when the source throws, and leave no rejection behind', async () => {
    const shared = new SharedDiscoveries(() => {
      throw new Error('closed');
    });
    const use = shared.acquire('orders');
    await new Promise((resolve) => setImmediate(resolve));
    await expect(use.listed).rejects.toThrow('closed');
    use.release();
    await shared.closed();
  });

  it('are waited for within a limit, which leaves no timer behind', async () => {
    const clock = new VirtualClock();
    const service = new FakeService();
    const { shared } = sourceOf(service);
    const use = shared.acquire('orders');
    const waiting = expect(listedWithin(use, 'orders', clock, 1_000)).rejects.toMatchObject({ code: 'unavailable' });
    await clock.advance(1_000);
    await waiting;
    const again = listedWithin(use, 'orders', clock, 1_000);
    service.set(instanceAt('a', 1));
    expect(await again).toBe(service);
    await clock.settle();
    expect(clock.pending.all).toBe(0);
  });
});

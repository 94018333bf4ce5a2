import { expect, it } from 'vitest';
import { Queue } from '../../recipes/queue/queue.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { keysBelow, Party, RANGE, TXN, until } from './queue-bed.ts';

let names = 0;
const newName = (): string => `queue-${names++}`;

describeOnEtcd('Queue', (suite) => {
  it('gives out what was put in, in order, by one round trip each', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new Queue(one.session, name);
    for (const value of ['a', 'b', 'c', 'd']) {
      expect(await one.roundTrips(() => queue.enqueue(value))).toBe(1);
    }
    expect(await queue.count()).toBe(4);
    expect((await queue.peek())!.value).toBe('a');
    const taken: string[] = [];
    const trips: number[] = [];
    for (let i = 0; i < 4; i++) trips.push(await one.roundTrips(async () => taken.push((await queue.dequeue()).value)));
    expect(taken).toEqual(['a', 'b', 'c', 'd']);
    expect(trips).toEqual([2, 1, 1, 1]);
    expect(await queue.tryDequeue()).toBeUndefined();
    expect(await keysBelow(one.etcd, `${name}/`)).toEqual([]);
    await one.session.close();
    expect(await one.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('waits for an item with one round trip from the wake-up', async () => {
    await using consumer = await Party.join(suite);
    await using producer = await Party.join(suite);
    const name = newName();
    const dequeued = new Queue(consumer.session, name).dequeue({ timeoutMs: 20_000 });
    await until(async () => (await keysBelow(producer.etcd, `${name}/queue/waiters/`)).length === 1);
    await consumer.proxy.waitFor(() => consumer.proxy.callsOf('/etcdserverpb.Watch/Watch').some((call) => call.requestMessages >= 2));
    const before = consumer.calls;
    expect(before).toBe(2);
    await new Queue(producer.session, name).enqueue('x');
    expect((await dequeued).value).toBe('x');
    expect(consumer.calls - before).toBe(1);
    expect(consumer.proxy.count(RANGE)).toBe(1);
    expect(consumer.proxy.count(TXN)).toBe(2);
    expect(await keysBelow(producer.etcd, `${name}/`)).toEqual([]);
  });
});

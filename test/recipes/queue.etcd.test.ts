/** The queues on real etcd: what they promise while nothing breaks, and what that costs. */
import { expect, it } from 'vitest';
import { DelayQueue } from '../../recipes/queue/delay-queue.ts';
import { PriorityQueue } from '../../recipes/queue/priority-queue.ts';
import { Queue } from '../../recipes/queue/queue.ts';
import { json } from '../../src/index.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { keysBelow, newName, outcome, Party, until } from './queue-bed.ts';

const HOUR_MS = 3_600_000;

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
    expect(await queue.peek()).toBeUndefined();
    expect(await keysBelow(one.etcd, `${name}/`)).toEqual([]);
    await one.session.close();
    expect(await one.etcd.count({ prefix: `${name}/` })).toBe(0);
  });

  it('waits for an item: two round trips to wait, one from the wake-up', async () => {
    await using consumer = await Party.join(suite);
    await using producer = await Party.join(suite);
    const name = newName();
    const dequeued = new Queue(consumer.session, name).dequeue();
    await consumer.watching(2);
    expect(consumer.calls).toBe(2);
    const { id, revision } = await new Queue(producer.session, name).enqueue('x');
    expect(await dequeued).toMatchObject({ id, revision, value: 'x' });
    expect(consumer.calls).toBe(3);
    expect(await keysBelow(producer.etcd, `${name}/`)).toEqual([]);
  });

  it('wakes one of many waiting consumers for an item, and they are served in their order', async () => {
    const parties = await Promise.all(Array.from({ length: 5 }, () => Party.join(suite)));
    const name = newName();
    const served: number[] = [];
    const waits: Promise<unknown>[] = [];
    for (const [index, { session, etcd }] of parties.entries()) {
      waits.push(new Queue(session, name).dequeue().then(() => served.push(index)));
      await until(async () => (await etcd.count({ prefix: `${name}/queue/waiters/` })) === index + 1);
    }
    await using producer = await Party.join(suite);
    const queue = new Queue(producer.session, name);
    // The first watches the items, each of the others the one ahead; and all of them their own place.
    await Promise.all(parties.map((party) => party.watching(2)));
    const before = parties.map(({ calls }) => calls);
    const spent = (): number[] => parties.map(({ calls }, index) => calls - before[index]!);
    await queue.enqueue('x');
    // The first takes it. The second looks whether it is first, and what there is. The others sleep on.
    await until(() => served.length === 1 && spent()[1]! >= 2);
    await Promise.all(parties.map((party) => party.quiet()));
    expect(spent()).toEqual([1, 2, 0, 0, 0]);
    for (let n = 2; n <= 5; n++) await queue.enqueue('y');
    await Promise.all(waits);
    expect(served).toEqual([0, 1, 2, 3, 4]);
    expect(await keysBelow(producer.etcd, `${name}/`)).toEqual([]);
    for (const party of parties) await party[Symbol.asyncDispose]();
  });

  it('keeps the order of producers whose clocks are hours apart, and never needs a third try', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const late = new Queue(one.session, name, { wallClock: () => Date.now() - 5 * HOUR_MS });
    const early = new Queue(one.session, name, { wallClock: () => Date.now() + 3 * HOUR_MS });
    const right = new Queue(one.session, name);
    const trips: number[] = [];
    for (const queue of [early, right, late, early, late, right, right, late]) {
      trips.push(await one.roundTrips(() => queue.enqueue(String(trips.length))));
    }
    // Who is behind the last one's clock needs a second try, never a third, and none after itself.
    expect([trips[0], trips[1], trips[2], trips[6]]).toEqual([1, 2, 2, 1]);
    expect(Math.max(...trips)).toBe(2);
    const taken: string[] = [];
    while (taken.length < 8) taken.push((await right.dequeue()).value);
    expect(taken).toEqual(['0', '1', '2', '3', '4', '5', '6', '7']);
  });

  it('never touches another queue whose name begins with its own, nor one inside its name', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queues = [name, `${name}s`, `${name}/x`, `${name}/queue/items`].map((each) => new Queue(one.session, each));
    for (const [index, queue] of queues.entries()) await queue.enqueue(String(index));
    expect(await Promise.all(queues.map((queue) => queue.count()))).toEqual([1, 1, 1, 1]);
    for (const [index, queue] of queues.entries()) {
      expect((await queue.dequeue()).value).toBe(String(index));
      expect(await queue.tryDequeue()).toBeUndefined();
    }
  });

  it('passes over keys that have strayed among the items, before and behind them', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const strays = [...Array.from({ length: 20 }, (_, n) => `0-stray-${n}`), '9999', '9-stray', 'last', '~'];
    for (const stray of strays) await one.etcd.put(`${name}/queue/items/${stray}`, 'not an item');
    await one.etcd.put(`${name}/queue/waiters/stray`, 'nobody');
    const queue = new Queue(one.session, name);
    expect(await queue.tryDequeue()).toBeUndefined();
    for (const value of ['a', 'b', 'c']) await queue.enqueue(value);
    expect((await queue.peek())!.value).toBe('a');
    const taken = [await queue.dequeue(), await queue.dequeue(), await queue.tryDequeue()];
    expect(taken.map((item) => item!.value)).toEqual(['a', 'b', 'c']);
    expect(await queue.count()).toBe(strays.length);
  });

  it('gives every item of several producers to one of several consumers, in order', async () => {
    const parties = await Promise.all(Array.from({ length: 4 }, () => Party.join(suite)));
    const name = newName();
    const each = 60;
    const producing = parties.slice(0, 3).map(async ({ session }, producer) => {
      const queue = new Queue(session, name, { codec: json<{ producer: number; n: number }>() });
      // Calls of one object keep their order without being awaited one by one.
      await Promise.all(Array.from({ length: each }, (_, n) => queue.enqueue({ producer, n })));
    });
    const stop = new AbortController();
    const taken = parties.map(() => [] as { producer: number; n: number; revision: bigint }[]);
    const consuming = parties.map(async ({ session }, index) => {
      const queue = new Queue(session, name, { codec: json<{ producer: number; n: number }>() });
      for (;;) {
        const item = await queue.dequeue({ signal: stop.signal });
        taken[index]!.push({ ...item.value, revision: item.revision });
        if (taken.flat().length === 3 * each) stop.abort();
      }
    });
    await Promise.all(producing);
    for (const end of await Promise.all(consuming.map(outcome))) expect(end).toMatchObject({ name: 'AbortError' });
    const all = taken.flat();
    expect(new Set(all.map(({ producer, n }) => `${producer}-${n}`)).size).toBe(3 * each);
    expect(all.length).toBe(3 * each);
    for (const list of taken) {
      const revisions = list.map(({ revision }) => revision);
      expect(revisions).toEqual([...revisions].sort((a, b) => Number(a - b)));
    }
    for (const producer of [0, 1, 2]) {
      const order = all.filter((item) => item.producer === producer).sort((a, b) => Number(a.revision - b.revision));
      expect(order.map(({ n }) => n)).toEqual(Array.from({ length: each }, (_, n) => n));
    }
    // A place in the line that was asked for when the consumers were told to stop may come late, and goes again.
    await until(async () => (await keysBelow(parties[0]!.etcd, `${name}/`)).length === 0);
    for (const party of parties) await party[Symbol.asyncDispose]();
  });

  // ZooKeeper's queues end where the list of all items outgrows a message (Netflix/curator #76).
  it('takes from twenty thousand items as from a few', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new Queue(one.session, name);
    const first = await queue.enqueue('0');
    const [, nonce] = first.id.split('-');
    const stamp = Number.parseInt(first.id, 10);
    const key = (n: number): string => `${name}/queue/items/${String(stamp + n).padStart(16, '0')}-${nonce}`;
    for (let n = 1; n < 20_000; n += 100) {
      const batch = Array.from({ length: Math.min(100, 20_000 - n) }, (_, index) => n + index);
      await one.etcd.txn({ then: batch.map((each) => one.etcd.op.put(key(each), String(each))) });
    }
    expect(await queue.count()).toBe(20_000);
    const values: string[] = [];
    const trips: number[] = [];
    for (let n = 0; n < 5; n++) {
      trips.push(await one.roundTrips(async () => values.push((await queue.dequeue()).value)));
    }
    expect(values).toEqual(['0', '1', '2', '3', '4']);
    expect(trips).toEqual([2, 1, 1, 1, 1]);
    // And what is put stands behind all of them.
    const last = await queue.enqueue('last');
    expect(last.id > key(19_999).slice(`${name}/queue/items/`.length)).toBe(true);
  });

  it('takes an item that its codec cannot read out of the way, and shows its bytes', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    await new Queue(one.session, name).enqueue('no json');
    const item = await new Queue(one.session, name, { codec: json() }).dequeue();
    expect(() => item.value).toThrow(expect.objectContaining({ name: 'DecodeError' }));
    expect(Buffer.from(item.valueBytes).toString()).toBe('no json');
  });
});

describeOnEtcd('PriorityQueue', (suite) => {
  it('gives out the most urgent first, and among equals the first, by one round trip each', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new PriorityQueue(one.session, name);
    for (const [value, priority] of [
      ['c1', 30],
      ['a1', 0],
      ['c2', 30],
      ['b1', 7],
      ['z', 65_535],
      ['a2', 0],
    ] as const) {
      expect(await one.roundTrips(() => queue.enqueue(value, { priority }))).toBe(1);
    }
    const taken: [string, number][] = [];
    const trips: number[] = [];
    const take = async (): Promise<void> => {
      const { value, priority } = await queue.dequeue();
      taken.push([value, priority]);
    };
    for (let i = 0; i < 6; i++) trips.push(await one.roundTrips(take));
    expect(taken).toEqual([
      ['a1', 0],
      ['a2', 0],
      ['b1', 7],
      ['c1', 30],
      ['c2', 30],
      ['z', 65_535],
    ]);
    expect(trips).toEqual([2, 1, 1, 1, 1, 1]);
    await expect(queue.enqueue('x', { priority: 65_536 })).rejects.toMatchObject({ code: 'invalid-argument' });
    expect(await keysBelow(one.etcd, `${name}/`)).toEqual([]);
  });

  it('takes what is most urgent at the moment of taking, not what it has seen before', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new PriorityQueue(one.session, name);
    await queue.enqueue('1', { priority: 1 });
    await queue.enqueue('5', { priority: 5 });
    expect((await queue.dequeue()).value).toBe('1');
    // The take before has told that '5' is next; somebody else puts something better meanwhile.
    await new PriorityQueue(one.session, name).enqueue('3', { priority: 3 });
    expect((await queue.dequeue()).value).toBe('3');
    expect((await queue.dequeue()).value).toBe('5');
  });

  it('takes the best of what came at once while it was waiting', async () => {
    await using consumer = await Party.join(suite);
    await using producer = await Party.join(suite);
    const name = newName();
    const dequeued = new PriorityQueue(consumer.session, name).dequeue();
    await consumer.watching(2);
    const key = (priority: string, nonce: string): string =>
      `${name}/priority/items/${priority}/1700000000000000-${nonce.repeat(12)}`;
    // One transaction, the worst first: the watch tells of that one first.
    const { op } = producer.etcd;
    await producer.etcd.txn({ then: [op.put(key('00009', 'a'), 'worst'), op.put(key('00002', 'b'), 'best')] });
    expect(await dequeued).toMatchObject({ value: 'best', priority: 2 });
  });

  it('takes the oldest one every few times, if it is told to', async () => {
    await using one = await Party.join(suite);
    const queue = new PriorityQueue(one.session, newName(), { oldestEvery: 3 });
    await queue.enqueue('old', { priority: 9 });
    for (let n = 0; n < 4; n++) await queue.enqueue(`urgent ${n}`, { priority: 1 });
    const taken: string[] = [];
    while (taken.length < 5) taken.push((await queue.dequeue()).value);
    expect(taken).toEqual(['urgent 0', 'urgent 1', 'old', 'urgent 2', 'urgent 3']);
  });
});

describeOnEtcd('DelayQueue', (suite) => {
  it('gives out nothing before its time, by the clock it was given, and then what is due first', async () => {
    await using one = await Party.join(suite);
    let now = 1_800_000_000_000;
    const name = newName();
    const queue = new DelayQueue(one.session, name, { wallClock: () => now, maxClockSkewMs: 500 });
    expect(await one.roundTrips(() => queue.enqueue('b', { delayMs: 2_000 }))).toBe(1);
    await queue.enqueue('a', { at: new Date(now + 1_000) });
    await queue.enqueue('c', { at: new Date(now + HOUR_MS) });
    expect((await queue.peek())!.value).toBe('a');
    expect(await queue.tryDequeue()).toBeUndefined();
    now += 1_499;
    expect(await queue.tryDequeue()).toBeUndefined();
    now += 1;
    expect(await queue.tryDequeue()).toMatchObject({ value: 'a', dueAt: new Date(1_800_000_001_000) });
    expect(await queue.tryDequeue()).toBeUndefined();
    now += 5_000;
    expect((await queue.dequeue()).value).toBe('b');
    await expect(queue.dequeue({ timeoutMs: 50 })).rejects.toMatchObject({ code: 'wait-timeout' });
    expect(await queue.count()).toBe(1);
  });

  it('sleeps until the first is due, and is woken by what is due earlier and by nothing else', async () => {
    await using consumer = await Party.join(suite);
    await using producer = await Party.join(suite);
    const name = newName();
    let now = 1_800_000_000_000;
    const wallClock = (): number => now;
    const queue = new DelayQueue(producer.session, name, { wallClock });
    await queue.enqueue('in an hour', { delayMs: HOUR_MS });
    const waiting = new DelayQueue(consumer.session, name, { wallClock });
    const dequeued = waiting.dequeue();
    await consumer.watching(2);
    const before = consumer.calls;
    await queue.enqueue('in two hours', { delayMs: 2 * HOUR_MS });
    await consumer.quiet();
    expect(consumer.calls).toBe(before);
    await queue.enqueue('soon', { delayMs: 300 });
    await until(() => consumer.calls > before);
    await consumer.quiet();
    // One look when it came; and when its time comes another, and the take.
    expect(consumer.calls - before).toBe(1);
    now += 300;
    expect(await dequeued).toMatchObject({ value: 'soon', dueAt: new Date(now) });
    expect(consumer.calls - before).toBe(3);
    now += 3 * HOUR_MS;
    expect((await waiting.dequeue()).value).toBe('in an hour');
    expect((await waiting.dequeue()).value).toBe('in two hours');
    expect(await keysBelow(producer.etcd, `${name}/`)).toEqual([]);
  });
});

/** The queues on real etcd when things break: lost answers, lost sessions, interfering operators, compaction. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { DelayQueue } from '../../recipes/queue/delay-queue.ts';
import { PriorityQueue } from '../../recipes/queue/priority-queue.ts';
import { Queue } from '../../recipes/queue/queue.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { type ClientMessage, GrpcFaultProxy, type Verdict } from '../support/grpc-fault-proxy.ts';
import { sendUnary } from '../support/grpc-send.ts';
import { Actor } from './lock-bed.ts';
import { keysBelow, newName, outcome, Party, TXN, until, WATCH } from './queue-bed.ts';

describeOnEtcd('a queue', (suite) => {
  it('does not double an item whose answer was lost, not even when it was taken meanwhile', async () => {
    await using producer = await Party.join(suite);
    await using consumer = await Party.join(suite);
    const name = newName();
    const queue = new Queue(producer.session, name);
    await queue.enqueue('first');
    const taking = new Queue(consumer.session, name);
    await taking.dequeue();
    // Applied, and no answer. The second try comes when the item is gone again.
    producer.proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    producer.proxy.rule({ path: TXN, nth: 2, action: { delayMs: 500 } });
    const enqueued = queue.enqueue('second');
    expect((await taking.dequeue()).value).toBe('second');
    const { id, revision } = await enqueued;
    expect(id).toMatch(/^\d{16}-/);
    expect(revision).toBeGreaterThan(0n);
    expect(producer.proxy.calls.filter(({ fault }) => fault !== undefined).length).toBe(2);
    expect(await taking.tryDequeue()).toBeUndefined();
    // The receipt is used again, and still counts right.
    await queue.enqueue('third');
    expect((await taking.dequeue()).value).toBe('third');
    expect(await keysBelow(consumer.etcd, `${name}/`)).toEqual([]);
  });

  it('does not lose an item that was taken when the answer was lost', async () => {
    await using consumer = await Party.join(suite);
    await using other = await Party.join(suite);
    const name = newName();
    const queue = new Queue(consumer.session, name);
    for (const value of ['a', 'b', 'c']) await new Queue(other.session, name).enqueue(value);
    expect((await queue.dequeue()).value).toBe('a');
    consumer.proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    expect((await queue.dequeue()).value).toBe('b');
    // A consumer that has waited, too: its place in the line went with the item.
    expect((await queue.dequeue()).value).toBe('c');
    const waiting = queue.dequeue();
    await consumer.watching(2);
    consumer.proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    await new Queue(other.session, name).enqueue('d');
    expect((await waiting).value).toBe('d');
    expect(await keysBelow(other.etcd, `${name}/`)).toEqual([]);
  });

  it('tells that nobody knows when no answer comes, and puts the item back where it was, though refused at first', async () => {
    await using consumer = await Party.join(suite, { client: { retry: { maxAttempts: 1 } } });
    await using other = await Party.join(suite);
    const name = newName();
    const others = new Queue(other.session, name);
    for (const value of ['a', 'b', 'c']) await others.enqueue(value);
    const queue = new Queue(consumer.session, name);
    expect((await queue.dequeue()).value).toBe('a');
    consumer.proxy.rule({ path: TXN, nth: 1, action: 'swallow-reply', via: 'hang' });
    consumer.proxy.rule({ path: TXN, action: 'hang' });
    const stop = new AbortController();
    const dequeued = outcome(queue.dequeue({ signal: stop.signal }));
    await until(async () => (await others.count()) === 1);
    stop.abort();
    expect(await dequeued).toMatchObject({ code: 'unknown-outcome', applied: 'maybe' });
    expect((await others.peek())!.value).toBe('c');
    consumer.proxy.clearRules();
    // The first finds out that it was taken.
    const refused = consumer.proxy.rule({ path: TXN, nth: 2, times: 3, action: 'reset-before' });
    consumer.proxy.cut();
    await refused.waitApplied(3);
    await until(async () => (await others.count()) === 2);
    expect((await others.dequeue()).value).toBe('b');
    expect((await others.dequeue()).value).toBe('c');
  });

  it('finds out what became of a put that was aborted without an answer', async () => {
    await using producer = await Party.join(suite);
    await using other = await Party.join(suite);
    const name = newName();
    const queue = new Queue(producer.session, name);
    const others = new Queue(other.session, name);
    await queue.enqueue('a');
    const abort = async (action: 'swallow-reply' | 'hang'): Promise<unknown> => {
      const rule = producer.proxy.rule({ path: TXN, nth: 1, action, via: 'hang' });
      const stop = new AbortController();
      const put = outcome(queue.enqueue(action, { signal: stop.signal }));
      await rule.waitApplied();
      if (action === 'swallow-reply') await until(async () => (await others.count()) === 2);
      stop.abort();
      return await put;
    };
    expect(await abort('swallow-reply')).toMatchObject({ id: expect.stringMatching(/^\d{16}-/) });
    expect(await abort('hang')).toMatchObject({ name: 'AbortError', applied: 'no' });
    expect(await others.count()).toBe(2);
    await queue.enqueue('b');
    const taken = [await others.dequeue(), await others.dequeue(), await others.dequeue()];
    expect(taken.map(({ value }) => value)).toEqual(['a', 'swallow-reply', 'b']);
  });

  it('cannot apply a put that arrives after its caller was told that it was not done', async () => {
    const target = suite.cluster.members[0]!.address;
    const held: Buffer[] = [];
    let holds = 0;
    // A request that the gate holds goes nowhere, until the test delivers it.
    const gate = ({ call, payload }: ClientMessage): Verdict | Promise<Verdict> => {
      if (call.path !== TXN || holds === 0) return 'forward';
      holds -= 1;
      held.push(payload);
      return new Promise(() => {});
    };
    await using proxy = await GrpcFaultProxy.start({ target, gate });
    await using producer = await Actor.open([proxy.address]);
    await using other = await Party.join(suite);
    const name = newName();
    const queue = new Queue(producer.session, name);
    const count = (): Promise<number> => new Queue(other.session, name).count();
    /** A put whose request is held up, and given up `before` or after the request is delivered. */
    const put = async (gaveUp: 'before' | 'after'): Promise<unknown> => {
      const stop = new AbortController();
      holds = 1;
      const done = outcome(queue.enqueue('late', { signal: stop.signal }));
      await until(() => holds === 0);
      if (gaveUp === 'before') {
        stop.abort();
        await done;
      }
      expect(await sendUnary(target, TXN, held.pop()!)).toBe(0);
      stop.abort();
      return await done;
    };
    expect(await put('before')).toMatchObject({ name: 'AbortError', applied: 'no' });
    expect(await count()).toBe(0);
    // The control: nothing else was wrong with it.
    expect(await put('after')).toMatchObject({ id: expect.stringMatching(/^\d{16}-/) });
    expect(await count()).toBe(1);
  });

  it('leaves nothing behind when a wait ends by time, by signal, or by the close of the session', async () => {
    await using consumer = await Party.join(suite);
    await using other = await Party.join(suite);
    const name = newName();
    for (const Kind of [Queue, PriorityQueue, DelayQueue]) {
      const queue = new Kind(consumer.session, name);
      await expect(queue.dequeue({ timeoutMs: 80 })).rejects.toMatchObject({ code: 'wait-timeout' });
      // Where the time was up while it entered the line, its place may come late, and goes again.
      await until(async () => (await keysBelow(other.etcd, `${name}/`)).length === 0);
      const stop = new AbortController();
      const waits = [queue.dequeue({ signal: stop.signal }), queue.dequeue({ signal: stop.signal })].map(outcome);
      await until(async () => (await keysBelow(other.etcd, `${name}/`)).length === 1);
      stop.abort();
      for (const end of await Promise.all(waits)) expect(end).toMatchObject({ name: 'AbortError' });
      await until(async () => (await keysBelow(other.etcd, `${name}/`)).length === 0);
    }
    const closed = outcome(new Queue(consumer.session, name).dequeue());
    await until(async () => (await keysBelow(other.etcd, `${name}/`)).length === 1);
    await consumer.session.close();
    expect(await closed).toMatchObject({ name: 'LostError', reason: 'session' });
    expect(await other.etcd.count({ prefix: `${name}/` })).toBe(0);
    await expect(new Queue(consumer.session, name).enqueue('x')).rejects.toMatchObject({ code: 'lease-lost' });
  });

  it('fails a consumer at once whose session is revoked behind its back, and serves the next', async () => {
    await using lost = await Party.join(suite);
    await using next = await Party.join(suite);
    const name = newName();
    const waiting = outcome(new Queue(lost.session, name).dequeue());
    await until(async () => (await keysBelow(next.etcd, `${name}/`)).length === 1);
    const served = new Queue(next.session, name).dequeue();
    await until(async () => (await keysBelow(next.etcd, `${name}/`)).length === 2);
    await next.etcd.leases.revoke(lost.session.id);
    expect(await waiting).toMatchObject({ name: 'LostError' });
    await new Queue(next.session, name).enqueue('x');
    expect((await served).value).toBe('x');
    expect(await keysBelow(next.etcd, `${name}/`)).toEqual([]);
  });

  it('fails a consumer whose place in the line an operator has deleted', async () => {
    await using consumer = await Party.join(suite);
    const name = newName();
    const waiting = outcome(new Queue(consumer.session, name).dequeue());
    await consumer.watching(2);
    await consumer.etcd.delete({ prefix: `${name}/queue/waiters/` });
    expect(await waiting).toMatchObject({ name: 'LostError', reason: 'key-gone' });
    expect(await keysBelow(consumer.etcd, `${name}/`)).toEqual([]);
  });

  it('starts with a new receipt when an operator has deleted the old one', async () => {
    await using one = await Party.join(suite);
    const name = newName();
    const queue = new Queue(one.session, name);
    for (const value of ['a', 'b']) {
      await queue.enqueue(value);
      await one.etcd.delete({ prefix: `${name}/queue/receipts/` });
    }
    expect([(await queue.dequeue()).value, (await queue.dequeue()).value]).toEqual(['a', 'b']);
    await one.etcd.delete({ prefix: `${name}/queue/receipts/` });
    expect(await queue.tryDequeue()).toBeUndefined();
  });

  // Go's Queue takes the end of the watch for an item, and reads from nil (etcd PR 17198).
  it('goes on waiting when the watch is cancelled by a compaction', async () => {
    await using consumer = await Party.join(suite);
    await using other = await Party.join(suite);
    const name = newName();
    for (const [Kind, rounds] of [
      [Queue, 2],
      [PriorityQueue, 1],
    ] as const) {
      const waiting = new Kind(consumer.session, name).dequeue({ timeoutMs: 30_000 });
      let settled = false;
      void waiting.finally(() => {
        settled = true;
      });
      await until(async () => (await keysBelow(other.etcd, `${name}/`)).length === 1);
      for (let round = 0; round < rounds; round++) {
        const watches = consumer.proxy.count(WATCH);
        const held = consumer.proxy.rule({ path: WATCH, nth: 1, action: { delayMs: 300 } });
        consumer.proxy.cut();
        await held.waitApplied();
        // Before the watch is made anew, the history that it needs is gone.
        const { revision } = await other.etcd.put(`${name}-other`, 'x');
        await other.etcd.compact(revision);
        await consumer.proxy.waitFor(() => consumer.proxy.count(WATCH) > watches);
        await consumer.quiet();
        expect(settled).toBe(false);
      }
      await new Kind(other.session, name).enqueue('at last');
      expect((await waiting).value).toBe('at last');
      expect(await keysBelow(other.etcd, `${name}/`)).toEqual([]);
    }
  });

  // Curator's queue stops for good when its connection was away for long (CURATOR-623).
  it('goes on after a long time without a connection, for consumers and producers', async () => {
    const client = { timeoutMs: 300 };
    await using consumer = await Party.join(suite, { client });
    await using producer = await Party.join(suite, { client });
    await using other = await Party.join(suite);
    const name = newName();
    const taking = new Queue(consumer.session, name);
    const waiting = taking.dequeue();
    await consumer.watching(2);
    for (const { proxy } of [consumer, producer]) {
      proxy.rule({ action: 'hang' });
      proxy.cut();
    }
    const queue = new Queue(producer.session, name);
    expect(await outcome(queue.enqueue('while away', { timeoutMs: 500 }))).toBeInstanceOf(Error);
    await new Queue(other.session, name).enqueue('by another');
    await sleep(2_000);
    for (const { proxy } of [consumer, producer]) {
      proxy.clearRules();
      proxy.cut();
    }
    expect((await waiting).value).toBe('by another');
    // Within the client's own time the connection may not come back.
    await producer.etcd.connect({ timeoutMs: 20_000 });
    for (const value of ['a', 'b']) {
      await queue.enqueue(value, { timeoutMs: 20_000 });
      expect((await taking.dequeue()).value).toBe(value);
    }
  });

  it('does not spin while compactions go on', async () => {
    await using consumer = await Party.join(suite);
    await using other = await Party.join(suite);
    const name = newName();
    const stop = new AbortController();
    const waiting = outcome(new Queue(consumer.session, name).dequeue({ signal: stop.signal }));
    await consumer.watching(2);
    const { revision } = await other.etcd.put(`${name}-other`, 'x');
    await other.etcd.compact(revision);
    consumer.proxy.cut();
    await consumer.quiet();
    await sleep(1_000);
    // A look, a place in the line, and one more look.
    expect(consumer.calls).toBe(3);
    stop.abort();
    await waiting;
  });

  it('leaves the items to others when the consumer is gone without a word', async () => {
    await using other = await Party.join(suite);
    const name = newName();
    // A process that dies: nothing is closed, the lease runs out.
    const dying = await Party.join(suite, { ttlSeconds: 2 });
    const waiting = outcome(new Queue(dying.session, name).dequeue());
    await until(async () => (await keysBelow(other.etcd, `${name}/`)).length === 1);
    await dying.etcd.close();
    await waiting;
    const served = new Queue(other.session, name).dequeue({ timeoutMs: 30_000 });
    await until(async () => (await keysBelow(other.etcd, `${name}/`)).length === 2);
    await new Queue(other.session, name).enqueue('x');
    expect((await served).value).toBe('x');
    await until(async () => (await other.etcd.count({ prefix: `${name}/queue/waiters/` })) === 0);
    await dying.proxy[Symbol.asyncDispose]();
  });
});

describeOnEtcd('a queue without its cluster', (suite) => {
  it('waits on while the member is away', async () => {
    await using consumer = await Party.join(suite, { ttlSeconds: 60 });
    const name = newName();
    const waiting = new Queue(consumer.session, name).dequeue({ timeoutMs: 45_000 });
    await consumer.watching(2);
    const [member] = suite.cluster.members;
    await member!.kill();
    await member!.restart();
    await using other = await Party.join(suite);
    await new Queue(other.session, name).enqueue('x');
    expect((await waiting).value).toBe('x');
  });
});

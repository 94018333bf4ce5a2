import { expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { UnhealthyError } from '../../recipes/election/health.ts';
import type { Leadership } from '../../recipes/election/leadership.ts';
import { type LostError, WaitTimeoutError } from '../../recipes/errors.ts';
import { supervise } from '../../recipes/supervise.ts';
import { AbortError, ClosedError } from '../../src/index.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { expectEmpty, keysOf, Program, stateOf, until, untilKeys } from './election-support.ts';

/** A promise and what settles it. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

describeOnEtcd('leading by callback', (suite) => {
  const newName = (): string => suite.prefix().slice(0, -1);

  it('k8s #112023, PR #139991: keeps the leadership until the work and onStopped have ended, then resigns', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const events: string[] = [];
    const work = gate();
    const running = new Election(a.session, name).run(
      async (leader) => {
        events.push(`work ${leader.held}`);
        await work.opened;
        return 'result';
      },
      {
        onStarted: () => void events.push('started'),
        async onStopped(leader, lost) {
          events.push(`stopping ${leader.held} ${lost === undefined}`);
          expect(await keysOf(a.etcd, `${name}/`)).toHaveLength(2);
          events.push('stopped');
        },
      },
    );
    await until(() => events.length === 2);
    const next = new Election(b.session, name).campaign().then((leader) => {
      events.push('next');
      return leader;
    });
    await untilKeys(a.etcd, `${name}/`, 2);
    work.open();
    expect(await running).toBe('result');
    await (await next).resign();
    expect(events).toEqual(['started', 'work true', 'stopping true true', 'stopped', 'next']);
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('client-go #1187: never calls onStopped for a leadership that has not started', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const calls: string[] = [];
    const stop = new AbortController();
    const running = new Election(b.session, name).run(async () => void calls.push('work'), {
      signal: stop.signal,
      onStarted: () => void calls.push('started'),
      onStopped: () => void calls.push('stopped'),
    });
    await untilKeys(a.etcd, `${name}/`, 2);
    stop.abort();
    await expect(running).rejects.toThrow(AbortError);
    expect(calls).toEqual([]);
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([leader.key]);
  });

  it('leads again with requeue, one work after another, and after others who wait', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const turns: string[] = [];
    const terms: bigint[] = [];
    const stop = new AbortController();
    let working = 0;
    const run = (program: Program, who: string): Promise<void> =>
      new Election(program.session, name).run(
        async (leader, signal) => {
          expect(++working).toBe(1);
          turns.push(who);
          terms.push(leader.term);
          // Only when the other one waits too: so they take turns.
          await until(async () => signal.aborted || (await a.etcd.count({ prefix: `${name}/` })) === 2);
          await leader.kv.put(`${name}-work`, who);
          working--;
        },
        { requeue: true, signal: stop.signal },
      );
    const runs = [run(a, 'a'), run(b, 'b')].map((each) => each.catch((error: unknown) => error));
    await until(() => turns.length >= 6);
    stop.abort();
    for (const outcome of await Promise.all(runs)) expect(outcome).toBeInstanceOf(AbortError);
    for (let n = 1; n < turns.length; n++) expect(turns[n]).not.toBe(turns[n - 1]);
    expect(terms).toEqual([...terms].sort((x, y) => (x < y ? -1 : 1)));
    await expectEmpty(a.etcd, `${name}/`);
    await a.etcd.delete(`${name}-work`);
  });

  it('ends with what the work throws, after resigning; and goes on after a loss, but not before the work has stopped', async () => {
    await using a = await Program.start(suite);
    const name = newName();
    const election = new Election(a.session, name);
    await expect(election.run(async () => Promise.reject(new RangeError('mine')), { requeue: true })).rejects.toThrow(
      RangeError,
    );
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([]);
    const leaders: Leadership[] = [];
    const lostReasons: unknown[] = [];
    const stopping = gate();
    const stop = new AbortController();
    const running = election.run(
      async (leader, signal) => {
        leaders.push(leader);
        await aborted(signal);
        if (leaders.length === 1) await stopping.opened;
      },
      { requeue: true, signal: stop.signal, onStopped: (_, lost) => void lostReasons.push(lost?.reason) },
    );
    await until(() => leaders.length === 1);
    await a.etcd.delete(leaders[0]!.key);
    await until(() => !leaders[0]!.held);
    expect(await stateOf(running)).toBe('pending');
    expect(leaders).toHaveLength(1);
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([]);
    stopping.open();
    await until(() => leaders.length === 2);
    stop.abort();
    await expect(running).rejects.toThrow(AbortError);
    expect(lostReasons).toEqual(['key-gone', undefined]);
    // Without requeue the loss is the outcome.
    const once = election.run(async (leader, signal) => {
      await a.etcd.delete(leader.key);
      await aborted(signal);
    });
    await expect(once).rejects.toMatchObject({ code: 'lost', reason: 'key-gone' });
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('goes on under another session with supervise', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const stop = new AbortController();
    const leaders: Leadership[] = [];
    const supervised = supervise(a.etcd, { ttlSeconds: 5, signal: stop.signal }, (session, signal) =>
      new Election(session, name).run(
        async (leader, until) => {
          leaders.push(leader);
          await aborted(until);
        },
        { requeue: true, signal },
      ),
    );
    await until(() => leaders.length === 1);
    const [held] = (await a.etcd.range({ prefix: `${name}/` })).kvs;
    await b.etcd.leases.revoke(held!.lease!);
    await until(() => leaders.length >= 2 && leaders.at(-1)!.held);
    expect(leaders.at(-1)!.term).toBeGreaterThan(leaders[0]!.term);
    stop.abort();
    await expect(supervised).rejects.toBeDefined();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('is told by a closing session, which waits for the work before it gives the leadership up', async () => {
    await using a = await Program.start(suite);
    const name = newName();
    const ended: number[] = [];
    const started = gate();
    const running = new Election(a.session, name).run(async (_leader, signal) => {
      started.open();
      await aborted(signal);
      // Time enough for a key that is not kept to go.
      for (let n = 0; n < 20; n++) ended.push((await keysOf(a.etcd, `${name}/`)).length);
    });
    const outcome = running.catch((error: unknown) => error);
    await started.opened;
    await a.session.close();
    expect(ended).toEqual(Array.from({ length: 20 }, () => 1));
    expect(await outcome).toMatchObject({ reason: 'session' });
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('resigns when it stays unhealthy, tells why, and does not stand again before it is healthy', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    let healthy = true;
    let asked = 0;
    const health = {
      check: () => {
        asked++;
        if (!healthy) throw new RangeError('the database is away');
        return true;
      },
      intervalMs: 10,
      failures: 3,
    };
    const losses: (LostError | undefined)[] = [];
    const stop = new AbortController();
    let terms = 0;
    const running = new Election(a.session, name).run(
      async (_leader, signal) => {
        terms++;
        await aborted(signal);
      },
      { requeue: true, signal: stop.signal, health, onStopped: (_, lost) => void losses.push(lost) },
    );
    await until(() => terms === 1);
    const next = new Election(b.session, name).campaign();
    await untilKeys(a.etcd, `${name}/`, 2);
    healthy = false;
    const leader = await next;
    expect(losses).toHaveLength(1);
    expect(losses[0]!.cause).toBeInstanceOf(UnhealthyError);
    expect((losses[0]!.cause as Error).cause).toBeInstanceOf(RangeError);
    const before = asked;
    await until(() => asked > before + 3);
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([leader.key]);
    healthy = true;
    await untilKeys(a.etcd, `${name}/`, 2);
    await leader.resign();
    await until(() => terms === 2);
    stop.abort();
    await expect(running).rejects.toThrow(AbortError);
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('latches: leads in the background, tells when asked, and stands again after a loss', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const other = await new Election(b.session, name).campaign();
    const calls: string[] = [];
    const latch = new Election(a.session, name).latch({
      value: 'a',
      onStarted: () => void calls.push('started'),
      onStopped: () => void calls.push('stopped'),
    });
    expect(latch.leading).toBe(false);
    await expect(latch.elected({ timeoutMs: 50 })).rejects.toThrow(WaitTimeoutError);
    await expect(latch.elected({ signal: AbortSignal.timeout(50) })).rejects.toThrow(AbortError);
    const elected = latch.elected();
    await untilKeys(a.etcd, `${name}/`, 2);
    await other.resign();
    const leader = await elected;
    expect(latch.leader).toBe(leader);
    await b.etcd.delete(leader.key);
    await until(() => latch.leader !== leader);
    const again = await latch.elected();
    expect(again.term).toBeGreaterThan(leader.term);
    const waiting = latch.elected({ timeoutMs: 5_000 });
    expect(await waiting).toBe(again);
    await latch.close();
    await latch.close();
    expect(again.held).toBe(false);
    expect(latch.error).toBeInstanceOf(ClosedError);
    await expect(latch.elected()).rejects.toThrow(ClosedError);
    expect(calls).toEqual(['started', 'stopped', 'started', 'stopped']);
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('latches end with their session, and say so', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    await using latch = new Election(a.session, name).latch();
    const leader = await latch.elected();
    await b.etcd.leases.revoke(a.session.id);
    await until(() => latch.error !== undefined);
    expect(latch.leading).toBe(false);
    expect(leader.held).toBe(false);
    await expect(latch.elected()).rejects.toMatchObject({ code: 'lost', reason: 'session' });
  });
});

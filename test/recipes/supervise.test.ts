/** How long supervision pauses between sessions, on virtual time; session.etcd.test.ts has the rest. */
import { expect, it } from 'vitest';
import { supervise } from '../../recipes/supervise.ts';
import { type Etcd, EtcdError, UnavailableError } from '../../src/index.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

/** A client that has leases and a clock, and nothing else. */
class FakeEtcd {
  readonly clock = new VirtualClock();
  random = (): number => 1;
  /** What each opening comes to: an error, or how long its lease lives. */
  readonly script: (Error | number)[];
  readonly openedAt: number[] = [];
  #start = this.clock.now();

  constructor(script: (Error | number)[]) {
    this.script = script;
  }

  async lease(): Promise<unknown> {
    this.openedAt.push(this.clock.now() - this.#start);
    const next = this.script.shift();
    if (next === undefined || next instanceof Error) throw next ?? new Error('the script is over');
    const controller = new AbortController();
    this.clock.after(next, () => controller.abort(new Error('lost')));
    return {
      signal: controller.signal,
      get alive() {
        return !controller.signal.aborted;
      },
      assertAlive() {},
      async [Symbol.asyncDispose]() {
        controller.abort(new Error('closed'));
      },
    };
  }

  get etcd(): Etcd {
    return this as unknown as Etcd;
  }
}

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });

it('pauses longer from loss to loss, up to ten seconds, and starts small again after a long life', async () => {
  const unavailable = new UnavailableError('away');
  const fake = new FakeEtcd([1, 1, unavailable, 1, unavailable, 1, 1, 1, 1, 60_000, 1, new Error('enough')]);
  const lost: unknown[] = [];
  const supervised = supervise(fake.etcd, { onLost: (error) => lost.push(error) }, (_session, signal) =>
    untilAborted(signal),
  );
  const ended = expect(supervised).rejects.toThrow('enough');
  await fake.clock.advance(300_000);
  await ended;
  const pauses = fake.openedAt.slice(1).map((at, index) => at - (fake.openedAt[index] ?? 0));
  expect(pauses).toEqual([101, 201, 400, 801, 1_600, 3_201, 6_401, 10_001, 10_001, 60_100, 201]);
  expect(lost).toHaveLength(11);
  expect(lost[2]).toBe(unavailable);
  expect(fake.clock.pending.all).toBe(0);
});

it('jitters, but never below half of the pause', async () => {
  const fake = new FakeEtcd([1, 1, 1, new Error('enough')]);
  fake.random = () => 0;
  const ended = expect(supervise(fake.etcd, {}, (_session, signal) => untilAborted(signal))).rejects.toThrow('enough');
  await fake.clock.advance(10_000);
  await ended;
  expect(fake.openedAt).toEqual([0, 51, 152, 353]);
});

it('ends at once, in a pause too, when the signal fires, and leaves no timer behind', async () => {
  const fake = new FakeEtcd([1, 1, 1, 1, 1, 1]);
  const controller = new AbortController();
  const supervised = supervise(fake.etcd, { signal: controller.signal }, (_session, signal) => untilAborted(signal));
  const ended = expect(supervised).rejects.toThrow('shut down');
  await fake.clock.advance(50);
  controller.abort(new Error('shut down'));
  await ended;
  expect(fake.openedAt).toHaveLength(1);
  expect(fake.clock.pending.all).toBe(0);
});

it('does not take the end of work that was stopped by its session for its result', async () => {
  const fake = new FakeEtcd([5, 60_000]);
  let runs = 0;
  const supervised = supervise(fake.etcd, {}, async (_session, signal) => {
    if (++runs === 1) await untilAborted(signal);
    return runs;
  });
  await fake.clock.advance(1_000);
  expect(await supervised).toBe(2);
});

it('gives up when a new session cannot help', async () => {
  for (const code of ['unauthenticated', 'permission-denied', 'invalid-argument', 'closed'] as const) {
    const fake = new FakeEtcd([new EtcdError(code, 'no')]);
    await expect(supervise(fake.etcd, {}, async () => {})).rejects.toMatchObject({ code });
    expect(fake.openedAt).toHaveLength(1);
  }
});

/** Readiness and leaving, as others see it; and the signals of the process. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { goLayout } from '../../../../recipes/services/go-layout.ts';
import { atSignals, type SignalSource, waitForQuiet } from '../../../../recipes/services/registration/drain.ts';
import { Registration } from '../../../../recipes/services/registration/registration.ts';
import { type Etcd, EtcdError, type Revision } from '../../../../src/index.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';
import { type Bed, KEY, SPEC, startBed, untilEvent, untilState } from './bed.ts';

let bed: Bed;
beforeAll(async () => {
  bed = await startBed();
});
afterAll(() => bed[Symbol.asyncDispose]());

describe('readiness', () => {
  it('comes before registration (go-zero #1427)', async () => {
    let ready = false;
    let asked!: () => void;
    const first = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const check = (): boolean => {
      asked();
      return ready;
    };
    const coming = bed.register({}, { checks: [{ check, intervalMs: 10 }] });
    await first;
    expect(await bed.stored()).toBeUndefined();
    ready = true;
    await using registration = await coming;
    expect(await bed.stored()).toMatchObject({ status: 'up' });
    expect(registration.checks).toMatchObject([{ name: 'check 1', passing: true }]);
  });

  it('is waited for no longer than was said', async () => {
    const waiting = bed.register({}, { checks: [{ check: () => false, intervalMs: 10 }], timeoutMs: 50 });
    await expect(waiting).rejects.toMatchObject({ code: 'wait-timeout' });
    expect(await bed.stored()).toBeUndefined();
  });

  it('is shown instead, if that is wanted', async () => {
    let well = false;
    const options = { checks: [{ check: () => well, intervalMs: 10, fall: 2 }], waitForReady: false };
    await using registration = await bed.register({}, options);
    const created = (await bed.eye.get(KEY))!.createRevision;
    for (const status of ['up', 'down', 'up']) {
      const from = await bed.eye.revision();
      const seen = untilEvent(bed.eye, from, 'put', (value) => value['status'] === status);
      well = status === 'up';
      await seen;
    }
    expect((await bed.eye.get(KEY))!.createRevision).toBe(created);
    expect(registration.instance.status).toBe('up');
  });
});

describe('a drain', () => {
  it('marks, waits for the news to spread, then for what is in flight, then goes', async () => {
    const registration = await bed.register();
    const from = (await bed.eye.get(KEY))!.modRevision;
    const marked = untilEvent(bed.eye, from, 'put', ({ status }) => status === 'draining');
    let finish!: () => void;
    let called!: () => void;
    const began = new Promise<void>((resolve) => {
      called = resolve;
    });
    const inFlight = (): Promise<void> =>
      new Promise((resolve) => {
        called();
        finish = resolve;
      });
    const drained = registration.drain({ propagationMs: 50, inFlight });
    expect(registration.state).toBe('draining');
    await marked;
    await began;
    expect(await bed.stored()).toMatchObject({ status: 'draining' });
    finish();
    await drained;
    expect(registration.state).toBe('ended');
    expect(await bed.stored()).toBeUndefined();
  });

  it('stays marked, whatever its checks say and whoever deletes it', async () => {
    let well = true;
    const registration = await bed.register({}, { checks: [{ check: () => well, intervalMs: 5, fall: 1 }] });
    let finish!: () => void;
    const inFlight = (): Promise<void> =>
      new Promise((resolve) => {
        finish = resolve;
      });
    const from = await bed.eye.revision();
    const drained = registration.drain({ propagationMs: 0, inFlight });
    await untilEvent(bed.eye, from, 'put', ({ status }) => status === 'draining');
    well = false;
    const before = await bed.eye.revision();
    const back = untilEvent(bed.eye, before, 'put', ({ status }) => status === 'draining');
    await bed.eye.delete(KEY);
    await back;
    finish();
    await drained;
  });

  it('is cut short by deregister, and once begun is not begun again', async () => {
    const registration = await bed.register();
    const drained = registration.drain({ propagationMs: 3_600_000 });
    expect(registration.drain()).toBe(drained);
    await registration.deregister();
    await drained;
    expect(await bed.stored()).toBeUndefined();
    expect(() => registration.drain({ propagationMs: -1 })).toThrow(/propagationMs/);
  });

  it('waits for what is in flight only so long, tells it so, and does not mind if it fails', async () => {
    const clock = new VirtualClock();
    let told: AbortSignal | undefined;
    const forever = (signal: AbortSignal): Promise<void> => {
      told = signal;
      return new Promise(() => {});
    };
    const skip = new AbortController();
    const quiet = waitForQuiet(
      clock,
      { propagationMs: 1_000, inFlight: forever, inFlightTimeoutMs: 500 },
      skip.signal,
    ).then(() => 'quiet');
    await clock.advance(1_499);
    expect(told!.aborted).toBe(false);
    await clock.advance(1);
    expect(await quiet).toBe('quiet');
    expect(told!.aborted).toBe(true);
    const failing = (): never => {
      throw new Error('no');
    };
    await waitForQuiet(clock, { propagationMs: 0, inFlight: failing }, AbortSignal.abort());
    const failed = waitForQuiet(clock, { propagationMs: 1, inFlight: failing }, skip.signal);
    await clock.advance(1);
    await failed;
    expect(clock.pending.all).toBe(0);
  });
});

describe('a signal of the process', () => {
  class FakeProcess implements SignalSource {
    readonly pid = 7;
    readonly listeners: [NodeJS.Signals, () => void][] = [];
    readonly killed: string[] = [];
    on(signal: NodeJS.Signals, listener: () => void): void {
      this.listeners.push([signal, listener]);
    }
    off(signal: NodeJS.Signals, listener: () => void): void {
      const index = this.listeners.findIndex(([name, known]) => name === signal && known === listener);
      this.listeners.splice(index, index < 0 ? 0 : 1);
    }
    listenerCount(signal: NodeJS.Signals): number {
      return this.listeners.filter(([name]) => name === signal).length;
    }
    kill(pid: number, signal: NodeJS.Signals): void {
      this.killed.push(`${pid} ${signal} with ${this.listenerCount(signal)}`);
    }
    emit(signal: NodeJS.Signals): void {
      for (const [name, listener] of [...this.listeners]) if (name === signal) listener();
    }
  }
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  it('is listened to until the work is done, once, and then ends the process as it would have', async () => {
    const source = new FakeProcess();
    let begun = 0;
    let finish!: () => void;
    const work = (): Promise<void> => {
      begun += 1;
      return new Promise((resolve) => {
        finish = resolve;
      });
    };
    atSignals(['SIGTERM', 'SIGINT'], work, source);
    source.emit('SIGTERM');
    source.emit('SIGTERM');
    source.emit('SIGINT');
    await settled();
    expect(begun).toBe(1);
    expect(source.killed).toEqual([]);
    finish();
    await settled();
    expect(source.killed).toEqual(['7 SIGTERM with 0']);
    expect(source.listeners).toEqual([]);
  });

  it('is left to the program where that listens too, and to nobody when it was taken off', async () => {
    const source = new FakeProcess();
    source.on('SIGTERM', () => {});
    atSignals(['SIGTERM'], () => Promise.reject(new Error('no')), source);
    source.emit('SIGTERM');
    await settled();
    expect(source.killed).toEqual([]);
    expect(source.listeners).toHaveLength(1);
    let begun = false;
    const takeOff = atSignals(
      ['SIGTERM'],
      async () => {
        begun = true;
      },
      source,
    );
    takeOff();
    source.emit('SIGTERM');
    expect(begun).toBe(false);
    expect(source.listeners).toHaveLength(1);
  });

  it('ends the process also where several drain at it, when the last one has', async () => {
    const source = new FakeProcess();
    const kill = source.kill.bind(source);
    // As the system does it: who still listens is told.
    source.kill = (pid, signal) => {
      kill(pid, signal);
      source.emit(signal);
    };
    const finish: (() => void)[] = [];
    for (let times = 0; times < 2; times++) {
      atSignals(['SIGTERM'], () => new Promise<void>((resolve) => finish.push(resolve)), source);
    }
    source.emit('SIGTERM');
    finish[0]?.();
    await settled();
    expect(source.killed).not.toContain('7 SIGTERM with 0');
    finish[1]?.();
    await settled();
    expect(source.killed.at(-1)).toBe('7 SIGTERM with 0');
    expect(finish).toHaveLength(2);
    // Whoever drains at a later one is not taken for somebody else either.
    atSignals(['SIGTERM'], async () => {}, source);
    source.killed.length = 0;
    source.emit('SIGTERM');
    await settled();
    expect(source.killed).toEqual(['7 SIGTERM with 0']);
  });

  it('drains a registration that was told to, and no other', async () => {
    const count = process.listenerCount('SIGTERM');
    await using other = await bed.register({ id: 'other' });
    expect(process.listenerCount('SIGTERM')).toBe(count);
    const own = (): void => {};
    process.on('SIGTERM', own);
    const registration = await bed.register({}, { drainOn: ['SIGTERM'], drain: { propagationMs: 0 } });
    process.emit('SIGTERM');
    await untilState(registration, 'ended');
    await settled();
    process.off('SIGTERM', own);
    expect(process.listenerCount('SIGTERM')).toBe(count);
    expect(other.state).toBe('registered');
    await using third = await bed.register({}, { drainOn: ['SIGTERM'] });
    expect(process.listenerCount('SIGTERM')).toBe(count + 1);
    await third.deregister();
    expect(process.listenerCount('SIGTERM')).toBe(count);
  });
});

describe("in Go's layout, whose readers know no status", () => {
  const layout = goLayout();

  /** A client whose first transaction is not answered, as far as the program knows; and that is left to `lost`. */
  function forgetful(lost: (send: () => Promise<unknown>) => Promise<void>): Etcd {
    const etcd = bed.cluster.client();
    const txn = etcd.txn.bind(etcd) as (...given: unknown[]) => Promise<unknown>;
    let isFirst = true;
    etcd.txn = (async (...given: unknown[]) => {
      if (!isFirst) return txn(...given);
      isFirst = false;
      // The signal is left out: what is under way gets there whatever becomes of its sender.
      await lost(() => txn(given[0]));
      throw new EtcdError('unavailable', 'no answer', { applied: 'maybe' });
    }) as never;
    return etcd;
  }

  /** A check that can be told to fail, and whether it is known to have failed. */
  function failing() {
    let well = true;
    let runs = 0;
    const check = (): boolean => {
      runs += 1;
      return well;
    };
    const fail = async (): Promise<void> => {
      well = false;
      // With the second run from now on the first has been reckoned with.
      const from = runs;
      await vi.waitFor(() => expect(runs).toBeGreaterThanOrEqual(from + 2), { timeout: 20_000 });
    };
    return { checks: [{ check, intervalMs: 1, fall: 1 }], fail };
  }

  it('an instance that is down has no key, although nothing was heard of the write that made it', async () => {
    const { checks, fail } = failing();
    await using etcd = forgetful(async (send) => {
      await send();
      await fail();
    });
    await using _registration = await Registration.start(etcd, layout, SPEC, { ttlSeconds: 5, checks });
    expect(await bed.eye.get('orders/a')).toBeUndefined();
  });

  it('nor when that write comes in later', async () => {
    const { checks, fail } = failing();
    let late = async (): Promise<unknown> => undefined;
    await using etcd = forgetful(async (send) => {
      late = send;
      await fail();
    });
    await using _registration = await Registration.start(etcd, layout, SPEC, { ttlSeconds: 5, checks });
    const from = await bed.eye.revision();
    expect(await late()).toMatchObject({ succeeded: true });
    const told: string[] = [];
    for await (const event of bed.eye.watch('orders/a', { from: (from + 1n) as Revision })) {
      told.push(event.type === 'put' ? JSON.parse(event.kv.value).Metadata.etcdkit.status : event.type);
      if (event.type === 'delete') break;
    }
    expect(told).toEqual(['up', 'down', 'delete']);
  });

  it('an instance has no key unless it is up, and says why before', async () => {
    let well = true;
    const checks = [{ check: () => well, intervalMs: 10, fall: 1 }];
    const registration = await Registration.start(bed.etcd, layout, SPEC, { ttlSeconds: 5, checks });
    const from = await bed.eye.revision();
    expect(JSON.parse((await bed.eye.get('orders/a'))!.value)).toMatchObject({ Op: 0, Addr: '10.0.0.7:8080' });
    const told: string[] = [];
    const watcher = bed.eye.watch({ prefix: 'orders/' }, { from: (from + 1n) as Revision });
    well = false;
    for await (const event of watcher) {
      if (event.type === 'delete') told.push('delete');
      else if (event.type === 'put') told.push(JSON.parse(event.kv.value).Metadata.etcdkit.status);
      // Back when it was gone, and gone when it is back.
      if (told.length === 2) well = true;
      if (told.length === 3) void registration.deregister();
      if (told.length === 5) break;
    }
    expect(told).toEqual(['down', 'delete', 'up', 'draining', 'delete']);
    await registration.deregister();
  });
});

import { describe, expect, it } from 'vitest';
import { type NetworkOptions, SimNetwork } from './network.ts';
import { Sfc32 } from './random.ts';
import { Scheduler } from './scheduler.ts';

const STEADY: NetworkOptions = {
  dropChance: 0,
  duplicateChance: 0,
  minDelayUs: 100,
  jitterUs: 0,
  slowChance: 0,
  slowUs: 0,
  ordered: false,
};

function world(options: Partial<NetworkOptions> = {}) {
  const scheduler = new Scheduler();
  const delivered: [from: number, to: number, message: number, atUs: number][] = [];
  const dropped: number[] = [];
  const network = new SimNetwork<number>({
    scheduler,
    random: new Sfc32(1),
    options: { ...STEADY, ...options },
    deliver: (from, to, message) => delivered.push([from, to, message, scheduler.nowUs]),
    dropped: (_from, _to, message) => dropped.push(message),
  });
  const run = (untilUs = 1_000_000): void => {
    while (scheduler.step(untilUs));
  };
  const send = (count: number, from = 1, to = 2): void => {
    for (let message = 0; message < count; message += 1) network.send(from, to, message);
  };
  const messages = (): number[] => delivered.map(([, , message]) => message);
  return { network, delivered, dropped, run, send, messages };
}

describe('SimNetwork', () => {
  it('delivers after its delay', () => {
    const { network, delivered, run } = world();
    network.send(3, 200, 7);
    run();
    expect(delivered).toEqual([[3, 200, 7, 100]]);
  });

  it('loses and doubles about as many as it is told to', () => {
    const { delivered, dropped, run, send } = world({ dropChance: 0.25, duplicateChance: 0.5 });
    send(10_000);
    run();
    expect(Math.abs(dropped.length - 2500)).toBeLessThan(200);
    expect(Math.abs(delivered.length - 7500 * 1.5)).toBeLessThan(300);
  });

  it('reorders, unless links keep their order', () => {
    const loose = world({ jitterUs: 1000 });
    loose.send(50);
    loose.run();
    expect(loose.messages()).not.toEqual(loose.messages().toSorted((a, b) => a - b));
    const ordered = world({ jitterUs: 1000, ordered: true });
    ordered.send(50);
    ordered.run();
    expect(ordered.messages()).toEqual(Array.from({ length: 50 }, (_, n) => n));
  });

  it('cuts one direction; what is underway arrives', () => {
    const { network, delivered, dropped, run } = world();
    network.send(1, 2, 10);
    network.cut(1, 2);
    network.send(1, 2, 11);
    network.send(2, 1, 12);
    run();
    expect(dropped).toEqual([11]);
    expect(delivered.map(([, , message]) => message)).toEqual([10, 12]);
    network.mend();
    network.send(1, 2, 13);
    run(2_000_000);
    expect(delivered).toHaveLength(3);
  });

  it('holds back until it is told to let go', () => {
    const { network, run, messages, send } = world();
    network.hold(1, 2);
    send(2);
    network.send(2, 1, 9);
    run();
    expect(messages()).toEqual([9]);
    network.release();
    run(2_000_000);
    expect(messages()).toEqual([9, 0, 1]);
  });

  it('loses what would come too late after a flush', () => {
    const { network, run, messages, dropped } = world({ slowChance: 1, slowUs: 1_000_000 });
    network.send(1, 2, 1);
    run(1);
    network.flush(10);
    network.options = STEADY;
    network.send(1, 2, 2);
    run(3_000_000);
    expect(messages()).toEqual([2]);
    expect(dropped).toEqual([1]);
  });
});

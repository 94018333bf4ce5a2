/** Who judges queues, sums and registers finds what was lost, doubled or taken out of turn, and nothing else. */
import { describe, expect, it } from 'vitest';
import { Queueing } from './items.ts';
import { gone, madeHistory, put } from './made-history.ts';
import { Registers } from './registers.ts';
import { Banking, Counting } from './sums.ts';

describe('The judge of queues', () => {
  const [first, second] = ['churn-queue/queue/items/1', 'churn-queue/queue/items/2'];

  function queueing({
    enqueued = [] as string[],
    refused = [] as string[],
    taken = [] as string[],
    unknown = 0,
  }): Queueing {
    const work = new Queueing('queue', 1);
    for (const value of enqueued) work.enqueued.add(value);
    for (const value of refused) work.refused.add(value);
    work.taken.push(...taken);
    work.unknownTakes = unknown;
    return work;
  }

  const both = madeHistory(put(first), put(second), gone(first), gone(second));

  it('lets each item come out once, or be lost by a taking of which nobody knows', () => {
    expect(queueing({ enqueued: ['a', 'b'], taken: ['a', 'b'] }).broken(both)).toEqual([]);
    expect(queueing({ enqueued: ['a', 'b'], taken: ['a'], unknown: 1 }).broken(both)).toEqual([]);
  });

  it('blames what is lost, comes twice, was refused, or is left', () => {
    expect(queueing({ enqueued: ['a', 'b'], taken: ['a'] }).broken(both).length).toBe(1);
    expect(queueing({ enqueued: ['a'], taken: ['a', 'a'] }).broken(both).length).toBe(1);
    expect(queueing({ refused: ['a'], taken: ['a'] }).broken(both).length).toBe(1);
    expect(queueing({ enqueued: ['a'], taken: ['a'] }).broken([]).length).toBe(1);
    expect(queueing({}).broken(madeHistory(put(first)))).toEqual([`churn-queue still has ${first}`]);
  });

  it('blames what is taken before what stands before it', () => {
    const events = madeHistory(put(first), put(second), gone(second), gone(first));
    expect(queueing({}).broken(events)).toEqual([`churn-queue: ${second} was taken at 3 before ${first}`]);
  });
});

describe('The judge of registers', () => {
  function registers(acknowledged: number[], unknown: number[] = [], refused: number[] = []): Registers {
    const work = new Registers();
    const written = { acknowledged, unknown: new Set(unknown), refused: new Set(refused) };
    work.written.set('churn-registers/0', written);
    return work;
  }
  const writes = (...values: number[]) =>
    madeHistory(...values.map((value) => put('churn-registers/0', String(value))));

  it('lets one of which nobody knows come at any time, or never', () => {
    expect(registers([1, 3, 4], [2]).broken(writes(1, 3, 2, 4))).toEqual([]);
    expect(registers([1, 3, 4], [2]).broken(writes(1, 3, 4))).toEqual([]);
  });

  it('blames what is lost, refused and written, written twice, or in another order', () => {
    expect(registers([1, 2]).broken(writes(1)).length).toBe(1);
    expect(registers([1], [], [2]).broken(writes(1, 2)).length).toBe(1);
    expect(registers([1]).broken(writes(1, 1)).length).toBe(1);
    expect(registers([1, 2]).broken(writes(2, 1)).length).toBe(1);
  });
});

describe('The judge of sums', () => {
  it('lets a counter be what was added, and what may have been', () => {
    const work = new Counting();
    work.added = 2;
    work.unknown = 1;
    const is = (value: number) => work.broken(madeHistory(put('churn-counter/value', String(value))));
    expect([is(1).length, is(2).length, is(3).length, is(4).length]).toEqual([1, 0, 0, 1]);
  });

  it('blames a transfer of which half is done, and a receipt too few or too many', () => {
    const account = (name: string, value: number) => put(`churn-bank/accounts/${name}`, String(value));
    const receipt = put('churn-bank/receipts/0-0');
    const work = new Banking();
    work.transfers = 1;
    expect(work.broken(madeHistory([account('a', 93), account('b', 107), receipt]))).toEqual([]);
    expect(work.broken(madeHistory([account('a', 93), receipt], account('b', 107))).length).toBe(1);
    expect(work.broken([]).length).toBe(1);
    work.unknown = 1;
    expect(work.broken(madeHistory(receipt, put('churn-bank/receipts/0-1')))).toEqual([]);
    expect(work.broken(madeHistory(receipt, receipt, receipt)).length).toBe(1);
  });
});

/** Who is picked, with suspects and without, on a clock that is a number. */
import { describe, expect, it } from 'vitest';
import { Picker, type PickerOptions } from '../../../../recipes/services/discovery/picker.ts';
import type { Metadata, ServiceInstance } from '../../../../recipes/services/instance.ts';
import { ids, instance, numbered } from './bed.ts';

function picker(count: number, options: PickerOptions = {}) {
  let nowMs = 0;
  const all = numbered(count).map((id) => instance(id));
  const tools = { now: () => nowMs, random: () => 0.5 };
  const made = new Picker<Metadata>({ balance: 'round-robin', ...options }, tools);
  made.update(all, new Set());
  return {
    all,
    picker: made,
    passed: (ms: number) => (nowMs += ms),
    /** The ids of the next picks; each is answered. */
    picks: (times: number): string[] =>
      Array.from({ length: times }, () => {
        const picked = made.pick({});
        picked?.done('cancelled');
        return picked?.instance.id ?? 'none';
      }),
    /** Sends requests until this one gets one, and says what came of it. */
    report(id: string, outcome: 'success' | 'failure'): void {
      for (let times = 0; times < 100; times++) {
        const picked = made.pick({});
        if (picked?.instance.id === id) return picked.done(outcome);
        picked?.done('cancelled');
      }
      throw new Error(`${id} is never picked`);
    },
  };
}

describe('a suspect', () => {
  it('stands back while another is there', () => {
    const { picker: orders, all, picks } = picker(3);
    orders.update(all, new Set(['a1', 'a2']));
    expect(new Set(picks(9))).toEqual(new Set(['a3']));
  });

  it('is picked when nobody else is left', () => {
    const { picker: orders, all, picks } = picker(3);
    orders.update(all, new Set(['a1', 'a2', 'a3']));
    expect(new Set(picks(9))).toEqual(new Set(['a1', 'a2', 'a3']));
  });

  it('that has answered a moment ago is as good as any, until it fails or that is too long ago', () => {
    const { picker: orders, all, picks, report, passed } = picker(3);
    report('a1', 'success');
    report('a2', 'success');
    passed(1_500);
    orders.update(all, new Set(['a1', 'a2']));
    expect(new Set(picks(9))).toEqual(new Set(['a1', 'a2', 'a3']));
    report('a1', 'failure');
    expect(new Set(picks(9))).toEqual(new Set(['a2', 'a3']));
    passed(500);
    expect(new Set(picks(9))).toEqual(new Set(['a3']));
  });

  it('that answers goes on being picked', () => {
    const { picker: orders, all, picks, report, passed } = picker(2);
    report('a1', 'success');
    orders.update(all, new Set(['a1']));
    for (let turn = 0; turn < 5; turn++) {
      passed(1_500);
      report('a1', 'success');
    }
    expect(new Set(picks(4))).toEqual(new Set(['a1', 'a2']));
  });
});

describe('what a request came to', () => {
  it('counts once, and as cancelled when nothing was said', () => {
    const reports: string[] = [];
    const { picker: orders } = picker(1, {
      balance: () => ({
        update: () => {},
        pick: ([first]) => first,
        done: ({ id }, { outcome, latencyMs }) => reports.push(`${id} ${outcome} ${latencyMs}`),
      }),
    });
    {
      using picked = orders.pick({});
      picked?.done('success');
      picked?.done('failure');
    }
    {
      using _picked = orders.pick({});
    }
    expect(reports).toEqual(['a1 success 0', 'a1 cancelled 0']);
  });

  it('takes an instance that fails out for a while, and not when that is off', () => {
    for (const [ejection, left] of [
      [{ consecutiveFailures: 2 }, 1],
      [false, 2],
    ] as const) {
      const { picks, report } = picker(2, { ejection });
      report('a1', 'failure');
      report('a1', 'failure');
      expect(new Set(picks(6)).size).toBe(left);
    }
  });
});

describe('a limit on the requests under way', () => {
  it('turns to another instance, and refuses when all are full', () => {
    const { picker: orders } = picker(2, { maxInFlight: 2 });
    const under = Array.from({ length: 4 }, () => orders.pick({})!);
    expect(under.map(({ instance: { id } }) => id).sort()).toEqual(['a1', 'a1', 'a2', 'a2']);
    expect([...orders.full].sort()).toEqual(['a1', 'a2']);
    expect(orders.pick({})).toBeUndefined();
    const first = under[0]!;
    first.done('cancelled');
    expect(orders.pick({})?.instance.id).toBe(first.instance.id);
    expect(orders.pick({})).toBeUndefined();
  });

  it('does not drive requests to those that are ejected or suspected, nor is it forgotten when one leaves', () => {
    const { picker: orders, all, report } = picker(3, { maxInFlight: 1, ejection: { consecutiveFailures: 1 } });
    report('a1', 'failure');
    orders.update(all, new Set(['a2']));
    const only = orders.pick({});
    expect(only?.instance.id).toBe('a3');
    expect(orders.pick({})).toBeUndefined();
    orders.update([], new Set());
    orders.update(all, new Set(['a2']));
    for (let times = 0; times < 5; times++) expect(orders.pick({})?.instance.id).not.toBe('a3');
    only?.done('success');
  });

  it('is none by default', () => {
    const { picker: orders } = picker(1);
    for (let times = 0; times < 10_000; times++) expect(orders.pick({})).toBeDefined();
    expect(orders.full.size).toBe(0);
  });
});

it('strategies see the same array until something changes', () => {
  const seen: (readonly ServiceInstance<unknown>[])[] = [];
  const {
    picker: orders,
    all,
    picks,
    passed,
  } = picker(3, {
    balance: () => ({
      update: () => {},
      pick(candidates) {
        seen.push(candidates as readonly ServiceInstance<unknown>[]);
        return candidates[0];
      },
      done: () => {},
    }),
  });
  picks(2);
  orders.update(all, new Set(['a1']));
  picks(2);
  expect(seen[0]).toBe(seen[1]);
  expect(seen[2]).toBe(seen[3]);
  expect(seen[2]).toHaveLength(2);
  // An answer of a suspect that is believed anyway changes nothing.
  orders.update(all, new Set());
  orders.pick({})?.done('success');
  orders.update(all, new Set(['a1']));
  for (let turn = 0; turn < 3; turn++) {
    passed(1_500);
    orders.pick({})?.done('success');
  }
  expect(ids(seen.at(-1) ?? [])).toEqual(['a1', 'a2', 'a3']);
  expect(seen.at(-1)).toBe(seen.at(-3));
});

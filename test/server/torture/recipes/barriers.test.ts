/** Who judges barriers and latches finds who passed too soon, and nobody else. */
import { describe, expect, it } from 'vitest';
import { Barring, Latching } from './barriers.ts';
import { Gathering } from './double-barrier.ts';
import { gone, madeHistory, place, put, type Txn } from './made-history.ts';

describe('The judge of the barrier', () => {
  const holder = 'churn-barrier/holder/1-a';
  const closed = 'churn-barrier/closed';
  const tick = put('churn-barrier-waiters/0');

  function broken(events: ReturnType<typeof madeHistory>, from: bigint, to: bigint): string[] {
    const work = new Barring();
    work.passes.push({ from, to });
    return work.broken(events);
  }

  it('lets pass whoever came when it was open, or saw it open', () => {
    const events = madeHistory(tick, place(holder), tick, gone(holder), place('churn-barrier/holder/2-b'), tick);
    expect(broken(events, 1n, 3n)).toEqual([]);
    expect(broken(events, 3n, 6n)).toEqual([]);
  });

  it('does not take one for a barrier that nobody ever shut', () => {
    expect(broken(madeHistory(tick, tick), 1n, 2n)).toEqual(['churn-barrier was never shut']);
  });

  it('blames who passed while it was held, or closed for good', () => {
    const held = madeHistory(place(holder), tick, tick, gone(holder));
    expect(broken(held, 2n, 3n)).toEqual(['churn-barrier: one passed from 2 to 3, and it was shut from 1 on']);
    expect(broken(madeHistory(put(closed), tick, tick), 2n, 3n).length).toBe(1);
    expect(broken(madeHistory(put(closed), gone(closed), put(closed), tick, tick), 4n, 5n).length).toBe(1);
  });
});

describe('The judge of the latch', () => {
  const remaining = (left: number) => put('churn-latch-0/remaining', String(left));
  const counted = (left: number, who: string) => [remaining(left), put(`churn-latch-0/done/${who}/`)];
  const opened = [...counted(0, 'c'), put('churn-latch-0/open')];
  const passed = put('churn-latch-passed/1', '0');
  const broken = (...txns: Txn[]) => new Latching().broken(madeHistory(...txns));

  it('lets pass when all have counted down', () => {
    expect(broken(remaining(3), counted(2, 'a'), counted(1, 'b'), opened, passed)).toEqual([]);
  });

  it('blames who passes before, one that counts twice, and one that opens too soon', () => {
    expect(broken(remaining(3), counted(2, 'a'), counted(1, 'b'), passed).length).toBe(1);
    expect(broken(passed).length).toBe(1);
    expect(broken(remaining(3), counted(2, 'a'), counted(1, 'a')).length).toBe(1);
    expect(broken(remaining(3), counted(1, 'a')).length).toBe(1);
    expect(broken(remaining(3), [...counted(2, 'a'), put('churn-latch-0/open')]).length).toBe(1);
    expect(broken(remaining(3), counted(2, 'a'), remaining(3)).length).toBe(1);
  });
});

describe('The judge of the double barrier', () => {
  const name = 'churn-double-barrier';
  const [a, b, c] = [`${name}/1-a`, `${name}/2-b`, `${name}/3-c`];
  const inRound = (key: string, left = false) => place(key, { round: '1', left });
  const begin = [inRound(a), inRound(b)];
  const broken = (...txns: Txn[]) => new Gathering().broken(madeHistory(...txns));
  const inside = put(`${name}-inside`, '1');
  const left = put(`${name}-left`, '1');

  it('lets a whole round begin, and end', () => {
    expect(broken(place(a, {}), place(b, {}), begin, inside, inRound(a, true), inRound(b, true), left)).toEqual([]);
    // Who dies inside counts as gone.
    expect(broken(place(a, {}), place(b, {}), begin, inside, inRound(a, true), gone(b), left)).toEqual([]);
  });

  it('blames a round that begins in pieces, or with too few or too many', () => {
    expect(broken(place(a, {}), place(b, {}), inRound(a), inRound(b))[0]).toContain('round 1 began at 3, and at 4');
    expect(broken(place(a, {}), inRound(a))).toEqual([`${name}: round 1 began with 1`]);
    expect(broken([...begin, inRound(c)])).toEqual([`${name}: round 1 began with 3`]);
  });

  it('blames who is inside before it begins, and who has left while another is inside', () => {
    expect(broken(place(a, {}), inside, begin)).toEqual([`${name}: one was inside 1 at 2, and 0 had begun`]);
    expect(broken(begin, inRound(a, true), left)).toEqual([`${name}: one had left 1 at 3, and 1 had not`]);
  });

  it('blames who ends the round while another is inside', () => {
    expect(broken(begin, inRound(a, true), inRound(b, true), [gone(a), gone(b)])).toEqual([]);
    expect(broken(begin, inRound(a, true), [gone(a), gone(b)])).toEqual([
      `${name}: round 1 ended at 3 with one inside`,
    ]);
  });
});

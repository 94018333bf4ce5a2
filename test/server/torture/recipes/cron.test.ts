/** Who judges the cron finds ticks that were claimed twice, left out, or written of without a claim. */
import { describe, expect, it } from 'vitest';
import { Ticking } from './cron.ts';
import { gone, madeHistory, place, put, type Txn } from './made-history.ts';

const tick = (second: number): string => new Date(Date.UTC(2026, 6, 1, 12, 0, second)).toISOString();
const claimOf = (second: number, nonce = 'a'): string => `churn-cron/tick/claims/${second}-${nonce}`;
const claimed = (second: number, nonce?: string) => place(claimOf(second, nonce), { tick: tick(second) });
const begun = (second: number) => put(`churn-cron/tick/runs/${tick(second)}`);
const begin = (second: number, nonce?: string) => [claimed(second, nonce), begun(second)];
const effect = (second: number, token: number) => put(`churn-cron-effects/${tick(second)}`, String(token));
const broken = (...txns: Txn[]) => new Ticking().broken(madeHistory(...txns));

describe('The judge of the cron', () => {
  it('lets one tick after another be run, and forgotten', () => {
    const first = [begin(1), effect(1, 1), begun(1), gone(claimOf(1))];
    expect(broken(...first, begin(2), gone(claimOf(2)), gone(`churn-cron/tick/runs/${tick(1)}`), begin(3))).toEqual([]);
  });

  it('blames a tick that is claimed twice, left out, or before the one before it', () => {
    expect(broken(begin(1), gone(claimOf(1)), gone(`churn-cron/tick/runs/${tick(1)}`), begin(1, 'b')).length).toBe(1);
    expect(broken(begin(1), gone(claimOf(1)), claimed(1, 'b')).length).toBe(1);
    expect(broken(begin(1), gone(claimOf(1)), begin(3)).length).toBe(1);
    expect(broken(begin(2), gone(claimOf(2)), begin(1)).length).toBe(1);
  });

  it('blames two runs at once', () => {
    expect(broken(begin(1), begin(2))).toEqual(['churn-cron: two runs at once at 2']);
  });

  it('blames a run that writes twice, or without its claim', () => {
    expect(broken(begin(1), effect(1, 1), effect(1, 1)).length).toBe(1);
    expect(broken(begin(1), gone(claimOf(1)), effect(1, 1)).length).toBe(1);
    expect(broken(begin(1), effect(2, 1)).length).toBe(1);
  });

  it('blames a handler that was called twice with a tick', () => {
    const work = new Ticking();
    work.ran.push(tick(1), tick(2), tick(1));
    expect(work.broken([]).length).toBe(1);
  });
});

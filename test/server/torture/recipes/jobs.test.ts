/** Who judges the work queue finds jobs that were lost, done twice, or done by who had no claim to them. */
import { describe, expect, it } from 'vitest';
import { Working } from './jobs.ts';
import { gone, madeHistory, place, put, type Txn } from './made-history.ts';

const job = put('churn-work/work/jobs/7', 'a');
const [claim, other] = ['churn-work/work/inflight/claims/1/7', 'churn-work/work/inflight/claims/2/7'];
const effect = (token: number) => put('churn-work-effects/a', String(token));
const done = (token: number, by = claim) => [effect(token), gone('churn-work/work/jobs/7'), gone(by)];

function broken(
  { enqueued = [] as string[], refused = [] as string[], acked = [] as bigint[] },
  ...txns: Txn[]
): string[] {
  const work = new Working();
  for (const value of enqueued) work.enqueued.add(value);
  for (const value of refused) work.refused.add(value);
  if (acked.length > 0) work.acked.set('a', acked);
  return work.broken(madeHistory(...txns));
}

describe('The judge of the work queue', () => {
  it('lets a job be done once, under the claim that it has at last', () => {
    expect(broken({ enqueued: ['a'], acked: [2n] }, job, place(claim), done(2))).toEqual([]);
    expect(
      broken({ enqueued: ['a'], acked: [4n] }, job, place(claim), gone(claim), place(other), done(4, other)),
    ).toEqual([]);
    // Nobody knows that it was put, or that it was acked.
    expect(broken({}, job, place(claim), done(2))).toEqual([]);
  });

  it('blames a job that is lost, left, or done though it was refused', () => {
    expect(broken({ enqueued: ['a'] }, job, place(claim), [gone('churn-work/work/jobs/7'), gone(claim)])).toEqual([
      'churn-work has lost a',
    ]);
    expect(broken({}, job, place(claim))).toEqual(['churn-work still has a']);
    expect(broken({ refused: ['a'] }, job, place(claim), done(2)).length).toBe(1);
  });

  it('blames two claims at once, and one of a job that is done', () => {
    expect(broken({}, job, place(claim), place(other), done(3, other))[0]).toBe('churn-work: two claim 7 at 3');
    expect(broken({}, job, place(claim), done(2), place(other))).toEqual(['churn-work: 7 is claimed at 4 and is done']);
  });

  it('blames what is done twice, without its job, or under another claim', () => {
    const again = [put('churn-work/work/jobs/8', 'a'), place('churn-work/work/inflight/claims/1/8')];
    const doneAgain = [effect(4), gone('churn-work/work/jobs/8'), gone('churn-work/work/inflight/claims/1/8')];
    expect(broken({}, job, place(claim), done(2), again, doneAgain)).toEqual(['churn-work: a was done again at 5']);
    expect(broken({}, job, place(claim), effect(2), done(2)).length).toBe(2);
    expect(broken({}, job, place(claim), gone(claim), place(other), done(2, other)).length).toBe(1);
  });

  it('blames an ack that the keys do not bear out', () => {
    expect(broken({ acked: [2n, 4n] }, job, place(claim), done(2)).length).toBe(1);
    expect(broken({ acked: [9n] }, job, place(claim), done(2)).length).toBe(1);
  });
});

/** Who judges groups and services finds who was there and should not be, and what was told of nobody. */
import { describe, expect, it } from 'vitest';
import type { Revision } from '../../../../src/index.ts';
import { gone, madeHistory, place, put, type Txn } from './made-history.ts';
import { Joining, type Told } from './members.ts';
import { Serving } from './services.ts';

const [first, second] = ['churn-group/members/a/1-a', 'churn-group/members/a/2-b'];
const says = (key: string) => put('churn-group-data/a', key);

function broken(told: readonly Omit<Told, 'id'>[], ...txns: Txn[]): string[] {
  const work = new Joining();
  work.told.push(...told.map((each) => ({ ...each, id: 'a' })));
  return work.broken(madeHistory(...txns, put('churn-end')));
}

const tell = (type: Told['type'], key: string, revision: number) => ({
  type,
  key,
  revision: BigInt(revision) as Revision,
});

describe('The judge of a group', () => {
  it('lets one member have an id after the other', () => {
    const txns = [place(first, '1'), place(second, '1'), says(first), gone(first), says(second)];
    const told = [tell('joined', first, 2), tell('left', first, 4), tell('joined', second, 4)];
    expect(broken(told, ...txns)).toEqual([]);
  });

  it('blames who is a member while another has the id, or when it has left', () => {
    expect(broken([], place(first, '1'), place(second, '1'), says(second)).length).toBe(1);
    expect(broken([], place(first, '1'), gone(first), says(first)).length).toBe(1);
  });

  it('blames a member that takes something back', () => {
    expect(broken([], place(first, '1'), place(first, '3'), place(first, '2')).length).toBe(1);
  });

  it('blames an onlooker who is told what was not so', () => {
    expect(broken([tell('joined', second, 2)], place(first, '1'), place(second, '1')).length).toBe(1);
    expect(broken([tell('left', first, 1)], place(first, '1')).length).toBe(1);
    expect(broken([tell('updated', first, 2)], place(first, '1'), gone(first)).length).toBe(1);
  });
});

describe('The judge of services', () => {
  const record = put('churn-services/orders/0-1');
  const marked = put('churn-services-gone/0-1');
  const left = gone('churn-services/orders/0-1');

  it('lets an instance come and go', () => {
    expect(new Serving().broken(madeHistory(record, record, left, marked))).toEqual([]);
  });

  it('blames one that is there, or written, after it was deregistered', () => {
    expect(new Serving().broken(madeHistory(record, marked, left)).length).toBe(1);
    expect(new Serving().broken(madeHistory(record, left, marked, record)).length).toBe(1);
  });
});

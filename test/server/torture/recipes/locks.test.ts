/** Who judges locks, elections and permits finds what is wrong with a history, and nothing else. */
import { describe, expect, it } from 'vitest';
import { Electing, Excluding, Permitting, ReadingAndWriting } from './locks.ts';
import { gone, madeHistory, place, put, type Txn } from './made-history.ts';

describe('The judge of the mutex', () => {
  const [a, b] = ['churn-lock/1-a', 'churn-lock/2-b'];
  const says = (token: number) => put('churn-lock-data', String(token));

  it('lets the oldest write', () => {
    const events = madeHistory(place(a), says(1), place(b), says(1), gone(a), says(3));
    expect(new Excluding().broken(events)).toEqual([]);
  });

  it('blames who writes while another is older, and who has gone', () => {
    const early = madeHistory(place(a), place(b), says(2));
    expect(new Excluding().broken(early)).toEqual(['churn-lock-data: a write at 3 by 2, while there were 1,2']);
    const late = madeHistory(place(a), place(b), says(1), gone(a), says(1));
    expect(new Excluding().broken(late)).toEqual(['churn-lock-data: a write at 5 by 1, while there were 2']);
  });

  it('blames a token that goes back', () => {
    const events = madeHistory(place(a), place(b), gone(a), says(2), gone(b), says(1));
    expect(new Excluding().broken(events)).toContain('churn-lock-data: a write by 1 after one by 2');
  });

  it('blames a write that was acknowledged and is lost', () => {
    const work = new Excluding();
    work.done = 2;
    expect(work.broken(madeHistory(place(a), says(1), says(1)))).toEqual([]);
    expect(work.broken(madeHistory(place(a), says(1))).length).toBe(1);
  });

  it('takes a key without a lease for nobody', () => {
    expect(new Excluding().broken(madeHistory(put(a), place(b), says(2)))).toEqual([]);
  });
});

describe('The judge of the election', () => {
  it('blames a term that two lead', () => {
    const work = new Electing();
    work.leaders.set(5n, new Set(['x']));
    expect(work.broken([])).toEqual([]);
    work.leaders.set(6n, new Set(['x', 'y']));
    expect(work.broken([])).toEqual(['term 6 is led by x,y']);
  });
});

describe('The judge of the read-write mutex', () => {
  const name = 'churn-rwmutex';
  const [reader, other, writer] = [`${name}/read/1-a`, `${name}/read/2-b`, `${name}/write/3-c`];
  const says = (token: number) => put(`${name}-data`, String(token));
  const broken = (...txns: Txn[]) => new ReadingAndWriting().broken(madeHistory(...txns));

  it('lets readers write together, one writer alone, and one that goes on as a reader', () => {
    expect(broken(place(reader, {}), place(other, {}), says(2), says(1))).toEqual([]);
    expect(broken(place(writer, {}), place(reader, {}), says(1), gone(writer), says(2))).toEqual([]);
    expect(broken(place(writer, {}), place(reader, {}), place(writer, { mode: 'read' }), says(2), says(1))).toEqual([]);
  });

  it('blames a reader before whom a writer came, and a writer before whom anybody did', () => {
    expect(broken(place(writer, {}), place(reader, {}), says(2)).length).toBe(1);
    expect(broken(place(reader, {}), place(writer, {}), says(2)).length).toBe(1);
    expect(broken(place(`${name}/write/4-d`, {}), place(writer, {}), says(2)).length).toBe(1);
  });
});

describe('The judge of the semaphore', () => {
  const name = 'churn-semaphore';
  const holds = (who: string, permits: number) => place(`${name}/permits/1-${who}`, { permits });
  const says = (token: number) => put(`${name}-data`, String(token));
  const broken = (...txns: Txn[]) => new Permitting().broken(madeHistory(...txns));

  it('lets as many permits be held as there are', () => {
    expect(broken(holds('a', 1), holds('b', 2), holds('c', 1), says(2), says(1))).toEqual([]);
    expect(broken(holds('a', 1), holds('b', 2), holds('c', 1), gone(`${name}/permits/1-a`), says(3))).toEqual([]);
  });

  it('blames one more', () => {
    expect(broken(holds('a', 1), holds('b', 2), holds('c', 1), says(3)).length).toBe(1);
    expect(broken(holds('a', 2), holds('b', 2), says(2)).length).toBe(1);
  });
});

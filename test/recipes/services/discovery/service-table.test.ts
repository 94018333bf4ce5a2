/** What a table makes of lists and changes. */
import { describe, expect, it } from 'vitest';
import { protectSettings } from '../../../../recipes/services/discovery/protection.ts';
import { ServiceTable } from '../../../../recipes/services/discovery/service-table.ts';
import type { Metadata } from '../../../../recipes/services/instance.ts';
import { ids, layout, numbered, stored } from './bed.ts';

function table(list = numbered(4)) {
  let nowMs = 0;
  const made = new ServiceTable<Metadata>('orders', layout, protectSettings({}), () => nowMs);
  made.replace(list.map((id) => stored(id)));
  return { table: made, passed: (ms: number) => (nowMs += ms) };
}

const gone = (id: string) => ({ key: layout.keyOf('orders', id), value: undefined });
const bad = (id: string, text = '{') => ({ key: layout.keyOf('orders', id), value: Buffer.from(text) });
const told = (changes: readonly { type: string; instance: { id: string } }[]) =>
  changes.map(({ type, instance }) => `${type} ${instance.id}`);

describe('a change', () => {
  it('is told as the difference between before and after', () => {
    const { table: orders } = table();
    const changes = orders.apply([stored('a1', { weight: 2 }), gone('a2'), stored('a5'), stored('a6'), gone('a6')]);
    expect(told(changes)).toEqual(['updated a1', 'removed a2', 'added a5']);
    expect(changes[0]).toMatchObject({ instance: { weight: 2 }, previous: { weight: 1 } });
    expect(ids(orders.registered)).toEqual(['a1', 'a3', 'a4', 'a5']);
  });

  it('that changes nothing is none, and leaves the list the same', () => {
    const { table: orders } = table();
    const { registered } = orders;
    expect(orders.apply([stored('a1')])).toEqual([]);
    expect(orders.replace(numbered(4).map((id) => stored(id)))).toEqual([]);
    expect(orders.registered).toBe(registered);
  });
});

describe('an entry that cannot be used', () => {
  it('is told, and the others are as they were', () => {
    const { table: orders } = table();
    expect(orders.apply([bad('a9', 'secret'), stored('a5')]).map(({ type }) => type)).toEqual(['added']);
    expect(orders.bad).toEqual([{ key: layout.keyOf('orders', 'a9'), problem: 'the value is not JSON' }]);
    orders.apply([gone('a9')]);
    expect(orders.bad).toEqual([]);
  });

  it('leaves its instance as it was before, by a change and by a list', () => {
    const { table: orders } = table();
    orders.apply([bad('a1')]);
    expect(ids(orders.registered)).toContain('a1');
    orders.replace([
      bad('a1'),
      ...numbered(4)
        .slice(1)
        .map((id) => stored(id)),
    ]);
    expect(ids(orders.registered)).toContain('a1');
    expect(orders.bad).toHaveLength(1);
    orders.apply([stored('a1')]);
    expect(orders.bad).toEqual([]);
  });

  it('goes with its key, also when a list no longer has it', () => {
    const { table: orders } = table();
    orders.apply([bad('a1'), bad('a9')]);
    orders.replace(
      numbered(4)
        .slice(1)
        .map((id) => stored(id)),
    );
    expect(ids(orders.registered)).toEqual(['a2', 'a3', 'a4']);
    expect(orders.bad).toEqual([]);
  });
});

describe('instances that vanish', () => {
  it('stay as suspects when they are too many, and are told as nothing', () => {
    const { table: orders } = table();
    expect(orders.replace([])).toEqual([]);
    expect(ids(orders.registered)).toEqual(numbered(4));
    expect([...orders.suspects].sort()).toEqual(numbered(4));
  });

  it('are told as added again when those after them show that it is a mass', () => {
    const { table: orders } = table();
    expect(told(orders.apply([gone('a1'), gone('a2')]))).toEqual(['removed a1', 'removed a2']);
    expect(told(orders.apply([gone('a3')]))).toEqual(['added a1', 'added a2']);
    expect(ids(orders.registered)).toEqual(numbered(4));
  });

  it('go at once when they have said so, whether the two came together or not', () => {
    const { table: orders } = table();
    orders.apply([stored('a1', { status: 'draining' }), gone('a1')]);
    orders.apply(['a2', 'a3', 'a4'].map((id) => stored(id, { status: 'draining' })));
    orders.apply(['a2', 'a3', 'a4'].map(gone));
    expect(orders.registered).toEqual([]);
    expect(orders.suspects.size).toBe(0);
  });

  it('are suspects no longer when they come back', () => {
    const { table: orders } = table();
    orders.replace([]);
    orders.apply([stored('a1')]);
    orders.replace([stored('a1'), stored('a2')]);
    expect([...orders.suspects].sort()).toEqual(['a3', 'a4']);
  });

  it('are gone when somebody else has registered their address', () => {
    const { table: orders } = table();
    orders.replace([]);
    const changes = orders.apply([stored('b1', { address: 'a1.example' })]);
    expect(told(changes)).toEqual(['added b1', 'removed a1']);
    expect([...orders.suspects].sort()).toEqual(['a2', 'a3', 'a4']);
  });

  it('are removed when their grace is over', () => {
    const { table: orders, passed } = table();
    orders.replace([stored('a1')]);
    passed(29_999);
    expect(orders.review(false)).toEqual([]);
    passed(1);
    expect(told(orders.review(false))).toEqual(['removed a2', 'removed a3', 'removed a4']);
    expect(ids(orders.registered)).toEqual(['a1']);
  });
});

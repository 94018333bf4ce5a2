import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Schedule, type Scheduled } from '../../../src/client/lease/schedule.ts';

interface Item extends Scheduled {
  readonly name: number;
}

describe('Schedule', () => {
  it('always has the earliest item first, whatever is put in, moved and taken out', () => {
    const change = fc.record({ name: fc.nat(15), at: fc.nat(50), remove: fc.boolean() });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 200 }), (changes) => {
        const schedule = new Schedule<Item>();
        const items = Array.from({ length: 16 }, (_, name): Item => ({ name, at: 0, slot: -1 }));
        const model = new Map<number, number>();
        for (const { name, at, remove } of changes) {
          const item = items[name] as Item;
          if (remove) {
            schedule.remove(item);
            model.delete(name);
          } else {
            schedule.set(item, at);
            model.set(name, at);
          }
          expect(schedule.first?.at).toBe(model.size === 0 ? undefined : Math.min(...model.values()));
        }
        const drained: number[] = [];
        for (let first = schedule.first; first !== undefined; first = schedule.first) {
          drained.push(first.at);
          schedule.remove(first);
        }
        expect(drained).toEqual([...model.values()].sort((a, b) => a - b));
        expect(items.every(({ slot }) => slot === -1)).toBe(true);
      }),
    );
  });
});

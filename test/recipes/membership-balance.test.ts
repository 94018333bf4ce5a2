import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { balance } from '../../recipes/membership/balance.ts';

const RUNS = { numRuns: 1_000 };

/** Some members, some partitions, and any claims on them: by members, by nobody, or by one who is no member (any more). */
const states = fc
  .record({ members: fc.integer({ min: 1, max: 7 }), partitions: fc.integer({ min: 1, max: 20 }) })
  .chain(({ members, partitions }) =>
    fc.record({
      members: fc.constant(Array.from({ length: members }, (_, n) => `m${n}`)),
      partitions: fc.constant(Array.from({ length: partitions }, (_, n) => `p${n}`)),
      owners: fc.array(fc.integer({ min: -2, max: members - 1 }), { minLength: partitions, maxLength: partitions }),
    }),
  )
  .map(({ members, partitions, owners }) => ({
    members,
    partitions,
    owners: new Map(
      owners.flatMap((owner, n): [string, string][] =>
        owner === -1 ? [] : [[partitions[n]!, owner === -2 ? 'stranger' : members[owner]!]],
      ),
    ),
  }));

function counts(members: readonly string[], plan: ReadonlyMap<string, string>): number[] {
  return members.map((member) => [...plan.values()].filter((owner) => owner === member).length);
}

describe('balancing partitions', () => {
  it('gives every partition that is free to give, and nobody more than one more than another', () => {
    fc.assert(
      fc.property(states, ({ members, partitions, owners }) => {
        const plan = balance(members, partitions, owners);
        const available = partitions.filter((partition) => owners.get(partition) !== 'stranger');
        expect([...plan.keys()].sort()).toEqual([...available].sort());
        const each = counts(members, plan);
        expect(Math.max(...each) - Math.min(...each)).toBeLessThanOrEqual(1);
      }),
      RUNS,
    );
  });

  it('moves as few as that allows', () => {
    fc.assert(
      fc.property(states, ({ members, partitions, owners }) => {
        const plan = balance(members, partitions, owners);
        const owned = counts(members, owners).sort((a, b) => b - a);
        const available = partitions.filter((partition) => owners.get(partition) !== 'stranger').length;
        const base = Math.floor(available / members.length);
        const extra = available % members.length;
        // The most that can stay: those who have the most get the larger shares.
        const most = owned.reduce((sum, count, n) => sum + Math.min(count, base + (n < extra ? 1 : 0)), 0);
        const kept = [...owners].filter(([partition, owner]) => plan.get(partition) === owner).length;
        expect(kept).toBe(most);
      }),
      RUNS,
    );
  });

  it('stays the same while it is acted on, in whatever order', () => {
    fc.assert(
      fc.property(states, fc.infiniteStream(fc.nat()), ({ members, partitions, owners }, picks) => {
        const plan = balance(members, partitions, owners);
        const now = new Map(owners);
        for (;;) {
          expect(balance(members, partitions, now)).toEqual(plan);
          // What can be done next: give up what one is not to have, or claim what is free.
          const moves = [...plan].filter(([partition, owner]) => now.get(partition) !== owner);
          if (moves.length === 0) break;
          const [partition, owner] = moves[picks.next().value! % moves.length]!;
          if (now.has(partition)) now.delete(partition);
          else now.set(partition, owner);
        }
      }),
      RUNS,
    );
  });

  it('does not depend on the order in which claims are read, and gives nothing without members', () => {
    fc.assert(
      fc.property(states, ({ members, partitions, owners }) => {
        const turned = new Map([...owners].reverse());
        expect(balance(members, partitions, turned)).toEqual(balance(members, partitions, owners));
        expect(balance([], partitions, owners).size).toBe(0);
      }),
      RUNS,
    );
  });
});

/** The log against a plain list, under random work: whatever is stable or compacted, it reads the same. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RaftLog } from '../../../../src/server/raft/log/raft-log.ts';
import { MemoryStorage } from '../../../../src/server/raft/log/storage.ts';
import { entriesSize, NO_LIMIT } from '../../../../src/server/raft/size.ts';
import type { Entry } from '../../../../src/server/raft/types.ts';
import { entry } from '../support.ts';

/** Where an entry of the list is: at its index. */
type Model = { list: Entry[]; first: number; term: number };

const work = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('append'), at: fc.nat(), sizes: fc.array(fc.nat(200), { maxLength: 5 }) }),
  },
  fc.record({ do: fc.constantFrom('write', 'commit', 'apply', 'compact'), at: fc.nat() }),
);
type Work = { readonly do: string; readonly at: number; readonly sizes?: number[] };

/** A number from `low` to `high`, both included. */
const between = (low: number, high: number, at: number) => low + (at % (high - low + 1));

function perform(log: RaftLog, storage: MemoryStorage, model: Model, { do: what, at, sizes = [] }: Work): void {
  const last = model.list.length - 1;
  if (what === 'append') {
    const from = between(log.committed + 1, last + 1, at);
    model.term += 1;
    const entries = sizes.map((size, nth) => entry(model.term, from + nth, 'x'.repeat(size)));
    if (entries.length > 0) model.list = [...model.list.slice(0, from), ...entries];
    log.append(entries);
  } else if (what === 'write') {
    // The disk may have done some of it only.
    const written = log.unstable.entries.slice(0, between(0, log.unstable.entries.length, at));
    storage.append(written);
    const end = written.at(-1);
    if (end) expect(log.unstable.stableTo(end)).toBe('stable');
  } else if (what === 'commit') log.commitTo(between(log.committed, last, at));
  else if (what === 'apply') log.appliedTo(between(log.applied, log.committed, at), 0);
  else {
    const upTo = Math.min(between(model.first - 1, log.applied, at), storage.lastIndex());
    storage.compact(upTo);
    model.first = Math.max(model.first, upTo + 1);
  }
}

function check(log: RaftLog, { list, first }: Model, low: number, high: number, maxBytes: number): void {
  const last = list.length - 1;
  expect([log.firstIndex(), log.lastIndex()]).toEqual([first, last]);
  expect(log.term(first - 2)).toBe('compacted');
  for (let index = first - 1; index <= last; index += 1) expect(log.term(index)).toBe(list[index]?.term);
  expect(log.term(last + 1)).toBe('unavailable');
  const [from, to] = [between(first, last + 1, low), between(first, last + 1, high)];
  const [lower, upper] = [Math.min(from, to), Math.max(from, to)];
  const expected = list.slice(lower, upper);
  while (expected.length > 1 && entriesSize(expected) > maxBytes) expected.pop();
  expect(log.slice(lower, upper, maxBytes)).toEqual(expected);
}

describe('RaftLog', () => {
  it('reads like a list, with as many entries as fit, across what is stable and what is not', () => {
    const limit = fc.oneof(fc.nat(900), fc.constant(NO_LIMIT));
    fc.assert(
      fc.property(fc.array(fc.tuple(work, fc.nat(), fc.nat(), limit), { maxLength: 40 }), (all) => {
        const storage = new MemoryStorage();
        const log = new RaftLog(storage);
        const model: Model = { list: [entry(0, 0)], first: 1, term: 0 };
        for (const [one, low, high, maxBytes] of all) {
          perform(log, storage, model, one);
          check(log, model, low, high, maxBytes);
        }
      }),
      { numRuns: 600 },
    );
  });
});

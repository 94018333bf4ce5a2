import { describe, expect, it } from 'vitest';
import { confChangeEntry, EMPTY_CONF_STATE, type Snapshot } from '../../../../../src/server/raft/index.ts';
import { bytes, entry, id, ids, snapshot } from '../../support/parts.ts';
import { TraceMember } from './member.ts';

const CONFIG = { electionTicks: 3, heartbeatTicks: 1, random: () => 0 };

function founded(start: Snapshot): TraceMember {
  return new TraceMember(id(1), { ...CONFIG, applied: start.index }, start, true);
}

describe('a member of a trace', () => {
  it('appends what it applies to its state, and keeps each state', () => {
    const member = founded({ ...snapshot(2, 1, [1]), data: bytes('a') });
    const change = confChangeEntry({ type: 'add-learner', nodeId: id(2), id: 1n, context: bytes('c') });
    member.apply([entry(1, 3, 'b'), { ...change, term: 1, index: 4 }, entry(2, 5)]);
    const texts = member.storage.history.map(({ data, index, term }) => [new TextDecoder().decode(data), index, term]);
    expect(texts).toEqual([
      ['a', 2, 1],
      ['ab', 3, 1],
      ['abc', 4, 1],
      ['abc', 5, 2],
    ]);
    const learners = member.storage.history.map(({ confState }) => confState.learners);
    expect(learners).toEqual([[], [], ids(2), ids(2)]);
    expect(member.storage.snapshot()).toBe(member.storage.newest);
  });

  it('stores a snapshot from elsewhere, and has it not among its states', () => {
    const member = founded(snapshot(2, 1, [1]));
    const later = snapshot(9, 3, [1]);
    member.write({ hardState: undefined, entries: [], snapshot: later });
    expect(member.storage.firstIndex()).toBe(10);
    expect(member.storage.newest.index).toBe(2);
  });

  it('starts from nothing', () => {
    const nothing = { index: 0, term: 0, data: bytes(''), confState: EMPTY_CONF_STATE };
    const member = new TraceMember(id(1), CONFIG, nothing, false);
    expect([member.storage.firstIndex(), member.storage.lastIndex()]).toEqual([1, 0]);
    expect(member.storage.newest).toBe(nothing);
  });

  it('does not write a snapshot and entries at once', () => {
    const write = { hardState: undefined, entries: [entry(1, 3)], snapshot: snapshot(2, 1, [1]) };
    expect(() => founded(snapshot(2, 1, [1])).write(write)).toThrow(
      "can't apply snapshot and entries at the same time",
    );
  });
});

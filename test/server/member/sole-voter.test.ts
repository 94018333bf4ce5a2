import { describe, expect, it } from 'vitest';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { SoleVoter } from '../../../src/server/member/sole-voter.ts';
import { confChangeEntry, MemoryStorage, RawNode } from '../../../src/server/raft/index.ts';

const [own, other] = [1n as MemberId, 2n as MemberId];

/** A member that comes back with a log of committed entries, the first of which adds itself. */
function comingBack(adds: readonly MemberId[]): RawNode {
  const storage = new MemoryStorage();
  const entries = adds.map((nodeId, at) => ({
    ...confChangeEntry({ type: 'add-voter', nodeId, id: 0n, context: new Uint8Array(0) }),
    term: 1,
    index: at + 1,
  }));
  storage.append(entries);
  storage.setHardState({ term: 1, vote: 0n as MemberId, commit: entries.length });
  return new RawNode({ id: own, storage, electionTicks: 10, heartbeatTicks: 1, random: () => 0 });
}

/** Applies the next entry. */
function apply(node: RawNode, nodeId: MemberId): void {
  node.applyConfChange({ type: 'add-voter', nodeId, id: 0n, context: new Uint8Array(0) });
  node.raft.log.appliedTo(node.raft.log.applied + 1, 0);
}

describe('a member that decides alone', () => {
  it('stands once all is applied that was committed at its start, and once', () => {
    const node = comingBack([own]);
    const sole = new SoleVoter(node);
    expect([sole.decides, sole.stands()]).toEqual([false, false]);
    apply(node, own);
    expect([sole.decides, sole.stands(), sole.stands()]).toEqual([true, true, false]);
  });

  it('does not before it has heard that there are others', () => {
    const node = comingBack([own, other]);
    const sole = new SoleVoter(node);
    apply(node, own);
    expect([sole.decides, sole.stands()]).toEqual([true, false]);
    apply(node, other);
    expect([sole.decides, sole.stands()]).toEqual([false, false]);
  });

  it('may be another than this one', () => {
    const node = comingBack([other]);
    const sole = new SoleVoter(node);
    apply(node, other);
    expect([sole.decides, sole.stands()]).toEqual([false, false]);
  });
});

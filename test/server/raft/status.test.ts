import { describe, expect, it } from 'vitest';
import { id, ids, msg, NodeMember } from './support.ts';

function leader(): NodeMember {
  const member = new NodeMember(1, { voters: [1, 2, 10], learners: [9] }, 'ready');
  member.node.campaign();
  member.work();
  member.step(msg(2, 1, 'MsgVoteResp', { term: 1 }));
  member.work();
  member.step(msg(2, 1, 'MsgAppResp', { term: 1, index: 1 }));
  member.work();
  return member;
}

describe('status', () => {
  it('of a leader tells how far each member is, in the order of their ids (RawNodeStatus)', () => {
    const { node } = leader();
    const { configuration, progress, ...basic } = node.status();
    expect(basic).toEqual({
      id: id(1),
      hardState: { term: 1, vote: id(1), commit: 1 },
      softState: { lead: id(1), role: 'StateLeader' },
      applied: 1,
      transferee: id(0),
    });
    expect(node.basicStatus()).toEqual(basic);
    expect(configuration).toMatchObject({ voters: { incoming: ids(1, 2, 10) }, learners: ids(9) });
    expect(
      [...progress].map(([member, { state, match, isLearner }]) => [Number(member), state, match, isLearner]),
    ).toEqual([
      [1, 'StateReplicate', 1, false],
      [2, 'StateReplicate', 1, false],
      [9, 'StateProbe', 0, true],
      [10, 'StateProbe', 0, false],
    ]);
  });

  it('is a copy: what happens later does not show in it, and who changes it changes nothing', () => {
    const { node, raft } = leader();
    const { progress } = node.status();
    node.step(msg(10, 1, 'MsgAppResp', { term: 1, index: 1 }));
    expect(progress.get(id(10))).toMatchObject({ match: 0, state: 'StateProbe' });
    progress.get(id(2))!.match = 77;
    expect(raft.tracker.progress.get(id(2))?.match).toBe(1);
  });

  it('of anybody else tells of no progress', () => {
    const { node } = leader();
    node.step(msg(2, 1, 'MsgHeartbeat', { term: 2 }));
    expect(node.status()).toMatchObject({ softState: { lead: id(2), role: 'StateFollower' }, progress: new Map() });
    expect(node.status().progress.size).toBe(0);
  });

  it('tells to whom a leader hands over', () => {
    const { node } = leader();
    node.transferLeader(id(2));
    expect(node.basicStatus().transferee).toBe(id(2));
  });
});

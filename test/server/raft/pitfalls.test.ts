/**
 * Faults that other implementations had and that are about more than one of the rooms; each title names where it was
 * found. The others are beside the rules that they break: in `replication`, `progress-flow`, `reads-scenarios`,
 * `restore` and `membership`.
 */
import { describe, expect, it } from 'vitest';
import { step, tick } from '../../../src/server/raft/step.ts';
import type { Message, MessageType, Role } from '../../../src/server/raft/types.ts';
import { become, DRIVERS, hup, id, type MemberOptions, msg, newCluster, newRaft, propose, take } from './support.ts';

describe.each(DRIVERS)('A link that is cut between the leader and one follower, driver %s', (driver) => {
  // With pre-votes alone, whoever still hears both promises its vote all the same.
  it.each<[preVote: boolean, checkQuorum: boolean, stays: boolean]>([
    [true, true, true],
    [false, true, true],
    [true, false, false],
    [false, false, false],
  ])(
    'pre-vote %s, check-quorum %s: the leader stays: %s (Cloudflare, November 2020)',
    (preVote, checkQuorum, stays) => {
      const network = newCluster(driver, 3, { preVote, checkQuorum });
      network.send(hup(1));
      network.cut(1, 3);
      for (let round = 0; round < 200; round += 1) {
        for (const n of [1, 2, 3]) tick(network.raft(n));
        network.settle();
      }
      // It may not have heard that nobody follows it any more.
      expect(network.raft(2).term === 1 && network.raft(2).lead === id(1)).toBe(stays);
      if (!stays) return;
      expect(network.raft(1)).toMatchObject({ term: 1, role: 'StateLeader' });
      // With pre-votes not even the one who hears nothing raises its term.
      expect(network.raft(3).term === 1).toBe(preVote);
      expect(network.member(1).step(propose(1, 'still served'))).toBeUndefined();
      network.settle();
      expect(network.raft(1).log.committed).toBe(2);
    },
  );
});

describe('A message of an earlier term', () => {
  const silent: MessageType[] = [];
  const freed: MessageType[] = ['MsgAppResp'];
  const refused: MessageType[] = ['MsgPreVoteResp'];
  it.each<[MessageType, MemberOptions, answers: MessageType[]]>([
    ['MsgApp', {}, silent],
    ['MsgApp', { checkQuorum: true }, freed],
    ['MsgApp', { preVote: true }, freed],
    ['MsgHeartbeat', {}, silent],
    ['MsgHeartbeat', { checkQuorum: true }, freed],
    ['MsgHeartbeat', { preVote: true }, freed],
    ['MsgPreVote', {}, refused],
    ['MsgPreVote', { checkQuorum: true }, refused],
    ['MsgPreVote', { preVote: true }, refused],
    ['MsgVote', { checkQuorum: true, preVote: true }, silent],
    ['MsgSnap', { checkQuorum: true, preVote: true }, silent],
  ])('%s, with %o, is answered by %j, so that nobody waits for ever (etcd issue 8525)', (type, options, answers) => {
    const raft = newRaft(1, { voters: [1, 2, 3], ...options });
    raft.becomeFollower(5, id(0));
    step(raft, msg(2, 1, type, { term: 4, index: 9, logTerm: 4 }));
    const reject = type === 'MsgPreVote';
    expect(take(raft)).toEqual(answers.map((answer) => msg(1, 2, answer, { term: 5, reject })));
    expect(raft).toMatchObject({ role: 'StateFollower', term: 5 });
  });
});

describe('An answer to a pre-vote', () => {
  const answer = (fields: Partial<Message>): Message => msg(2, 1, 'MsgPreVoteResp', fields);

  it('that refuses from a later term brings that term (openraft commit d6a6d562)', () => {
    const raft = newRaft(1, { voters: [1, 2, 3], preVote: true });
    step(raft, hup(1));
    step(raft, answer({ term: 5, reject: true }));
    expect(raft).toMatchObject({ role: 'StateFollower', term: 5 });
  });

  it.each<[Role, number]>([
    ['StateFollower', 1],
    ['StateCandidate', 1],
    ['StateLeader', 1],
  ])('that comes when the election is over does nothing in %s (openraft commit 511f33c7)', (role, term) => {
    const raft = newRaft(1, { voters: [1, 2, 3], preVote: true });
    if (role === 'StateFollower') raft.becomeFollower(1, id(0));
    else become(raft, role);
    take(raft);
    for (const n of [2, 3]) {
      for (const reject of [false, true]) step(raft, msg(n, 1, 'MsgPreVoteResp', { term, reject }));
    }
    expect(raft).toMatchObject({ role, term });
    expect(take(raft)).toEqual([]);
  });
});

/**
 * Why, with asynchronous writes, a request for votes has to wait for the disk: see `Ready`.
 */
import { describe, expect, it } from 'vitest';
import { EMPTY_HARD_STATE, type Message } from '../../../src/server/raft/types.ts';
import { entry, hup, id, log, msg, NodeMember } from './support.ts';

/**
 * Member 1 has got entry 2, committed by the leader with 2's help, and not written it yet. It stands for election and
 * crashes before its disk has anything of that, comes back and stands for election again. 2 voted for the longer log.
 *
 * @param sent Whether the first request leaves at once, and so has an answer.
 */
function electAgain(sent: boolean) {
  const voters = [1, 2, 3];
  const hardState = { ...EMPTY_HARD_STATE, term: 1, commit: 1 };
  const start = () => new NodeMember(1, { voters, entries: log(1), hardState }, 'async');
  const two = new NodeMember(2, { voters, entries: log(1, 1), hardState: { ...hardState, commit: 2 } }, 'async');

  const before = start();
  before.stalled.add('append');
  const append = { term: 1, index: 1, logTerm: 1, entries: [entry(1, 2)], commit: 1 };
  before.step(msg(3, 1, 'MsgApp', append));
  before.step(hup(1));
  const answer = sent ? ask(before, two) : [];
  expect(before.storage.lastIndex()).toBe(1);

  const after = start();
  after.step(hup(1));
  const answers = sent ? answer : ask(after, two);
  after.take();
  for (const m of answers) after.step(m);
  after.work();
  return after;
}

/** Lets 2 answer the candidate's request. */
function ask(candidate: NodeMember, two: NodeMember): readonly Message[] {
  const request = candidate.take().find((m) => m.type === 'MsgVote' && m.to === id(2));
  if (request) two.step(request);
  return two.take();
}

describe('a candidate that crashes before its log is durable', () => {
  it('leads without a committed entry if its request was sent at once', () => {
    const { raft } = electAgain(true);
    expect(raft).toMatchObject({ role: 'StateLeader', term: 2 });
    // Entry 2 is its own, of term 2; the one of term 1 was committed.
    expect(raft.log.term(2)).toBe(2);
  });

  it('gets no vote for it if its request waits', () => {
    expect(electAgain(false).raft.role).toBe('StateCandidate');
  });
});

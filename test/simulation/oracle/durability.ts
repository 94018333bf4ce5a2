/**
 * Nothing is promised that a crash could take back (S8), and no vote is given twice (S7).
 *
 * Checked where messages leave a member, against what its disk has at that moment, and once more where a leader counts
 * an acknowledgement.
 */

import type { MemberId } from '../../../src/protocol/int64.ts';
import { type Message, NONE } from '../../../src/server/raft/index.ts';
import type { Image } from '../cluster/image.ts';
import type { Member } from '../cluster/member.ts';
import { holds } from './commits.ts';
import type { MemberFacts } from './facts.ts';
import { expect } from './violation.ts';

export class DurabilityChecks {
  /** By member and term: who got its vote, in any run. */
  readonly #votes = new Map<Member, Map<number, MemberId>>();

  /** A message is about to leave. */
  sending(facts: MemberFacts, m: Message): void {
    const { member } = facts;
    if (m.type === 'MsgVoteResp') this.#voting(member, m);
    // A candidate must not come back in an earlier term: it could have less of its log then, and get the votes for it.
    else if (m.type === 'MsgVote') checkTerm(member, m);
    else if (m.type === 'MsgAppResp') checkAcknowledgement(facts, m);
    else if (m.type === 'MsgPreVoteResp' && m.reject) checkTerm(member, m);
  }

  /** A leader is about to count an acknowledgement of its own term. */
  counting(leader: MemberFacts, from: Image, m: Message): void {
    if ((from.hardState?.term ?? 0) > m.term || m.index <= leader.log.baseIndex) return;
    const hash = leader.log.hashAt(m.index);
    expect(hash !== undefined && holds(from, m.index, hash), 'S8 durable before sent', () => {
      return `member ${leader.member.ordinal} is told that entry ${m.index} is on a disk, which it is not`;
    });
  }

  #voting(member: Member, m: Message): void {
    checkTerm(member, m);
    if (m.reject) return;
    const { hardState } = member.disk.image;
    expect((hardState?.term ?? 0) > m.term || hardState?.vote === m.to, 'S8 durable before sent', () => {
      return `member ${member.ordinal} votes in term ${m.term}, and its disk does not know for whom`;
    });
    let votes = this.#votes.get(member);
    if (votes === undefined) {
      votes = new Map();
      this.#votes.set(member, votes);
    }
    const before = votes.get(m.term) ?? NONE;
    expect(before === NONE || before === m.to, 'S7 monotone state', () => {
      return `member ${member.ordinal} votes twice in term ${m.term}`;
    });
    votes.set(m.term, m.to);
  }
}

function checkTerm({ ordinal, disk }: Member, m: Message): void {
  expect((disk.image.hardState?.term ?? 0) >= m.term, 'S8 durable before sent', () => {
    return `member ${ordinal} sends ${m.type} of term ${m.term}, its disk has term ${disk.image.hardState?.term ?? 0}`;
  });
}

function checkAcknowledgement({ member, log }: MemberFacts, m: Message): void {
  checkTerm(member, m);
  const { image } = member.disk;
  if (m.reject || m.index === 0 || (image.hardState?.term ?? 0) > m.term) return;
  // What was promised in an earlier term may be replaced in memory already, and is on the disk all the same.
  const hash = member.node.raft.term > m.term ? undefined : log.hashAt(m.index);
  const durable = hash === undefined ? m.index <= image.log.lastIndex : holds(image, m.index, hash);
  expect(durable, 'S8 durable before sent', () => {
    return `member ${member.ordinal} acknowledges entry ${m.index}, its disk has ${image.log.lastIndex}`;
  });
}

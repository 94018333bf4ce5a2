/**
 * Logs that go apart: one leader after the other is elected by another majority, takes proposals that reach some
 * members and not all, and is cut off before it has committed them. It is what the rules for old terms are for, and
 * comes about rarely by chance.
 *
 * Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), figures 7 and 8.
 */
import type { Member } from '../cluster/member.ts';
import type { FaultAction, FaultContext } from './fault.ts';

/** Elections that follow each other closely, each within another majority. */
export const divergence: FaultAction = (context) => {
  diverge(context, context.random.between(3, 12));
  return 'divergence';
};

function diverge(context: FaultContext, rounds: number): void {
  const { cluster, random, electionUs, later } = context;
  const { awake } = cluster;
  // Between some messages, or until whoever was elected has had its time.
  const lastsUs = random.chance(0.7) ? random.between(500, electionUs / 2) : random.between(electionUs, 3 * electionUs);
  if (awake.length > 0) elect(context, majority(context, awake));
  later(lastsUs, () => {
    cluster.network.mend();
    if (random.chance(0.2)) cluster.leader?.crash();
    if (rounds > 1) diverge(context, rounds - 1);
    return 'divergence goes on';
  });
}

/** More than half of the members, in any order. */
function majority({ random }: FaultContext, members: readonly Member[]): readonly Member[] {
  const left = [...members];
  const chosen: Member[] = [];
  while (chosen.length <= members.length / 2) {
    const [member] = left.splice(random.below(left.length), 1);
    if (member) chosen.push(member);
  }
  return chosen;
}

/** Lets one of them be elected by the others alone, and take proposals; so may those that led before. */
function elect({ cluster, random, workload }: FaultContext, among: readonly Member[]): void {
  const { network, present } = cluster;
  for (const from of present) {
    for (const to of present) {
      if (from !== to && !(among.includes(from) && among.includes(to))) network.cut(from.ordinal, to.ordinal);
    }
  }
  // Those who know a leader would not vote for anybody else.
  for (const member of among) if (member.running) member.act((node) => node.forgetLeader());
  const [candidate] = among;
  if (candidate?.running) candidate.act((node) => node.campaign());
  for (const member of cluster.awake) {
    const leads = member.node.raft.role === 'StateLeader';
    for (let count = random.between(0, 3); leads && count > 0 && member.running; count -= 1) workload.write(member);
  }
}

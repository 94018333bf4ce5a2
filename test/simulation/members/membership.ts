/**
 * Operators who add, promote and remove members.
 */
import { memberIdOf } from '../../../src/server/member/ids.ts';
import { type FaultAction, type FaultContext, ignore, whom } from './fault.ts';
import { EPOCH_MS, peerUrlOf } from './machine.ts';

/** Machines that there are at most at a time, and voters. */
const MOST_MACHINES = 7;
const MOST_VOTERS = 5;

/** One change, drawn from what the cluster is. */
export const membership: FaultAction = (context) => {
  const { cluster, random } = context;
  const members = cluster.members?.list() ?? [];
  const voters = members.filter(({ isLearner }) => !isLearner);
  const learners = members.filter(({ isLearner }) => isLearner);
  switch (random.below(4)) {
    case 0:
      return voters.length >= MOST_VOTERS ? undefined : add(context, false);
    case 1:
      return learners.length > 0 ? undefined : add(context, true);
    case 2: {
      const [learner] = learners;
      return learner && voters.length < MOST_VOTERS ? change(context, 'promote', learner.id) : undefined;
    }
    default: {
      const candidates = voters.length > 1 ? members : learners;
      return candidates.length === 0 ? undefined : change(context, 'remove', random.pick(candidates).id);
    }
  }
};

function change(context: FaultContext, type: 'promote' | 'remove', id: bigint): string | undefined {
  const asked = whom(context);
  if (asked === undefined) return undefined;
  ignore(asked.changeMembers({ type, id }));
  return `${type} ${context.cluster.machineOf(id)?.ordinal ?? 'one that never started'}`;
}

/** A member is added, and once that is done a machine started for it. */
function add(context: FaultContext, isLearner: boolean): string | undefined {
  const { cluster } = context;
  const asked = whom(context);
  if (asked === undefined || cluster.present.length >= MOST_MACHINES) return undefined;
  const peerUrls = [peerUrlOf(cluster.nextOrdinal)];
  const id = memberIdOf(peerUrls, `simulated${Math.floor(EPOCH_MS + cluster.scheduler.nowUs / 1000)}`);
  const { clusterId } = asked;
  const started = new Set<number>();
  asked.changeMembers({ type: 'add', member: { id, name: '', peerUrls, clientUrls: [], isLearner } }).then(
    (members) => {
      // Its place may have been taken by another one meanwhile.
      if (peerUrls[0] !== peerUrlOf(cluster.nextOrdinal) || started.size > 0) return;
      started.add(cluster.join(clusterId, members).ordinal);
    },
    () => {},
  );
  return `add ${isLearner ? 'a learner' : 'a voter'}`;
}

/**
 * Members come and go: voters, learners, the leader itself, one at a time or through joint configurations.
 *
 * Changes are worked out from the latest configuration, and reach the log when another one may be in force: the state
 * machine then leaves them out (see `applier.ts`). Members that were removed are wiped as soon as the others can do
 * without them, and never come back; who joins is always new.
 */
import { type ConfChangeSingle, type ConfState, LEAVE_JOINT, type Transition } from '../../../src/server/raft/index.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { Member } from '../cluster/member.ts';
import { members } from '../oracle/configurations.ts';
import type { Random } from '../world/random.ts';
import type { FaultAction, FaultContext } from './fault.ts';

const MOST_VOTERS = 7;
const MOST_MEMBERS = 10;
const NO_CONTEXT = new Uint8Array();

/** A change of one member, in the old form or the new one. */
export const membership: FaultAction = (context) => {
  const { cluster, random } = context;
  const confState = cluster.oracle.configurations.latest?.confState;
  if (confState === undefined) return undefined;
  retire(cluster, isDurable);
  const change = drawChange(cluster, random, confState);
  const asked = whom(context);
  if (change === undefined || asked === undefined) return undefined;
  if (random.chance(0.5)) asked.proposeConfChange({ ...change, id: 1n, context: NO_CONTEXT });
  else asked.proposeConfChange({ transition: 'auto', changes: [change], context: NO_CONTEXT });
  return `ask ${asked.ordinal} to ${describe(cluster, [change])}`;
};

/** Several at once, or the way out of a joint configuration. */
export const joint: FaultAction = (context) => {
  const { cluster, random } = context;
  const confState = cluster.oracle.configurations.latest?.confState;
  const asked = whom(context);
  if (confState === undefined || asked === undefined) return undefined;
  retire(cluster, isDurable);
  if (confState.votersOutgoing.length > 0 && random.chance(0.8)) {
    asked.proposeConfChange(LEAVE_JOINT);
    return `ask ${asked.ordinal} to leave the joint configuration`;
  }
  const transition = random.pick<Transition>(['auto', 'implicit', 'explicit']);
  const changes = random.chance(0.25) ? replaceAll(context, confState) : drawChanges(cluster, random, confState);
  if (changes.length === 0) return undefined;
  asked.proposeConfChange({ transition, changes, context: NO_CONTEXT });
  return `ask ${asked.ordinal} to ${describe(cluster, changes)}, ${transition}`;
};

/** Wipes members that were removed and whom nobody needs any more: `knows` says whether somebody knows of an index. */
export function retire(cluster: Cluster, knows: (member: Member, index: number) => boolean): void {
  const { removed, latest } = cluster.oracle.configurations;
  if (latest === undefined) return;
  for (const member of cluster.present) {
    const index = removed.get(member.id);
    if (index === undefined) continue;
    // Until all that remain know of it, they may need its vote to go on.
    const remaining = members(latest.confState).map((id) => cluster.memberOf(id));
    if (!remaining.every((other) => other !== undefined && knows(other, latest.index))) continue;
    cluster.journal.note('detail', member.ordinal, 'is wiped');
    cluster.oracle.coverage.wiped += 1;
    cluster.destroy(member);
  }
}

/**
 * Whether a member has applied the entry, and after any crash will do so again before it stands for election. That it
 * is committed there is not enough: a leader that has not applied it still counts on who was removed.
 */
function isDurable({ disk, running, node }: Member, index: number): boolean {
  const { hardState, snapshot } = disk.image;
  const durable = (hardState?.commit ?? 0) >= index || (snapshot?.index ?? 0) >= index;
  return running && durable && node.raft.log.applied >= index;
}

/** Mostly the leader, sometimes somebody who passes it on. */
function whom({ cluster, random }: FaultContext): Member | undefined {
  const { awake, leader } = cluster;
  if (awake.length === 0) return undefined;
  return leader && random.chance(0.7) ? leader : random.pick(awake);
}

function drawChanges(cluster: Cluster, random: Random, confState: ConfState): readonly ConfChangeSingle[] {
  const changes: ConfChangeSingle[] = [];
  for (let count = random.between(1, 3); count > 0; count -= 1) {
    const change = drawChange(cluster, random, confState);
    if (change && changes.every(({ nodeId }) => nodeId !== change.nodeId)) changes.push(change);
  }
  return changes;
}

/**
 * Everybody goes, and as many come: no majority of the one configuration has anybody of the other. One of those that go
 * may be late to know.
 */
function replaceAll(context: FaultContext, { voters, learners }: ConfState): readonly ConfChangeSingle[] {
  const { cluster, random, electionUs } = context;
  if (cluster.present.length + voters.length > MOST_MEMBERS) return [];
  const late = cluster.memberOf(random.pick(voters));
  if (late && cluster.options.faults.includes('slow-apply')) {
    late.applyStalledUntilUs = cluster.scheduler.nowUs + random.between(electionUs, 30 * electionUs);
  }
  const joining = [...learners, ...voters.slice(learners.length).map(() => cluster.join().id)];
  return [
    ...joining.map((nodeId): ConfChangeSingle => ({ type: 'add-voter', nodeId })),
    ...voters.map((nodeId): ConfChangeSingle => ({ type: 'remove', nodeId })),
  ];
}

function drawChange(cluster: Cluster, random: Random, confState: ConfState): ConfChangeSingle | undefined {
  const { voters, learners } = confState;
  const crowded = cluster.present.length >= MOST_MEMBERS;
  switch (random.below(5)) {
    case 0:
      if (voters.length >= MOST_VOTERS || crowded) return undefined;
      return { type: 'add-voter', nodeId: cluster.join().id };
    case 1:
      return crowded ? undefined : { type: 'add-learner', nodeId: cluster.join().id };
    case 2:
      return learners.length === 0 || voters.length >= MOST_VOTERS
        ? undefined
        : { type: 'add-voter', nodeId: random.pick(learners) };
    case 3:
      return voters.length < 2 ? undefined : { type: 'add-learner', nodeId: random.pick(voters) };
    default:
      return drawRemoval(cluster, random, confState);
  }
}

function drawRemoval(cluster: Cluster, random: Random, { voters, learners }: ConfState): ConfChangeSingle | undefined {
  if (voters.length < 2) return undefined;
  const leader = cluster.leader?.id;
  if (leader !== undefined && voters.includes(leader) && random.chance(0.3)) return { type: 'remove', nodeId: leader };
  return { type: 'remove', nodeId: random.pick([...voters, ...learners]) };
}

function describe(cluster: Cluster, changes: readonly ConfChangeSingle[]): string {
  return changes.map(({ type, nodeId }) => `${type} ${cluster.memberOf(nodeId)?.ordinal}`).join(', ');
}

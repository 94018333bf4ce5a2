/**
 * Partitions of every shape, and links that hold back what they carry.
 *
 * Cuts are put on top of each other; the end of any of them mends all.
 */
import type { Member } from '../cluster/member.ts';
import type { FaultAction, FaultContext } from './fault.ts';

/** Two sides that don't hear each other. */
export const partition: FaultAction = (context) => {
  const { random, cluster } = context;
  const side = cluster.present.map(() => random.chance(0.5));
  cut(context, (from, to) => side[from] !== side[to]);
  return 'partition';
};

/** One member alone, often the leader; deaf, mute or both. */
export const isolate: FaultAction = (context) => {
  const { random, cluster } = context;
  const alone = cluster.present.indexOf(leaderOrAny(context));
  const way = random.below(4);
  cut(context, (from, to) => (from === alone && way !== 1) || (to === alone && way !== 2));
  return `isolate ${cluster.present[alone]?.ordinal}`;
};

/** Some links carry nothing in one direction. */
export const oneWay: FaultAction = (context) => {
  cut(context, () => context.random.chance(0.3));
  return 'one-way cuts';
};

/** Two sides that hear each other only through one member. */
export const bridge: FaultAction = (context) => {
  const { random, cluster } = context;
  const side = cluster.present.map(() => random.chance(0.5));
  const between = random.below(side.length);
  cut(context, (from, to) => from !== between && to !== between && side[from] !== side[to]);
  return `bridge over ${cluster.present[between]?.ordinal}`;
};

/** A member's messages, or those of one link, come much later: across elections. */
export const hold: FaultAction = (context) => {
  const { random, cluster, electionUs } = context;
  const from = leaderOrAny(context);
  const only = random.chance(0.5) ? random.pick(cluster.present) : undefined;
  const back = random.chance(0.5);
  for (const to of cluster.present) {
    if (to === from || (only && to !== only)) continue;
    if (back) cluster.network.hold(to.ordinal, from.ordinal);
    else cluster.network.hold(from.ordinal, to.ordinal);
  }
  context.later(random.between(electionUs / 2, 5 * electionUs), () => {
    cluster.network.release();
    return 'release';
  });
  return `hold back messages ${back ? 'to' : 'from'} ${from.ordinal}`;
};

/** The leader more often than others. */
export function leaderOrAny({ cluster, random }: FaultContext): Member {
  const { leader } = cluster;
  return leader && random.chance(0.5) ? leader : random.pick(cluster.present);
}

/** Cuts links, by the places of their ends among those present, for a while. */
function cut({ cluster, random, electionUs, later }: FaultContext, cuts: (from: number, to: number) => boolean): void {
  const { present, network } = cluster;
  for (const [from, a] of present.entries()) {
    for (const [to, b] of present.entries()) {
      if (from !== to && cuts(from, to)) network.cut(a.ordinal, b.ordinal);
    }
  }
  later(random.between(electionUs / 4, random.chance(0.2) ? 20 * electionUs : 5 * electionUs), () => {
    network.mend();
    return 'mend';
  });
}

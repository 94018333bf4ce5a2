/**
 * What operators and servers ask of the core at the worst moments.
 */
import type { FaultAction } from './fault.ts';

/** Leadership is to go to somebody. */
export const transfer: FaultAction = ({ cluster, random }) => {
  const { awake, present } = cluster;
  if (awake.length === 0) return undefined;
  const asked = random.chance(0.7) ? (cluster.leader ?? random.pick(awake)) : random.pick(awake);
  const to = random.pick(present);
  asked.act((node) => node.transferLeader(to.id));
  return `ask ${asked.ordinal} to hand over to ${to.ordinal}`;
};

/** Members forget who leads them. */
export const forgetLeader: FaultAction = ({ cluster, random }) => {
  const everybody = random.chance(0.3);
  const { awake } = cluster;
  const who = everybody ? awake : awake.filter(() => random.chance(0.3));
  // Those before may have crashed in doing so.
  for (const member of who) if (member.running) member.act((node) => node.forgetLeader());
  return `forget the leader: ${who.map(({ ordinal }) => ordinal).join(' ')}`;
};

/** Somebody starts an election out of turn, perhaps several at once. */
export const campaign: FaultAction = ({ cluster, random }) => {
  const who = cluster.awake.filter(() => random.chance(0.4));
  for (const member of who) if (member.running) member.act((node) => node.campaign());
  return `campaign: ${who.map(({ ordinal }) => ordinal).join(' ')}`;
};

/** Somebody is told that somebody else can't be reached. */
export const unreachable: FaultAction = ({ cluster, random }) => {
  const { leader, present } = cluster;
  if (leader === undefined) return undefined;
  const other = random.pick(present);
  leader.act((node) => node.reportUnreachable(other.id));
  return `tell ${leader.ordinal} that ${other.ordinal} is unreachable`;
};

/**
 * Ends all faults and looks whether the cluster comes back: one leader, everybody equal, writes and reads served by
 * each, watchers told everything, leases ended that nobody renews.
 */

import type { StateMachine } from '../../../src/server/apply/machine.ts';
import { STEADY_LINK } from '../../../src/testing/links.ts';
import type { Calls } from './calls.ts';
import type { Clients } from './clients.ts';
import type { MembersCluster } from './cluster.ts';
import type { Lessees } from './lessees.ts';
import type { Machine } from './machine.ts';
import { effectiveMembers, type MemberSimOptions } from './options.ts';
import { digestOf } from './oracle.ts';
import type { Watchers } from './watchers.ts';

const MS = 1000;
/** Between two looks. */
const POLL_US = 20 * MS;
/** Calls give up by then. */
const CALLS_US = 10_000 * MS;
/** The longest that anything else may take that was begun under faults: images, stalled disks, connections. */
const LATEST_US = 10_000 * MS;

export interface Healed {
  /** When all were equal again, in virtual ms. */
  readonly atMs: number;
}

export interface HealingParts {
  readonly cluster: MembersCluster;
  readonly calls: Calls;
  readonly clients: Clients;
  readonly watchers: Watchers;
  readonly lessees: Lessees;
  readonly runUntil: (atUs: number) => Promise<void>;
}

/** The same options without any trouble; images are made as before. */
function calm(options: MemberSimOptions): MemberSimOptions {
  return {
    ...effectiveMembers({ ...options, faults: options.faults.filter((fault) => fault === 'images') }),
    link: { ...STEADY_LINK, minDelayMs: 0.2, jitterMs: 0.3 },
    disk: { minSyncUs: 100, jitterUs: 200, slowChance: 0, slowUs: 0 },
  };
}

/** Does what the head of this file says. Undefined: a rule was broken. */
export async function heal(parts: HealingParts): Promise<Healed | undefined> {
  const { cluster, clients, watchers, lessees } = parts;
  const { electionMs } = cluster.options;
  endFaults(parts);
  const boundUs = LATEST_US + 60 * electionMs * MS;
  if (!(await until(parts, 'does not converge', boundUs, () => isConverged(cluster)))) return undefined;
  const atMs = cluster.scheduler.nowUs / 1000;
  const served = new Set<Machine>();
  const serves = (): boolean => {
    for (const machine of votersOf(cluster)) {
      if (served.has(machine)) continue;
      const before = clients.answered.get(machine) ?? 0;
      const done = (): void => {
        if ((clients.answered.get(machine) ?? 0) > before) served.add(machine);
      };
      clients.send(`probe ${machine.ordinal}`, machine, { kind: 'put', key: 'probe', value: clients.value() }, done);
    }
    return votersOf(cluster).every((machine) => served.has(machine));
  };
  if (!(await until(parts, 'does not serve', LATEST_US, serves))) return undefined;
  // What nobody renews has to end now, an election timeout later than its time at most.
  const leaseUs = lessees.longestSeconds === 0 ? 0 : lessees.longestSeconds * 1_100_000 + 4_000 * MS + electionMs * MS;
  await parts.runUntil(cluster.scheduler.nowUs + Math.max(leaseUs, CALLS_US));
  const { oracle } = cluster;
  const toldAll = (): boolean => watchers.caughtUp(oracle.log.at(-1)?.revision ?? 1);
  if (!(await until(parts, 'does not tell its watchers', LATEST_US, toldAll))) return undefined;
  if (!(await until(parts, 'does not converge again', LATEST_US, () => isConverged(cluster)))) return undefined;
  return { atMs };
}

function endFaults({ cluster, calls, clients, lessees }: HealingParts): void {
  cluster.options = calm(cluster.options);
  cluster.network.link = cluster.options.link;
  cluster.network.mend();
  calls.lossChance = 0;
  clients.stop();
  lessees.stop();
  for (const machine of cluster.present) {
    const { disk } = machine;
    disk.options = cluster.options.disk;
    disk.stallUntil(0);
    disk.crashAfter(undefined);
    disk.tearAfter(undefined);
    machine.powerFailures = [];
    disk.full = false;
    disk.failsSync = false;
    machine.downUntilUs = 0;
    machine.setRate(1);
    machine.process.resume();
  }
  startAll(cluster);
  // Whoever ends from now on, as a member that hears only now that it was removed, comes back unless it was.
  cluster.events.ended = (machine) => {
    cluster.scheduler.after(POLL_US, () => {
      if (!machine.retired && !machine.alive) machine.start();
    });
  };
}

function startAll(cluster: MembersCluster): void {
  for (const machine of cluster.present) if (!machine.alive) machine.start();
}

/** Waits until something holds, and says what does not if it takes too long. */
async function until(
  { cluster, runUntil }: HealingParts,
  failure: string,
  limitUs: number,
  holds: () => boolean,
): Promise<boolean> {
  const { scheduler, verdict } = cluster;
  const endUs = scheduler.nowUs + limitUs;
  while (verdict.broken === undefined && !holds()) {
    if (scheduler.nowUs >= endUs) verdict.fail('liveness', `the cluster ${failure}: ${describe(cluster)}`);
    await runUntil(scheduler.nowUs + POLL_US);
  }
  return verdict.broken === undefined;
}

/** The machines of all members that started once. Those that were added and never did are nobody's. */
function configured(cluster: MembersCluster): readonly Machine[] {
  const ids = cluster.leader?.member?.state.members.list().map(({ id }) => id) ?? [];
  return ids.map((id) => cluster.machineOf(id)).filter((machine) => machine !== undefined);
}

function votersOf(cluster: MembersCluster): readonly Machine[] {
  return configured(cluster).filter(({ member }) => member?.position.isLearner === false);
}

function isConverged(cluster: MembersCluster): boolean {
  const { leader } = cluster;
  const leading = leader?.member;
  if (leading === undefined) return false;
  const { term, committed, applied } = leading.position;
  if (applied !== committed || applied < cluster.oracle.frontier) return false;
  const machines = configured(cluster);
  const caughtUp = machines.every(({ member }) => {
    const position = member?.position;
    return position?.term === term && position.leader === leader?.id && position.applied === applied;
  });
  if (!caughtUp) return false;
  const states = new Set(machines.map(({ member }) => digestOf(member?.state as StateMachine)));
  if (states.size > 1) cluster.verdict.fail('same state', `members differ after healing: ${[...states].join('\n')}`);
  return true;
}

function describe(cluster: MembersCluster): string {
  return cluster.present
    .map(({ ordinal, alive, member }) => {
      if (member === undefined) return `${ordinal} ${alive ? 'starts' : 'is down'}`;
      const { leader, term, committed, applied } = member.position;
      const of = cluster.machineOf(leader)?.ordinal ?? 'nobody';
      return `${ordinal} follows ${of} in term ${term}, commit ${committed}, applied ${applied}`;
    })
    .join('; ');
}

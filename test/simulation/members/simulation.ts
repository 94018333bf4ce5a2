/**
 * One run of whole members: machines under faults, clients, all checks on, then healed.
 *
 * Everything that a run does comes from its seed. The world is that of the core's simulator (`../world/`): time in
 * virtual microseconds, chance in streams of their own. Members are the server's own, from the services down to the
 * bytes of their logs; only disk, network, clock and chance are the world's.
 */
import { Sfc32 } from '../world/random.ts';
import { Calls } from './calls.ts';
import { Clients } from './clients.ts';
import { type ClusterEvents, MembersCluster } from './cluster.ts';
import { drained } from './drain.ts';
import { MembersNemesis } from './faults.ts';
import { heal } from './heal.ts';
import { checkHistories } from './histories.ts';
import { Lessees } from './lessees.ts';
import { effectiveMembers, type MemberSimOptions } from './options.ts';
import type { BrokenRule } from './violation.ts';
import { Watchers } from './watchers.ts';

export interface MembersRunOptions {
  readonly prepare?: ClusterEvents['prepare'];
  readonly started?: ClusterEvents['started'];
  /** Ends the run there, without healing. Default: the run takes its course. */
  readonly endUs?: number | undefined;
}

export interface MembersRunResult {
  readonly options: MemberSimOptions;
  readonly broken: BrokenRule | undefined;
  readonly events: number;
  readonly virtualUs: number;
  /** Unsigned 32-bit hash of all events. */
  readonly digest: number;
  /** The last events, oldest first. */
  readonly lines: () => readonly string[];
  /** What happened, counted. */
  readonly counts: Readonly<Record<string, number>>;
}

export async function simulateMembers(
  options: MemberSimOptions,
  run: MembersRunOptions = {},
): Promise<MembersRunResult> {
  const random = new Sfc32(options.seed);
  const cluster = new MembersCluster(effectiveMembers(options), random.fork('cluster'));
  cluster.events.prepare = run.prepare;
  cluster.events.started = run.started;
  const { scheduler, journal, verdict } = cluster;
  const runUntil = async (atUs: number): Promise<void> => {
    while (verdict.broken === undefined && scheduler.step(atUs)) await drained();
  };
  const calls = new Calls(cluster, random.fork('calls'), options.faults.includes('lost-replies') ? 0.02 : 0);
  const clients = new Clients(cluster, calls, random.fork('clients'));
  const watchers = new Watchers(cluster, random.fork('watchers'));
  const lessees = new Lessees(cluster, { calls, clients, random: random.fork('lessees') });
  const nemesis = new MembersNemesis(cluster, random.fork('nemesis'));
  for (const machine of cluster.machines) machine.start();
  await drained();
  clients.run();
  watchers.run();
  lessees.run();
  nemesis.run();
  await runUntil(run.endUs ?? options.durationUs);
  nemesis.stop();
  const parts = { cluster, calls, clients, watchers, lessees, runUntil };
  const healed = run.endUs !== undefined || verdict.broken ? undefined : await heal(parts);
  if (!verdict.broken) checkHistories({ cluster, clients, watchers, lessees, calmFromMs: healed?.atMs });
  const { broken } = verdict;
  const { events, digest } = journal;
  const counts = { ...cluster.counts, entries: cluster.oracle.frontier, leases: lessees.histories.length };
  return { options, broken, events, virtualUs: scheduler.nowUs, digest, lines: () => journal.lines(), counts };
}

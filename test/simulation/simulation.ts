/**
 * One run: a cluster under faults, with all checks on, then healed.
 *
 * Rooms: `world/` is time, chance, network and disk, each behind an interface that a whole server could be run on;
 * `cluster/` the members; `faults/` what goes wrong; `oracle/` what must hold. Beside them: `options` what a seed
 * stands for, `workload` the clients, `heal` the end of a run, `journal` its events, `shrink` and `report` what is made
 * of a failing one, `broken` the faults that show that it bites.
 */
import { Cluster } from './cluster/cluster.ts';
import type { Member } from './cluster/member.ts';
import { Nemesis } from './faults/nemesis.ts';
import { Healing } from './heal.ts';
import { effective, type Options } from './options.ts';
import type { Coverage } from './oracle/coverage.ts';
import { type Invariant, Violation } from './oracle/violation.ts';
import { Workload } from './workload.ts';
import { Sfc32 } from './world/random.ts';

/** What a run may be told beside its options. */
export interface RunOptions {
  /** Called before each run of each program: here a test breaks the core. */
  readonly started?: ((member: Member) => void) | undefined;
  /**
   * Whether, after healing, somebody stops members that were removed. Default: only where the options leave out what
   * protects the cluster from them.
   */
  readonly stopsRemoved?: boolean | undefined;
  /** Ends the run there, without healing. Default: the run takes its course. */
  readonly endUs?: number | undefined;
}

/** How a run ended. */
export interface RunResult {
  readonly options: Options;
  readonly violation: { readonly invariant: Invariant; readonly detail: string; readonly atUs: number } | undefined;
  readonly events: number;
  readonly virtualUs: number;
  /** Unsigned 32-bit hash of all events. */
  readonly digest: number;
  /** The last events, oldest first. */
  readonly lines: () => readonly string[];
  /** What happened, counted. */
  readonly coverage: Coverage;
}

/** Runs a cluster with these options, from their seed. */
export function simulate(options: Options, run: RunOptions = {}): RunResult {
  const random = new Sfc32(options.seed);
  const cluster = new Cluster(effective(options), random.fork('cluster'));
  cluster.events.started = run.started;
  const violation = findViolation(cluster, () => drive(cluster, random, run));
  const { journal, scheduler } = cluster;
  const { events, digest } = journal;
  const { coverage } = cluster.oracle;
  return { options, violation, events, virtualUs: scheduler.nowUs, digest, lines: () => journal.lines(), coverage };
}

function drive(cluster: Cluster, random: Sfc32, { stopsRemoved, endUs }: RunOptions): void {
  const { scheduler, options } = cluster;
  const runUntil = (atUs: number): void => {
    while (scheduler.step(atUs));
  };
  const workload = new Workload(cluster, random.fork('workload'));
  const nemesis = new Nemesis(cluster, workload, random.fork('nemesis'));
  for (const member of cluster.present) member.start();
  workload.run();
  nemesis.run();
  runUntil(Math.min(options.durationUs, endUs ?? options.durationUs));
  if (endUs !== undefined && endUs < options.durationUs) return;
  nemesis.stop();
  workload.stop();
  const guarded = options.preVote && options.checkQuorum && options.stepDownOnRemoval;
  new Healing(cluster, workload, stopsRemoved ?? !guarded, runUntil).run();
}

/** Whatever is thrown ends the run: by the oracle, or by the core, which must not. */
function findViolation(cluster: Cluster, action: () => void): RunResult['violation'] {
  try {
    action();
    return undefined;
  } catch (error) {
    const atUs = cluster.scheduler.nowUs;
    if (error instanceof Violation) return { invariant: error.invariant, detail: error.message, atUs };
    const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { invariant: 'no crash', detail, atUs };
  }
}

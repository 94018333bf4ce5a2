/**
 * What goes wrong with whole members: each class at its own times, from its own stream of chance, so that a class can be
 * taken out of a run and the others still come when they came.
 */
import type { CrashMode } from '../../../src/server/storage/memory-disk.ts';
import type { Random } from '../world/random.ts';
import type { MembersCluster } from './cluster.ts';
import { type FaultAction, type FaultContext, ignore } from './fault.ts';
import type { Machine } from './machine.ts';
import { membership } from './membership.ts';
import type { MemberFault } from './options.ts';

const MS = 1000;

const crash: FaultAction = (context) => {
  const machine = leaderOrAny(context);
  if (!machine.alive) return undefined;
  machine.crash(crashMode(context));
  return `crash ${machine.ordinal}`;
};

const bitFlips: FaultAction = (context) => {
  const machine = leaderOrAny(context);
  if (!machine.alive) return undefined;
  machine.disk.flipChance = context.random.pick([0.05, 0.5]);
  machine.crash(context.random.pick(['prefix', 'subset']));
  return `crash ${machine.ordinal}, with wrong bits`;
};

const kill: FaultAction = (context) => {
  const machine = leaderOrAny(context);
  if (!machine.alive) return undefined;
  machine.crash('all');
  return `kill ${machine.ordinal}`;
};

/** A program is killed at a step of its disk, such as between a file's sync and its new name. */
const crashPoint: FaultAction = (context) => {
  const machine = leaderOrAny(context);
  if (!machine.alive) return undefined;
  const steps = context.random.below(30);
  machine.disk.crashAfter(steps);
  return `crash ${machine.ordinal} after ${steps} steps of its disk`;
};

/**
 * Power fails in the midst of a write, and in each of the next starts again, in one of the first writes: what the first
 * failure tore off the log is there still, if a start leaves it.
 */
const flakyPower: FaultAction = (context) => {
  const { random } = context;
  const machine = leaderOrAny(context);
  if (!machine.alive) return undefined;
  const first = random.below(3);
  machine.disk.tearAfter(first);
  machine.powerFailures = Array.from({ length: random.between(3, 8) }, () => random.pick([0, 0, 0, 1]));
  return `power of ${machine.ordinal} fails in sync ${first}, then in ${machine.powerFailures.join(', ')} of its starts`;
};

const blackout: FaultAction = (context) => {
  // Now and then, or nothing else would ever happen.
  if (context.random.chance(0.5)) return undefined;
  for (const machine of context.cluster.present) machine.crash(crashMode(context));
  return 'blackout';
};

/** A member is away for so long that it needs an image when it comes back. */
const outage: FaultAction = (context) => {
  const { random, cluster } = context;
  const machine = leaderOrAny(context);
  if (!machine.alive) return undefined;
  machine.downUntilUs = cluster.scheduler.nowUs + random.between(1000, 4000) * MS;
  machine.crash(crashMode(context));
  return `outage of ${machine.ordinal}`;
};

const stop: FaultAction = (context) => {
  const machine = leaderOrAny(context);
  if (!machine.awake) return undefined;
  machine.stop();
  return `stop ${machine.ordinal}`;
};

const pause: FaultAction = (context) => {
  const { random, electionUs } = context;
  const { process, ordinal } = leaderOrAny(context);
  if (!process.alive || process.paused) return undefined;
  process.pause();
  context.later(random.between(electionUs / 4, 6 * electionUs), () => {
    process.resume();
    return `resume ${ordinal}`;
  });
  return `pause ${ordinal}`;
};

const skew: FaultAction = ({ cluster, random }) => {
  const machine = random.pick(cluster.present);
  const { skew: most } = cluster.options;
  const rate = 1 + (random.below(2001) / 1000 - 1) * most;
  machine.setRate(rate);
  return `clock of ${machine.ordinal} at ${rate.toFixed(4)}`;
};

const stall: FaultAction = (context) => {
  const { random, cluster, electionUs } = context;
  const machine = leaderOrAny(context);
  machine.disk.stallUntil(cluster.scheduler.nowUs + random.between(electionUs / 4, 4 * electionUs));
  return `disk of ${machine.ordinal} stalls`;
};

const diskFull: FaultAction = (context) => {
  const { random } = context;
  const machine = leaderOrAny(context);
  machine.disk.full = true;
  context.later(random.between(200, 2000) * MS, () => {
    machine.disk.full = false;
    return `disk of ${machine.ordinal} has room again`;
  });
  return `disk of ${machine.ordinal} is full`;
};

const diskFailure: FaultAction = (context) => {
  const machine = leaderOrAny(context);
  machine.disk.failsSync = true;
  return `disk of ${machine.ordinal} fails to sync`;
};

const transfer: FaultAction = ({ cluster, random }) => {
  const { leader } = cluster;
  const target = random.pick(cluster.present);
  if (leader?.member === undefined || target.id === undefined) return undefined;
  ignore(leader.member.moveLeader(target.id));
  return `move leadership from ${leader.ordinal} to ${target.ordinal}`;
};

/** Two sides that don't hear each other. */
const partition: FaultAction = (context) => {
  const { random } = context;
  const sides: [bigint[], bigint[]] = [[], []];
  for (const id of idsOf(context)) sides[random.below(2)]?.push(id);
  context.cluster.network.partition(...sides);
  mendLater(context);
  return `partition of ${sides[0].length} and ${sides[1].length}`;
};

/** One member alone, often the leader. */
const isolate: FaultAction = (context) => {
  const machine = leaderOrAny(context);
  if (machine.id === undefined) return undefined;
  context.cluster.network.isolate(machine.id);
  mendLater(context);
  return `isolate ${machine.ordinal}`;
};

/** Some links carry nothing in one direction. */
const oneWay: FaultAction = (context) => {
  const { random, cluster } = context;
  const ids = idsOf(context);
  for (const from of ids) for (const to of ids) if (from !== to && random.chance(0.3)) cluster.network.cut(from, to);
  mendLater(context);
  return 'one-way cuts';
};

/** The classes that come and go; the others are there all the time. */
const ACTIONS: Readonly<Partial<Record<MemberFault, FaultAction>>> = {
  partition,
  isolate,
  'one-way': oneWay,
  crash,
  'bit-flips': bitFlips,
  kill,
  'crash-point': crashPoint,
  'flaky-power': flakyPower,
  blackout,
  outage,
  stop,
  pause,
  skew,
  stall,
  'disk-full': diskFull,
  'disk-failure': diskFailure,
  membership,
  transfer,
};

export class MembersNemesis {
  readonly #cluster: MembersCluster;
  readonly #random: Random;
  #active = true;

  constructor(cluster: MembersCluster, random: Random) {
    this.#cluster = cluster;
    this.#random = random;
    const restarts = this.#context('restarts');
    cluster.events.ended = (machine) => {
      if (!machine.retired) restartLater(restarts, machine);
    };
  }

  /** Makes faults until {@link stop}. */
  run(): void {
    for (const fault of this.#cluster.options.faults) {
      const action = ACTIONS[fault];
      if (action) this.#repeat(this.#context(fault), action);
    }
  }

  /** No further faults; what is broken stays so. */
  stop(): void {
    this.#active = false;
  }

  #repeat(context: FaultContext, action: FaultAction): void {
    context.later(context.random.below(2 * this.#cluster.options.faultEveryUs), () => {
      this.#repeat(context, action);
      return action(context);
    });
  }

  #context(label: string): FaultContext {
    return {
      cluster: this.#cluster,
      random: this.#random.fork(label),
      electionUs: this.#cluster.options.electionMs * 1000,
      later: (delayUs, act) => {
        this.#cluster.scheduler.after(Math.floor(delayUs), () => {
          const did = this.#active ? act() : undefined;
          if (did !== undefined) this.#cluster.count('faults');
          if (did !== undefined) this.#cluster.journal.note('fault', 0, did);
        });
      },
    };
  }
}

/** The leader more often than others. */
export function leaderOrAny({ cluster, random }: FaultContext): Machine {
  const { leader } = cluster;
  return leader && random.chance(0.5) ? leader : random.pick(cluster.present);
}

function crashMode({ cluster, random }: FaultContext): CrashMode {
  return cluster.options.faults.includes('harsh-crash') ? random.pick(['none', 'prefix', 'subset']) : 'prefix';
}

function idsOf({ cluster }: FaultContext): readonly bigint[] {
  return cluster.present.map(({ id }) => id).filter((id) => id !== undefined);
}

function mendLater({ cluster, random, electionUs, later }: FaultContext): void {
  later(random.between(electionUs / 4, random.chance(0.2) ? 20 * electionUs : 5 * electionUs), () => {
    cluster.network.mend();
    return 'mend';
  });
}

function restartLater(context: FaultContext, machine: Machine): void {
  const { random, cluster } = context;
  const delayUs = random.between(10, random.chance(0.2) ? 2000 : 300) * MS;
  context.later(Math.max(delayUs, machine.downUntilUs - cluster.scheduler.nowUs), () => {
    if (machine.alive || machine.retired) return undefined;
    machine.start();
    return `start ${machine.ordinal}`;
  });
}

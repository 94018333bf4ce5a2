/**
 * Makes faults: each class at its own times, from its own stream of chance, so that a class can be taken out of a run
 * and the others still come when they came.
 */
import type { Cluster } from '../cluster/cluster.ts';
import type { Fault } from '../options.ts';
import type { Workload } from '../workload.ts';
import type { Random } from '../world/random.ts';
import { divergence } from './divergence.ts';
import type { FaultAction, FaultContext } from './fault.ts';
import { blackout, crash, crashPoint, outage, pause, restartLater, skew, slowApply, stall } from './machine-faults.ts';
import { joint, membership } from './membership.ts';
import { bridge, hold, isolate, oneWay, partition } from './network-faults.ts';
import { campaign, forgetLeader, transfer, unreachable } from './requests.ts';

/** The classes that come and go; the others are there all the time. */
const ACTIONS: Readonly<Partial<Record<Fault, FaultAction>>> = {
  partition,
  isolate,
  'one-way': oneWay,
  bridge,
  hold,
  crash,
  'crash-point': crashPoint,
  blackout,
  outage,
  pause,
  skew,
  stall,
  'slow-apply': slowApply,
  membership,
  joint,
  transfer,
  'forget-leader': forgetLeader,
  campaign,
  unreachable,
  divergence,
};

export class Nemesis {
  readonly #cluster: Cluster;
  readonly #workload: Workload;
  readonly #random: Random;
  #active = true;

  constructor(cluster: Cluster, workload: Workload, random: Random) {
    this.#cluster = cluster;
    this.#workload = workload;
    this.#random = random;
    const restarts = this.#context('restarts');
    cluster.events.crashed = (member) => restartLater(restarts, member);
  }

  /** Makes faults until `stop`. */
  run(): void {
    const { faults } = this.#cluster.options;
    for (const fault of faults) {
      const action = ACTIONS[fault];
      if (action) this.#repeat(this.#context(fault), action);
    }
  }

  /** No further faults; what is broken stays so. */
  stop(): void {
    this.#active = false;
  }

  #repeat(context: FaultContext, action: FaultAction): void {
    const delayUs = context.random.below(2 * this.#cluster.options.faultEveryUs);
    context.later(delayUs, () => {
      this.#repeat(context, action);
      return action(context);
    });
  }

  #context(label: string): FaultContext {
    const { electionTicks, tickMs } = this.#cluster.options;
    return {
      cluster: this.#cluster,
      workload: this.#workload,
      random: this.#random.fork(label),
      electionUs: electionTicks * tickMs * 1000,
      later: (delayUs, act) => {
        this.#cluster.scheduler.after(Math.floor(delayUs), () => {
          const did = this.#active ? act() : undefined;
          if (did !== undefined) this.#cluster.journal.note('fault', 0, did);
        });
      },
    };
  }
}

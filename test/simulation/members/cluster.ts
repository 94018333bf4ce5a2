/**
 * All machines of a run, the network between them, and what is looked at.
 */
import type { Members } from '../../../src/server/apply/state.ts';
import type { InitialMember } from '../../../src/server/member/boot.ts';
import { DataDirError } from '../../../src/server/member/data-dir.ts';
import { MemberRemovedError } from '../../../src/server/member/errors.ts';
import type { Member } from '../../../src/server/member/member.ts';
import type { MemberOptions } from '../../../src/server/member/options.ts';
import type { BackendMember } from '../../../src/server/snapshot/backend-state.ts';
import { WalError } from '../../../src/server/wal/index.ts';
import type { Clock } from '../../../src/support/clock.ts';
import { Network } from '../../../src/testing/network.ts';
import { Journal } from '../journal.ts';
import type { Random } from '../world/random.ts';
import { Scheduler } from '../world/scheduler.ts';
import type { StateObserver } from './instrument.ts';
import { type EndCause, Machine, type MachineWorld, peerUrlOf } from './machine.ts';
import type { MemberSimOptions } from './options.ts';
import { MembersOracle } from './oracle.ts';
import { Verdict } from './violation.ts';

/** Who wants to hear of what happens, and may change it. */
export interface ClusterEvents {
  /** A run is about to be made: here a test breaks it. */
  prepare?: ((machine: Machine, options: MemberOptions) => MemberOptions) | undefined;
  /** A run's member is there. */
  started?: ((machine: Machine, member: Member) => void) | undefined;
  /** A run has ended. */
  ended?: ((machine: Machine, cause: EndCause) => void) | undefined;
}

/** Time as the world has it, for what is no program of it. */
function worldClock(scheduler: Scheduler): Clock {
  return {
    now: () => scheduler.nowUs / 1000,
    after(delayMs, callback) {
      let cancelled = false;
      scheduler.after(Math.ceil(Math.max(0, delayMs) * 1000), () => {
        if (!cancelled) callback();
      });
      return {
        cancel: () => {
          cancelled = true;
        },
      };
    },
  };
}

export class MembersCluster implements MachineWorld {
  readonly scheduler = new Scheduler();
  readonly journal = new Journal(this.scheduler);
  readonly verdict = new Verdict(() => this.scheduler.nowUs);
  readonly oracle = new MembersOracle(this.verdict, () => this.scheduler.nowUs);
  readonly network: Network;
  readonly clock: Clock = worldClock(this.scheduler);
  /** Everybody who ever was there, by ordinal. */
  readonly machines: Machine[] = [];
  readonly founders: readonly InitialMember[];
  readonly events: ClusterEvents = {};
  options: MemberSimOptions;
  /** What happened, counted, to see that it does. */
  readonly counts: Record<string, number> = {};
  readonly #random: Random;
  readonly #skewed: boolean;

  constructor(options: MemberSimOptions, random: Random) {
    this.options = options;
    this.#skewed = options.faults.includes('skew');
    this.#random = random;
    const chance = random.fork('network');
    this.network = new Network({
      clock: this.clock,
      random: () => chance.uint32() / 0x1_0000_0000,
      link: options.link,
      observe: { delivered: (m) => this.journal.message(this.#ordinalOf(m.from), this.#ordinalOf(m.to), m) },
    });
    this.founders = Array.from({ length: options.founders }, (_, ordinal) => ({
      name: `m${ordinal}`,
      peerUrls: [peerUrlOf(ordinal)],
    }));
    for (const _ of this.founders) this.#add({});
  }

  /** Machines that were not taken out of the cluster. */
  get present(): readonly Machine[] {
    return this.machines.filter(({ retired }) => !retired);
  }

  /** Machines with a member that can be asked. */
  get awake(): readonly Machine[] {
    return this.machines.filter(({ awake }) => awake);
  }

  /** The machine of the leader of the latest term among those that are awake. */
  get leader(): Machine | undefined {
    let found: Machine | undefined;
    let latest = 0;
    for (const machine of this.awake) {
      const { leader, term } = (machine.member as Member).position;
      if (leader === machine.id && term > latest) {
        latest = term;
        found = machine;
      }
    }
    return found;
  }

  /** Who is in the cluster as those know it who have applied most. */
  get members(): Members | undefined {
    let found: Member | undefined;
    for (const { member } of this.awake) if (member && member.state.index > (found?.state.index ?? -1)) found = member;
    return found?.state.members;
  }

  machineOf(id: bigint): Machine | undefined {
    return this.machines.find((machine) => machine.id === id);
  }

  /** A new machine, for a member that was added and has not started yet. */
  join(clusterId: bigint, members: readonly BackendMember[]): Machine {
    const machine = this.#add({ join: { clusterId, members } });
    machine.start();
    return machine;
  }

  /** Whether clocks differ. */
  get skewed(): boolean {
    return this.#skewed;
  }

  /** Counts one more of something. */
  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  /** The ordinal that the next machine will have. */
  get nextOrdinal(): number {
    return this.machines.length;
  }

  prepare(machine: Machine, options: MemberOptions): MemberOptions {
    return this.events.prepare?.(machine, options) ?? options;
  }

  stateObserver(machine: Machine): StateObserver {
    const observer = this.oracle.observerOf(machine);
    return {
      applied: (state, entry, applied) => {
        this.journal.note('applied', machine.ordinal, entry.index);
        if (entry.type !== 'EntryNormal' && applied.outcome?.type === 'members') this.count('member changes applied');
        observer.applied(state, entry, applied);
      },
      restored: (state) => {
        this.journal.note('detail', machine.ordinal, `is the image at ${state.index}`);
        this.count(machine.member ? 'images taken in' : 'images loaded');
        observer.restored(state);
      },
    };
  }

  started(machine: Machine, member: Member): void {
    this.count(machine.runs === 1 ? 'first starts' : 'restarts');
    machine.disk.flipped = false;
    this.events.started?.(machine, member);
  }

  led(machine: Machine, leader: bigint): void {
    this.journal.note('detail', machine.ordinal, `leader ${this.#ordinalOf(leader)}`);
    this.oracle.led(machine);
  }

  ended(machine: Machine, cause: EndCause): void {
    this.journal.note(
      'detail',
      machine.ordinal,
      cause.type === 'failure' ? `ends by ${String(cause.error)}` : cause.type,
    );
    this.count(cause.type === 'failure' ? `ended by ${(cause.error as Error).name}` : cause.type);
    if (cause.type === 'failure') this.#judge(machine, cause.error);
    this.events.ended?.(machine, cause);
  }

  /** A member that ends by itself has a reason that is none of its own. */
  #judge(machine: Machine, error: unknown): void {
    const { ordinal, id, disk, member } = machine;
    if (error instanceof DataDirError && id !== undefined && this.oracle.removed.has(id)) {
      // It was stopped between its removal and its own end: its data is refused from then on.
      machine.retired = true;
    } else if (error instanceof MemberRemovedError) {
      const known = id !== undefined && this.oracle.removed.has(id);
      this.verdict.expect(known, 'no crash', () => `member ${ordinal} takes itself for removed, and was not`);
    } else if (disk.flipped && error instanceof WalError && error.code === 'corrupt') {
      // It must not guess; here somebody knows what was there.
      this.count('wrong bits refused');
      disk.mend();
    } else if (disk.failures === 0) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.verdict.fail(member ? 'no crash' : 'restart', `member ${ordinal}: ${what}`);
    }
  }

  #add(init: Pick<Machine, never> & { readonly join?: Machine['join'] }): Machine {
    const ordinal = this.machines.length;
    const random = this.#random.fork(`machine ${ordinal}`);
    const machine = new Machine(this, { ordinal, random, join: init.join });
    this.machines.push(machine);
    return machine;
  }

  #ordinalOf(id: bigint): number {
    return this.machineOf(id)?.ordinal ?? 255;
  }
}

/**
 * One machine: a disk, and on it, one after the other, the runs of a whole member.
 *
 * A run is killed by cutting everything that could reach it: its timers, its disk, its messages, its calls. What its
 * promises wait for never comes, so it does nothing more, as a killed process. `start` begins the next run from what the
 * disk has.
 */
import { createMethods } from '../../../src/server/api/methods.ts';
import type { PasswordHasher } from '../../../src/server/auth/passwords.ts';
import { SimpleTokens } from '../../../src/server/auth/simple-tokens.ts';
import type { ExistingCluster, InitialMember } from '../../../src/server/member/boot.ts';
import { MemberRemovedError } from '../../../src/server/member/errors.ts';
import { Member } from '../../../src/server/member/member.ts';
import type { MemberOptions, TokenContext } from '../../../src/server/member/options.ts';
import type { PeerHost } from '../../../src/server/member/peers.ts';
import type { MethodTable } from '../../../src/server/rpc/call.ts';
import type { CrashMode } from '../../../src/server/storage/memory-disk.ts';
import type { Clock } from '../../../src/support/clock.ts';
import type { Network } from '../../../src/testing/network.ts';
import type { Journal } from '../journal.ts';
import { SimClock } from '../world/clock.ts';
import { SimProcess } from '../world/process.ts';
import type { Random } from '../world/random.ts';
import type { Scheduler } from '../world/scheduler.ts';
import { MachineDisk } from './disk.ts';
import { observeState, type StateObserver } from './instrument.ts';
import type { MemberSimOptions } from './options.ts';

/** What machines live in. */
export interface MachineWorld {
  readonly scheduler: Scheduler;
  readonly journal: Journal;
  readonly network: Network;
  /** The options in force; healing changes them. */
  readonly options: MemberSimOptions;
  readonly founders: readonly InitialMember[];
  /** A run is about to be made of these options: here a test breaks it. */
  prepare(machine: Machine, options: MemberOptions): MemberOptions;
  /** Hears what a run's state machine does. */
  stateObserver(machine: Machine): StateObserver;
  started(machine: Machine, member: Member): void;
  /** The leader as a machine knows it is another. */
  led(machine: Machine, leader: bigint): void;
  /** A run was killed, or has ended by itself. */
  ended(machine: Machine, cause: EndCause): void;
}

/** Why a run has ended. An error is what the member, or its start, failed with. */
export type EndCause = { readonly type: 'crash' | 'stop' } | { readonly type: 'failure'; readonly error: unknown };

/** Time of day at which each world begins, in ms since 1970. */
export const EPOCH_MS = 1_700_000_000_000;

const hasher: PasswordHasher = {
  cost: 4,
  hash: async (password) => `$2b$04$${password.padEnd(53, '.')}`,
  verify: async (password, hash) => hash === `$2b$04$${password.padEnd(53, '.')}`,
};

export class Machine {
  readonly world: MachineWorld;
  readonly ordinal: number;
  readonly name: string;
  readonly peerUrl: string;
  readonly disk: MachineDisk;
  /** The cluster that it joins; undefined: it is one of the founders. */
  readonly join: ExistingCluster | undefined;
  process = new SimProcess();
  clock: SimClock;
  /** The run's member, from its start on. */
  member: Member | undefined;
  methods: MethodTable | undefined;
  /** The id, once it has started for the first time. */
  id: bigint | undefined;
  /** How many runs there were. */
  runs = 0;
  /** It does not start again before. */
  downUntilUs = 0;
  /** In which sync of each of the next runs power fails; 0 is a run's first. */
  powerFailures: number[] = [];
  /** It was removed from its cluster and never starts again. */
  retired = false;
  /** Calls that are underway here: each ends when the run does. */
  readonly calls = new Set<() => void>();
  readonly #random: Random;
  readonly #crashes: Random;
  #rate = 1;

  constructor(
    world: MachineWorld,
    init: { readonly ordinal: number; readonly random: Random; readonly join?: ExistingCluster | undefined },
  ) {
    this.world = world;
    this.ordinal = init.ordinal;
    this.name = `m${init.ordinal}`;
    this.peerUrl = peerUrlOf(init.ordinal);
    this.join = init.join;
    this.#random = init.random;
    this.#crashes = init.random.fork('crashes');
    this.disk = new MachineDisk({
      scheduler: world.scheduler,
      random: init.random.fork('disk'),
      options: world.options.disk,
      done: (bytes) => world.journal.note('synced', this.ordinal, bytes),
      crashPoint: () => this.crash(this.#crashMode()),
      powerFails: () => this.crash(this.#crashes.pick(['prefix', 'subset'])),
    });
    this.clock = new SimClock(world.scheduler, this.process);
    this.process.kill();
  }

  /** Whether a run is there, be it that it starts. */
  get alive(): boolean {
    return this.process.alive;
  }

  /** Whether a member is there that can be asked. */
  get awake(): boolean {
    return this.process.alive && !this.process.paused && this.member !== undefined;
  }

  /** Names the run, for what clients are told by it. */
  get session(): string {
    return `${this.name}#${this.runs}`;
  }

  /** Begins a run from what the disk has. */
  start(): void {
    const { scheduler, journal } = this.world;
    this.runs += 1;
    const run = new SimProcess((action) => scheduler.after(0, action));
    this.process = run;
    this.disk.tearAfter(this.powerFailures.shift());
    this.clock = new SimClock(scheduler, run, this.#rate);
    journal.note('start', this.ordinal, this.runs);
    Member.start(this.world.prepare(this, this.#options(run))).then(
      (member) => {
        if (run.alive) this.#begun(run, member);
      },
      (error: unknown) => {
        if (run.alive) this.#end(run, { type: 'failure', error }, 'all');
      },
    );
  }

  /** The program ends at once. What was not synced is lost as the mode says; `all`: nothing, the machine goes on. */
  crash(mode: CrashMode): void {
    if (this.alive) this.#end(this.process, { type: 'crash' }, mode);
  }

  /** The member ends in good order. */
  stop(): void {
    const { process: run, member } = this;
    if (!run.alive || member === undefined) return;
    const stopped = (): void => {
      if (run.alive) this.#end(run, { type: 'stop' }, 'all');
    };
    member.stop().then(stopped, stopped);
  }

  /** Its clock runs at this rate from now on, in later runs too. */
  setRate(rate: number): void {
    this.#rate = rate;
    this.clock.setRate(rate);
  }

  #crashMode(): CrashMode {
    const harsh = this.world.options.faults.includes('harsh-crash');
    return harsh ? this.#crashes.pick(['none', 'prefix', 'subset', 'all']) : 'all';
  }

  #begun(run: SimProcess, member: Member): void {
    const { electionMs } = this.world.options;
    this.member = member;
    this.id = member.id;
    this.methods = createMethods(member, {
      maxTxnOps: 128,
      maxRequestBytes: 1_572_864,
      watchProgressMs: 1_000,
      random: () => this.#random.uint32() / 0x1_0000_0000,
      electionTimeoutMs: electionMs,
    });
    this.world.started(this, member);
    const failed = (error: unknown): void => {
      if (run.alive) this.#end(run, { type: 'failure', error }, 'all');
    };
    member.failed.then(failed, failed);
  }

  #end(run: SimProcess, cause: EndCause, mode: CrashMode): void {
    run.kill();
    if (this.id !== undefined) this.world.network.disconnect(this.id);
    this.disk.crash(mode);
    const calls = [...this.calls];
    this.calls.clear();
    for (const end of calls) end();
    if (cause.type === 'failure' && cause.error instanceof MemberRemovedError) this.retired = true;
    this.world.ended(this, cause);
    this.member = undefined;
    this.methods = undefined;
  }

  /** The same clock; its timers are events. */
  #traced(clock: SimClock): Clock {
    const { journal } = this.world;
    return {
      now: () => clock.now(),
      after: (delayMs, callback) =>
        clock.after(delayMs, () => {
          journal.note('tick', this.ordinal, 0);
          callback();
        }),
    };
  }

  #options(run: SimProcess): MemberOptions {
    const { scheduler, options, network, founders } = this.world;
    const { heartbeatMs, electionMs, snapshotCount, catchUpEntries, segmentBytes, checkpointMs } = options;
    const { corruptCheckMs, initialCorruptCheck, strictReconfigCheck } = options;
    const connect = network.connect({ run: (action) => run.run(action) });
    const random = this.#random.fork(`run ${this.runs}`);
    let made: TokenContext | undefined;
    return {
      name: this.name,
      clientUrls: [`http://${this.name}:2379`],
      initialCluster: this.join ? [{ name: this.name, peerUrls: [this.peerUrl] }] : founders,
      clusterToken: 'simulated',
      join: this.join,
      storage: { disk: this.disk.mount(run), dataDir: 'data', segmentBytes },
      clock: this.#traced(this.clock),
      timeOfDayMs: EPOCH_MS + scheduler.nowUs / 1000,
      random: (bound) => random.below(bound),
      pause: () => new Promise((resolve) => scheduler.after(1, () => run.run(resolve))),
      tokens: (context) => {
        made = context;
        return new SimpleTokens({ ...context, randomBytes: (count) => bytes(random, count) });
      },
      hasher,
      connect: (host: PeerHost) => {
        this.id = host.id;
        if (made) observeState(made, this.world.stateObserver(this));
        return connect(host);
      },
      heartbeatMs,
      electionMs,
      snapshotCount,
      snapshotCatchUpEntries: catchUpEntries,
      leaseCheckpointMs: checkpointMs,
      corruptCheckMs,
      compactHashCheckMs: corruptCheckMs,
      initialCorruptCheck,
      strictReconfigCheck,
      observe: {
        leader: (leader) => this.world.led(this, leader),
        snapshotSaved: (index) => this.world.journal.note('detail', this.ordinal, `image at ${index}`),
        snapshotFailed: () => this.world.journal.note('detail', this.ordinal, 'image failed'),
      },
    };
  }
}

/** Where a machine is reached by the others. */
export function peerUrlOf(ordinal: number): string {
  return `http://m${ordinal}:2380`;
}

function bytes(random: Random, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, () => random.below(256));
}

/**
 * Members of a {@link TestCluster}: started, killed, held and started again by a call.
 *
 * A member stays, its runs come and go. Calls that change its state wait for each other, but for `kill`, which waits for
 * nothing.
 *
 * @module
 */
import type { ExistingCluster, InitialMember } from '../server/member/boot.ts';
import { MemberRemovedError } from '../server/member/errors.ts';
import type { Member } from '../server/member/member.ts';
import type { EtcdServerOptions } from '../server/options.ts';
import { MemoryDisk } from '../server/storage/memory-disk.ts';
import { nodeDisk } from '../server/storage/node-disk.ts';
import { withoutSync } from '../server/storage/unsynced-disk.ts';
import { deferred } from '../support/signals.ts';
import type { ClientDoor } from './client-door.ts';
import { MemberRun } from './member-run.ts';
import type { Network } from './network.ts';
import type { TestWaitOptions } from './options.ts';

/**
 * How a member is: `running`; `paused`; `killed` or `stopped` by a call; `removed`, as it was from its cluster, for good;
 * or `failed` by itself, which {@link TestMember.failure} explains.
 */
export type TestMemberState = 'running' | 'paused' | 'killed' | 'stopped' | 'removed' | 'failed';

/** What a member says of itself. */
export interface TestMemberStatus {
  /** Id of the leader as known here; 0: none. */
  readonly leader: bigint;
  readonly term: number;
  /** Last entry of the log that is applied. */
  readonly appliedIndex: number;
  /** Revision of its keys. */
  readonly revision: number;
  readonly isLearner: boolean;
}

/** What a member is made of. */
export interface Seat {
  readonly name: string;
  readonly door: ClientDoor;
  readonly network: Network;
  readonly initialCluster: readonly InitialMember[];
  readonly join: ExistingCluster | undefined;
  readonly dataDir: string | undefined;
  /** Of its nth run. */
  readonly optionsOf: (run: number) => EtcdServerOptions;
  /** Waits, with time passing if it has to; no longer than the options say. */
  readonly wait: <T>(promise: Promise<T>, options: TestWaitOptions, what: string) => Promise<T>;
}

/**
 * A member of a {@link TestCluster}. Its endpoint, its name and its disk stay the same for as long as the cluster lasts,
 * however often it is killed and started again.
 */
export class TestMember {
  readonly name: string;
  /** Where clients reach it: `127.0.0.1:40123`. */
  readonly endpoint: string;
  /** Why it has ended by itself, if it has. */
  failure: unknown;
  readonly #seat: Seat;
  readonly #memory: MemoryDisk | undefined;
  #run: MemberRun | undefined;
  #runs = 0;
  #id = 0n;
  #state: TestMemberState = 'stopped';
  /** Resolves when the run ends. */
  #ended = deferred<void>();

  /** @internal Of a cluster. */
  constructor(seat: Seat) {
    this.#seat = seat;
    this.name = seat.name;
    this.endpoint = seat.door.address;
    this.#memory = seat.dataDir === undefined ? new MemoryDisk() : undefined;
  }

  /** Its id in the cluster; 0 before its first start. */
  get id(): bigint {
    return this.#id;
  }

  /** How it is. */
  get state(): TestMemberState {
    return this.#state;
  }

  /** Whether it takes itself for the leader; one that was cut off does so for a while. */
  get leads(): boolean {
    const { position } = this.#run?.member ?? {};
    return position !== undefined && position.leader === this.#id;
  }

  /** What it says of itself; undefined while it is not there. */
  get status(): TestMemberStatus | undefined {
    const member = this.#run?.member;
    if (member === undefined) return undefined;
    const { leader, term, applied: appliedIndex, isLearner } = member.position;
    return { leader, term, appliedIndex, revision: member.state.store.revision, isLearner };
  }

  /**
   * Ends it at once, as SIGKILL or a loss of power does: nobody is told, and clients' connections are reset. What it
   * had not synced is gone. Resolves when its ports are free of it; idempotent.
   */
  async kill(): Promise<void> {
    await this.#end('killed', (run) => run.kill());
    // What its disk was still asked for came before that.
    if (this.#state === 'killed' && this.#run === undefined) this.#memory?.crash('none');
  }

  /** Ends it in good order: it hands leadership over first. Idempotent. */
  async stop(options: TestWaitOptions = {}): Promise<void> {
    if (this.#state === 'paused') this.resume();
    const { wait } = this.#seat;
    await this.#end('stopped', (run) => wait(run.stop(), options, `the end of ${this.name}`));
  }

  /**
   * Starts it again from what its disk has, and waits until it serves clients; for that it needs a leader. When the
   * waiting ends early the member stays.
   *
   * @throws Error it is there already, was removed, or does not serve clients in time.
   * @throws DataDirError, WalError: its data can't be used.
   */
  async restart(options: TestWaitOptions = {}): Promise<void> {
    if (this.#run !== undefined) throw new Error(`${this.name} has not ended: it is ${this.#state}`);
    if (this.#state === 'removed') throw new Error(`${this.name} was removed from its cluster`);
    await this.start(options);
  }

  /** Holds it, as SIGSTOP does: its timers, its disk and all connections stand still, while time goes on. */
  pause(): void {
    if (this.#state !== 'running') return;
    this.#state = 'paused';
    this.#run?.gate.hold();
    this.#seat.door.halted = true;
  }

  /** Lets it go on, with all that has come meanwhile. */
  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    this.#run?.gate.open();
    this.#seat.door.halted = false;
  }

  /** Resets clients' connections, and those that come, as a firewall that rejects; until {@link admitClients}. */
  refuseClients(): void {
    this.#seat.door.state = 'refusing';
  }

  /** Nothing moves between clients and it, as behind a firewall that drops; until {@link admitClients}. */
  stallClients(): void {
    this.#seat.door.state = 'still';
  }

  /** Lets clients in again; what was on its way arrives. */
  admitClients(): void {
    this.#seat.door.state = 'open';
  }

  /** Resets the connections that clients have now. */
  dropClients(): void {
    this.#seat.door.drop();
  }

  /** @internal Starts it. */
  async start(options: TestWaitOptions): Promise<void> {
    const { network, initialCluster, join, door, dataDir, optionsOf, wait } = this.#seat;
    const server = optionsOf(this.#runs++);
    const disk = this.#memory ?? (server.unsafeNoFsync ? withoutSync(nodeDisk) : nodeDisk);
    const run = new MemberRun({ disk, network });
    this.#run = run;
    this.#state = 'running';
    const starting = async (): Promise<void> => {
      await run.start({ server: { ...server, dataDir: dataDir ?? 'data' }, initialCluster, join, network, disk });
      if (this.#run !== run || run.member === undefined || run.port === undefined) return;
      this.#begun(run, run.member);
      door.lead(run.port);
      // That it has ended says less than why.
      await run.member.ready.catch(() => {});
    };
    this.failure = undefined;
    this.#ended = deferred();
    const outcome = Promise.race([starting(), this.#ended.promise]);
    await wait(outcome, options, `${this.name} to serve clients`).catch(async (error: unknown) => {
      // It could not even start.
      if (this.#run === run && run.member === undefined) {
        this.failure = error;
        await this.#end('failed', () => run.kill());
      }
      throw error;
    });
    if (this.#state !== 'running' && this.#state !== 'paused') {
      throw new Error(`${this.name} was ${this.#state} before it served clients`, { cause: this.failure });
    }
  }

  /** @internal The member itself; undefined while it is not there. */
  get member(): Member | undefined {
    return this.#run?.member;
  }

  /** @internal It was taken out of its cluster: it ends for good. */
  async retire(): Promise<void> {
    await this.#end('removed', (run) => run.kill());
    await this.#seat.door.close();
  }

  /** @internal Whether its disk has something to do. */
  get busy(): boolean {
    return this.#run?.disk.busy ?? false;
  }

  #begun(run: MemberRun, member: Member): void {
    this.#id = member.id;
    void member.failed.then((error) => {
      if (this.#run !== run) return undefined;
      this.failure = error;
      return this.#end(error instanceof MemberRemovedError ? 'removed' : 'failed', () => run.kill());
    });
  }

  async #end(state: TestMemberState, how: (run: MemberRun) => Promise<void>): Promise<void> {
    const run = this.#run;
    if (run === undefined) return;
    this.#state = state;
    this.#seat.door.leave();
    const ended = how(run);
    this.#ended.resolve();
    await ended;
    if (this.#run === run) this.#run = undefined;
  }
}

/**
 * One run of a member, from a start to an end: what a process is for a member of etcd.
 *
 * It stands behind a {@link Gate}, so that it can be held and killed like a process. `stop` ends it in good order; `kill`
 * ends it at once, and nothing of it happens after that, whatever it was about to do.
 *
 * @module
 */
import { ServerMetrics } from '../server/http/metrics.ts';
import type { ExistingCluster, InitialMember } from '../server/member/boot.ts';
import type { Member } from '../server/member/member.ts';
import { type OpenPorts, openPorts } from '../server/open-ports.ts';
import type { EtcdServerOptions } from '../server/options.ts';
import { type StartedMember, startMember } from '../server/start-member.ts';
import type { Disk } from '../server/storage/disk.ts';
import { nextTurn } from '../server/system.ts';
import { type Clock, systemClock } from '../support/clock.ts';
import { deferred } from '../support/signals.ts';
import { Gate } from './gate.ts';
import { GatedDisk } from './gated-disk.ts';
import type { Network } from './network.ts';

/** What a run starts from. */
export interface RunOptions {
  /** As a server of its own would have them; the clock is the cluster's. */
  readonly server: EtcdServerOptions;
  readonly initialCluster: readonly InitialMember[];
  readonly join: ExistingCluster | undefined;
  readonly network: Network;
  readonly disk: Disk;
}

/** See the head of this file. */
export class MemberRun {
  readonly gate = new Gate();
  readonly disk: GatedDisk;
  readonly #network: Network;
  #started: StartedMember | undefined;
  #ports: OpenPorts | undefined;
  #killed = false;
  readonly #dead = deferred<void>();

  constructor({ disk, network }: Pick<RunOptions, 'disk' | 'network'>) {
    this.disk = new GatedDisk(disk, this.gate);
    this.#network = network;
  }

  /** The member; undefined before it has started. */
  get member(): Member | undefined {
    return this.#started?.member;
  }

  /** The port where it serves clients; undefined while it does not. */
  get port(): number | undefined {
    return this.#ports && Number(/\d+$/.exec(this.#ports.endpoint)?.[0]);
  }

  /**
   * Starts it; it may not have a leader yet. Never ends if it is killed meanwhile.
   *
   * @throws DataDirError, WalError: its data can't be used.
   */
  async start({ server, initialCluster, join, network }: RunOptions): Promise<void> {
    const { gate, disk } = this;
    const options: EtcdServerOptions = { ...server, clock: gate.clock(server.clock ?? systemClock) };
    const { quotaBytes: quotaBackendBytes, extensiveMetrics: extensive, slowApplyMs } = options;
    const metrics = new ServerMetrics({ quotaBackendBytes, extensive, slowApplyMs });
    const connect = network.connect({ run: (action) => gate.run(action) });
    const surroundings = { initialCluster, join, connect, disk, pause: () => gate.pass(nextTurn()) };
    const clientUrls = Promise.resolve(options.advertiseClientUrls ?? []);
    const started = await startMember(options, surroundings, clientUrls, metrics.observer);
    this.#started = started;
    const { member } = started;
    try {
      const ports = await openPorts(options, member, metrics, member.ready, true);
      // Who was killed meanwhile has closed all that there was.
      if (this.#killed) await ports.close(0);
      else this.#ports = ports;
    } catch (error) {
      await member.stop();
      await started.hasher.close();
      throw error;
    }
  }

  /** Ends it in good order: it hands leadership over, and syncs what it has. A kill overtakes it. Never rejects. */
  async stop(): Promise<void> {
    await this.#ports?.close(0);
    await Promise.race([this.#started?.member.stop(), this.#dead.promise]);
    await this.kill();
  }

  /** Ends it at once. What it had asked its disk for may still be done, and is when this resolves. Never rejects. */
  async kill(): Promise<void> {
    this.#killed = true;
    this.#dead.resolve();
    this.gate.close();
    const { member, hasher } = this.#started ?? {};
    if (member) this.#network.disconnect(member.id);
    await this.#ports?.close(0);
    await hasher?.close();
    await this.disk.abandon();
  }
}

/** Time that goes by a clock of any start, as a time of day: for ids, which are to differ from run to run. */
export function timeOfDayBy(clock: Clock, run: number): () => number {
  return () => BEGIN_MS + run * RUN_MS + clock.now();
}

/** The first of January 2026, in ms since 1970. */
const BEGIN_MS = 1_767_225_600_000;
/** More than a run lasts, and than it has requests. */
const RUN_MS = 3_600_000;

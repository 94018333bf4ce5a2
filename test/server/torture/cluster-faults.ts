/**
 * What happens to the members of a tortured cluster: one fault after the other, by a seed, some of them two at a time.
 *
 * Every fault is undone before the next one, but what it leaves behind may last: nobody waits for a member that comes
 * back to have caught up.
 */
import { closeSync, existsSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Maintenance } from '../../../src/protocol/generated/etcdserverpb.ts';
import { SECTOR_BYTES } from '../../../src/server/storage/disk.ts';
import { nodeDisk } from '../../../src/server/storage/node-disk.ts';
import { FrameEncoder, RecordType } from '../../../src/server/wal/frame.ts';
import { Scanner } from '../../../src/server/wal/scanner.ts';
import { listSegments } from '../../../src/server/wal/segments.ts';
import type { Random } from '../../simulation/world/random.ts';
import { type ClusterSeat, type TorturedCluster, within } from './cluster-seats.ts';

const CALL_MS = 3_000;
/** How long a fault lasts, at most: longer than an election, and than a lease. */
const HOLD_MS = 3_500;
const LULL_MS = 600;
/** A record that a crash tore: it says that it is so long, and has not more than so many sectors of it. */
const TORN_BYTES = 3_000;
const TORN_SECTORS = 3;

/** What can happen. */
export type FaultName =
  | 'kill'
  | 'kill all'
  | 'torn tail'
  | 'stop'
  | 'isolate'
  | 'kill one, isolate another'
  | 'deaf'
  | 'mute'
  | 'delay'
  | 'reset'
  | 'move leader'
  | 'replace';

type Kind = readonly [name: FaultName, weight: number, inflict: (seat: ClusterSeat) => Promise<void>];

/** See the head of this file. */
export class Faults {
  /** How many of each there have been. */
  readonly counts: Record<string, number> = {};
  readonly #cluster: TorturedCluster;
  readonly #random: Random;
  readonly #tell: (line: string) => void;
  readonly #kinds: readonly Kind[] = [
    ['kill', 5, (seat) => this.#kill(seat)],
    ['kill all', 1, () => this.#killAll()],
    ['torn tail', 2, (seat) => this.#tear(seat)],
    ['stop', 4, (seat) => this.#stop(seat)],
    ['isolate', 4, (seat) => this.#isolate(seat)],
    ['kill one, isolate another', 1, (seat) => this.#killAndIsolate(seat)],
    ['deaf', 2, (seat) => this.#oneWay(seat, 'in')],
    ['mute', 2, (seat) => this.#oneWay(seat, 'out')],
    ['delay', 2, (seat) => this.#delay(seat)],
    ['reset', 2, (seat) => this.#reset(seat)],
    ['move leader', 3, (seat) => this.#moveLeader(seat)],
    ['replace', 3, (seat) => this.#replace(seat)],
  ];

  constructor(cluster: TorturedCluster, random: Random, tell: (line: string) => void) {
    this.#cluster = cluster;
    this.#random = random;
    this.#tell = tell;
  }

  /** Until the time is over, and so many have been inflicted: a busy machine is slow to undo them. */
  async run(ms: number, atLeast: number): Promise<void> {
    const until = performance.now() + ms;
    for (let faults = 0; faults < atLeast || performance.now() < until; faults++) {
      await this.#inflict(this.#pick());
      await sleep(this.#random.below(LULL_MS));
    }
  }

  /** One after the other of these, each once in a round, until the time is over and a round too; all is well between two. */
  async runInTurn(names: readonly FaultName[], ms: number): Promise<void> {
    const until = performance.now() + ms;
    do {
      const round = this.#kinds.filter(([name]) => names.includes(name));
      while (round.length > 0) {
        const [kind] = round.splice(this.#random.below(round.length), 1);
        if (kind) await this.#inflict(kind);
        await this.#cluster.recover();
      }
    } while (performance.now() < until);
  }

  async #inflict([name, , inflict]: Kind): Promise<void> {
    const leader = this.#random.chance(0.4) ? await this.#cluster.leader() : undefined;
    const seat = leader ?? this.#random.pick(this.#cluster.seats);
    this.counts[name] = (this.counts[name] ?? 0) + 1;
    this.#tell(`${name} (${seat.name}${leader ? ', the leader' : ''})`);
    await inflict(seat);
  }

  #pick(): Kind {
    let roll = this.#random.below(this.#kinds.reduce((sum, [, weight]) => sum + weight, 0));
    for (const kind of this.#kinds) {
      roll -= kind[1];
      if (roll < 0) return kind;
    }
    throw new RangeError('no kind of fault');
  }

  #hold(): Promise<void> {
    return sleep(this.#random.between(100, HOLD_MS));
  }

  async #kill(seat: ClusterSeat): Promise<void> {
    await seat.member.kill();
    await this.#hold();
    await this.#cluster.spawn(seat);
  }

  async #killAll(): Promise<void> {
    const { seats } = this.#cluster;
    await Promise.all(seats.map(({ member }) => member.kill()));
    for (const seat of seats) await this.#cluster.spawn(seat);
  }

  async #tear(seat: ClusterSeat): Promise<void> {
    await seat.member.kill();
    await tearTail(seat.dataDir, this.#random);
    await this.#hold();
    await this.#cluster.spawn(seat);
  }

  async #stop(seat: ClusterSeat): Promise<void> {
    if (!seat.member.running) return;
    seat.member.pause();
    await this.#hold();
    if (seat.member.running) seat.member.resume();
  }

  async #isolate(seat: ClusterSeat): Promise<void> {
    this.#cluster.network.isolate(seat.index);
    await this.#hold();
    this.#cluster.network.heal();
  }

  async #killAndIsolate(seat: ClusterSeat): Promise<void> {
    const other = this.#random.pick(this.#cluster.seats.filter((one) => one !== seat));
    this.#cluster.network.isolate(other.index);
    await this.#kill(seat);
    await this.#hold();
    this.#cluster.network.heal();
  }

  async #oneWay(seat: ClusterSeat, way: 'in' | 'out'): Promise<void> {
    const { network, seats } = this.#cluster;
    for (const { index } of seats)
      if (index !== seat.index) network.silence(way === 'in' ? index : seat.index, way === 'in' ? seat.index : index);
    await this.#hold();
    network.heal();
  }

  async #delay(seat: ClusterSeat): Promise<void> {
    this.#cluster.network.delay(seat.index, this.#random.between(10, 400));
    await this.#hold();
    this.#cluster.network.heal();
  }

  async #reset(seat: ClusterSeat): Promise<void> {
    for (let left = this.#random.between(1, 4); left > 0; left--) {
      this.#cluster.network.reset(seat.index);
      await sleep(this.#random.below(LULL_MS));
    }
  }

  /** It may be refused, or lost. */
  async #moveLeader(seat: ClusterSeat): Promise<void> {
    const leader = await this.#cluster.leader();
    const others = this.#cluster.seats.filter((one) => one !== leader);
    const target = seat === leader ? this.#random.pick(others) : seat;
    const status = await target.member.status().catch(() => undefined);
    if (leader === undefined || status === undefined) return;
    await within(leader.clientUrl, CALL_MS, (client) =>
      client.unary(Maintenance.moveLeader, { targetID: BigInt(status.memberId) }),
    ).catch(() => {});
  }

  async #replace(seat: ClusterSeat): Promise<void> {
    // Changes of the members are refused while some are away.
    await this.#cluster.recover();
    await this.#cluster.remove(seat);
    await this.#hold();
    await this.#cluster.add(seat, seat.version, this.#random.chance(0.5));
  }
}

/** Leaves behind the end of the log what a write leaves that was cut short: a part of a record, then nothing. */
async function tearTail(dataDir: string, random: Random): Promise<void> {
  const wal = path.join(dataDir, 'member', 'wal');
  if (!existsSync(wal)) return;
  const segments = await listSegments(nodeDisk, wal);
  const last = segments.at(-1);
  if (last === undefined) return;
  const scanner = new Scanner(nodeDisk, wal, segments);
  while ((await scanner.next()) !== undefined);
  const end = scanner.offset;
  await scanner.close();
  const frames = new FrameEncoder(scanner.crc);
  frames.add(RecordType.entry, Buffer.alloc(TORN_BYTES, random.between(1, 255)));
  // Disks write whole sectors.
  const written = SECTOR_BYTES - (end % SECTOR_BYTES) + random.below(TORN_SECTORS) * SECTOR_BYTES;
  const record = frames.take().subarray(0, written);
  const file = openSync(path.join(wal, last.name), 'r+');
  try {
    writeSync(file, record, 0, record.length, end);
  } finally {
    closeSync(file);
  }
}

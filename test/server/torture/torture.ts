/**
 * Kills a server again and again while clients write, and looks each time whether everything is there.
 *
 * One data directory and one port for all lives, with syncs that are real. Files of the log and pauses between images
 * are short, so that many kills come in the middle of one. A part of the kills comes while the server starts.
 *
 * After each kill: the watcher, resumed after the last event that it had, misses and repeats nothing; every revision is
 * one whole operation; everything acknowledged is there, at its revision; HashKV is that of a model; leases and users
 * are those that were made. When and where kills come depends on the machine; what is written comes from the seed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Auth,
  KV,
  Lease,
  Maintenance,
  Watch,
  type WatchResponse,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { type Event, EventType } from '../../../src/protocol/generated/mvccpb.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { freePorts, releasePorts } from '../../support/ports.ts';
import { buildServer } from '../../support/server-build.ts';
import { Dice } from './dice.ts';
import { Follower } from './follower.ts';
import { Ledger, TortureFailure } from './ledger.ts';
import { StoreModel, tombstone, type Version } from './store-model.ts';
import { Victim } from './victim.ts';
import { WireClient } from './wire-client.ts';
import { Certainty, type World, Writer } from './writers.ts';

/** How to torture. */
export interface TortureOptions {
  readonly kills: number;
  readonly seed: number;
  /** Hears of each life. */
  readonly tell?: ((line: string) => void) | undefined;
}

/** What happened. */
export interface TortureReport {
  readonly kills: number;
  /** Kills that came before the server could serve. */
  readonly killedStarting: number;
  readonly acknowledged: number;
  readonly revision: number;
  readonly snapshots: number;
  /** From when the server may touch its data to when it serves, in ms: the median. */
  readonly startMs: number;
}

const CLIENTS = 6;
const LANES = 4;
/** Writes that are acknowledged before a kill, at most, and how long it may come after the last of them, in ms. */
const LIFE_WRITES = 150;
const LIFE_MORE_MS = 6;
/** How many kills come while the server starts, and how long it may have had, in ms. */
const STARTING_KILLS = 0.1;
const STARTING_MS = 80;

const FLAGS = ['--snapshot-count=60', '--snapshot-catchup-entries=10', '--wal-segment-bytes=16384', '--bcrypt-cost=4'];

/** Does what the head of this file says. @throws TortureFailure naming seed and life. */
export async function torture(options: TortureOptions): Promise<TortureReport> {
  using build = buildServer();
  await using folder = new TempFolder('etcdkit-torture');
  const [port, peer] = (await freePorts(2)) as [number, number];
  const url = `http://127.0.0.1:${port}`;
  const args = [
    `--data-dir=${folder.file('data')}`,
    `--listen-client-urls=${url}`,
    `--advertise-client-urls=${url}`,
    `--listen-peer-urls=http://127.0.0.1:${peer}`,
    `--initial-advertise-peer-urls=http://127.0.0.1:${peer}`,
    `--initial-cluster=default=http://127.0.0.1:${peer}`,
    ...FLAGS,
  ];
  await using follower = new Follower(url);
  const lives = new Lives(options, url, () => new Victim(build, args), follower);
  try {
    return await lives.run();
  } finally {
    await lives.end();
    releasePorts([port, peer]);
  }
}

class Lives {
  readonly #options: TortureOptions;
  readonly #url: string;
  readonly #follower: Follower;
  readonly #make: () => Victim;
  readonly #dice: Dice;
  readonly #world: World = {
    ledger: new Ledger(new StoreModel()),
    leases: new Certainty(),
    users: new Certainty(),
    compacted: { acknowledged: -1, asked: -1 },
    compactable: () => Math.min(this.#world.ledger.seenRevision, this.#follower.revision),
    acknowledged: 0,
    next: 0,
  };
  readonly #starts: number[] = [];
  #victim: Victim | undefined;
  #next: Victim | undefined;
  #killedStarting = 0;
  #snapshots = 0;

  constructor(options: TortureOptions, url: string, make: () => Victim, follower: Follower) {
    this.#options = options;
    this.#url = url;
    this.#follower = follower;
    this.#make = make;
    this.#dice = new Dice(options.seed);
  }

  async run(): Promise<TortureReport> {
    const { kills, seed } = this.#options;
    for (let life = 1; life <= kills + 1; life++) {
      try {
        await this.#live(life > kills);
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        throw new TortureFailure(`seed ${seed}, life ${life}: ${text}\n${this.#victim?.log ?? ''}`, { cause: error });
      }
    }
    return {
      kills,
      killedStarting: this.#killedStarting,
      acknowledged: this.#world.acknowledged,
      revision: this.#world.ledger.model.revision,
      snapshots: this.#snapshots,
      startMs: this.#starts.toSorted((a, b) => a - b)[this.#starts.length >> 1] ?? Number.NaN,
    };
  }

  async end(): Promise<void> {
    await this.#victim?.kill();
    await this.#next?.kill();
  }

  async #live(last: boolean): Promise<void> {
    const victim = this.#next ?? this.#make();
    this.#victim = victim;
    this.#next = last ? undefined : this.#make();
    await victim.held();
    const begunAt = performance.now();
    victim.go();
    if (!last && this.#dice.chance(STARTING_KILLS)) {
      await sleep(this.#dice.below(STARTING_MS));
      await this.#kill(victim);
      if (!victim.log.includes('ready to serve')) this.#killedStarting += 1;
      return;
    }
    await victim.ready();
    this.#starts.push(performance.now() - begunAt);
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => WireClient.open(this.#url)));
    try {
      await this.#look(clients[0] as WireClient);
      if (last) return await this.#compareFollower();
      const writing = clients.flatMap((client) =>
        Array.from({ length: LANES }, () => new Writer(this.#world, client, this.#dice).run()),
      );
      const written = Promise.all(writing);
      const enough = this.#world.acknowledged + this.#dice.below(LIFE_WRITES);
      const moreMs = this.#dice.below(LIFE_MORE_MS);
      await Promise.race([this.#acknowledged(enough), written]);
      await sleep(moreMs);
      if (victim.dead) throw new TortureFailure('the server has ended by itself');
      await this.#kill(victim);
      await written;
    } finally {
      for (const client of clients) client.close();
    }
  }

  /** Resolves once so many writes are acknowledged. */
  async #acknowledged(count: number): Promise<void> {
    while (this.#world.acknowledged < count && !this.#victim?.dead) await sleep(1);
  }

  async #kill(victim: Victim): Promise<void> {
    await victim.kill();
    this.#snapshots += victim.log.split('"saved snapshot"').length - 1;
    if (/"level":"(error|fatal)"/.test(victim.log)) throw new TortureFailure('the server has reported a fault');
    if (victim.log.includes('torture-secret')) throw new TortureFailure('a password is in the log');
  }

  /** Resumes the watcher, which goes on to the end of this life, and compares. */
  async #look(client: WireClient): Promise<void> {
    const { ledger, compacted } = this.#world;
    const { header } = await client.unary(KV.range, {
      key: Buffer.from([0]),
      rangeEnd: Buffer.from([0]),
      countOnly: true,
    });
    const revision = Number(header?.revision);
    await this.#watch(client, revision);
    ledger.settle(revision);
    const { hash, compactRevision } = await client.unary(Maintenance.hashKV, {});
    const at = Number(compactRevision);
    if (at < compacted.acknowledged || at > compacted.asked)
      throw new TortureFailure(`compacted at ${at}, not ${compacted.acknowledged} to ${compacted.asked}`);
    compacted.acknowledged = at;
    compacted.asked = Math.max(at, compacted.asked);
    if (hash !== ledger.model.hash(at)) throw new TortureFailure(`another hash than the model's, at ${revision}`);
    await this.#compareRest(client);
    this.#options.tell?.(`revision ${revision}, compacted at ${at}, ${this.#world.acknowledged} acknowledged`);
  }

  async #compareRest(client: WireClient): Promise<void> {
    const { ledger, leases, users } = this.#world;
    const list = await client.unary(Lease.leaseLeases, {});
    const wrong =
      leases.resolve(new Set(list.leases.map(({ ID }) => ID))) ??
      users.resolve(new Set((await client.unary(Auth.userList, {})).users));
    if (wrong !== undefined) throw new TortureFailure(`of leases and users: ${wrong}`);
    const [id] = leases.certain;
    if (id === undefined) return;
    const { keys } = await client.unary(Lease.leaseTimeToLive, { ID: id, keys: true });
    const expected = [...ledger.model.live.values()].filter(({ lease }) => lease === id).map(({ key }) => key);
    const found = keys
      .map((key) => Buffer.from(key).toString())
      .sort()
      .join();
    if (found !== expected.sort().join())
      throw new TortureFailure(`lease ${id} has the keys ${found}, not ${expected.join()}`);
  }

  async #compareFollower(): Promise<void> {
    const { ledger } = this.#world;
    await this.#follower.reach(ledger.seenRevision);
    if (this.#follower.digest !== ledger.digest)
      throw new TortureFailure('the watch that lived through all kills got other changes');
  }

  /** Resolves once it has seen that revision. */
  #watch(client: WireClient, revision: number): Promise<void> {
    const { ledger } = this.#world;
    return new Promise((resolve, reject) => {
      const check = (): void => {
        if (ledger.seenRevision >= revision) resolve();
      };
      const stream = client.stream(Watch.watch, (response: WatchResponse) => {
        try {
          if (response.canceled) throw new TortureFailure('the watcher was canceled');
          ledger.saw(response.events.map(versionOf));
          check();
        } catch (error) {
          reject(error);
          // The writers end with it.
          client.close();
        }
      });
      const all = { key: Buffer.from([0]), rangeEnd: Buffer.from([0]) };
      stream.send({ createRequest: { ...all, startRevision: BigInt(ledger.seenRevision + 1) } });
      check();
    });
  }
}

function versionOf({ type, kv }: Event): Version {
  if (kv === undefined) throw new TortureFailure('an event without its key');
  const key = Buffer.from(kv.key).toString();
  const mod = Number(kv.modRevision);
  if (type === EventType.DELETE) return tombstone(key, mod);
  const [create, version] = [Number(kv.createRevision), Number(kv.version)];
  return { key, deleted: false, value: Buffer.from(kv.value).toString(), lease: kv.lease, create, mod, version };
}

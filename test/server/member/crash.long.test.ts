/**
 * The power fails at every step of the disk, in every way: while a member is founded, while it writes its log, and while
 * it writes images. Nothing that was acknowledged is lost, and nothing is there by half.
 */
import { describe, expect, it } from 'vitest';
import { fromLatin1 } from '../../../src/protocol/keys.ts';
import type { Member } from '../../../src/server/member/member.ts';
import { Member as RunningMember } from '../../../src/server/member/member.ts';
import type { Disk, DiskFile } from '../../../src/server/storage/disk.ts';
import { type CrashMode, MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { optionsOf, startMember, valueAt } from './support.ts';

/** A disk whose power fails at the change with a given number. */
class FailingDisk implements Disk {
  left: number;
  readonly #disk: Disk;

  constructor(disk: Disk, left: number) {
    this.#disk = disk;
    this.left = left;
  }

  /** Whether it has failed. */
  get dead(): boolean {
    return this.left < 0;
  }

  async open(...args: Parameters<Disk['open']>): Promise<DiskFile> {
    if (args[1]?.mode === 'create') this.#step();
    const file = await this.#disk.open(...args);
    const step = (): void => this.#step();
    return {
      size: () => file.size(),
      read: (offset, length) => file.read(offset, length),
      tryLock: () => file.tryLock(),
      close: () => file.close(),
      resize: async (bytes) => {
        step();
        await file.resize(bytes);
      },
      write: async (offset, bytes) => {
        step();
        await file.write(offset, bytes);
      },
      sync: async () => {
        step();
        await file.sync();
      },
    };
  }

  list: Disk['list'] = (directory) => this.#disk.list(directory);
  makeDirectory: Disk['makeDirectory'] = async (directory) => {
    this.#step();
    await this.#disk.makeDirectory(directory);
  };
  rename: Disk['rename'] = async (from, to) => {
    this.#step();
    await this.#disk.rename(from, to);
  };
  remove: Disk['remove'] = async (path) => {
    this.#step();
    await this.#disk.remove(path);
  };
  syncDirectory: Disk['syncDirectory'] = async (directory) => {
    this.#step();
    await this.#disk.syncDirectory(directory);
  };

  #step(): void {
    this.left -= 1;
    if (this.dead) throw Object.assign(new Error('the power is gone'), { code: 'EIO' });
  }
}

/** Small enough that a few puts need several files and images. */
const SMALL = { snapshotCount: 7, snapshotCatchUpEntries: 2 };
const PUTS = 18;

const stored = (clock: VirtualClock, disk: Disk) =>
  optionsOf(clock, { ...SMALL, storage: { disk, dataDir: 'data', segmentBytes: 1_500 } });

/** Both keys get the number in one transaction: one without the other would be half of it. */
function putBoth(member: Member, value: number): Promise<unknown> {
  const op = (key: string) => ({
    requestPut: {
      key: fromLatin1(key),
      value: fromLatin1(String(value)),
      lease: 0n,
      prevKv: false,
      ignoreValue: false,
      ignoreLease: false,
    },
  });
  return member.propose({ txn: { compare: [], success: [op('a'), op('b')], failure: [] } });
}

/** Lives until the power fails, or the puts are done. @returns The last number that was acknowledged. */
async function live(disk: FailingDisk, first: number): Promise<number> {
  const clock = new VirtualClock();
  let acknowledged = first - 1;
  let member: Member;
  try {
    member = await RunningMember.start(stored(clock, disk));
    await member.ready;
  } catch {
    return acknowledged;
  }
  for (let value = first; value < first + PUTS; value++) {
    try {
      await putBoth(member, value);
      acknowledged = value;
    } catch {
      break;
    }
    // An image goes on while the next puts come.
    if (value % 3 === 0) await clock.settle();
  }
  await member.stop();
  return acknowledged;
}

async function look(disk: Disk): Promise<{ value: number; revision: number }> {
  const clock = new VirtualClock();
  await using member = await startMember(clock, disk, { ...SMALL, storage: stored(clock, disk).storage });
  const a = valueAt(member, 'a') ?? '0';
  expect(valueAt(member, 'b') ?? '0').toBe(a);
  return { value: Number(a), revision: member.state.store.revision };
}

/** Numbers that look random and are the same each time. */
function numbers(seed: number): () => number {
  let state = seed * 2_654_435_761 + 1;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 0x9e37) >>> 0;
    return state / 2 ** 32;
  };
}

describe.each<CrashMode>(['none', 'prefix', 'subset', 'all'])(
  'a crash after which %s of what was not synced survives',
  (mode) => {
    it('loses nothing that was acknowledged, whenever it comes', async () => {
      let images = 0;
      for (let steps = 0; ; steps++) {
        const memory = new MemoryDisk();
        const random = numbers(steps + 1);
        const disk = new FailingDisk(memory, steps);
        const acknowledged = await live(disk, 1);
        memory.crash(mode, random);
        const found = await look(memory);
        expect(found.value, `after ${steps} steps`).toBeGreaterThanOrEqual(acknowledged);
        expect(found.value).toBeLessThanOrEqual(acknowledged + 1);
        // Each transaction is one revision: none was applied twice, none left out.
        expect(found.revision, `after ${steps} steps`).toBe(found.value + 1);
        // And it goes on from there, through images too.
        const more = await live(new FailingDisk(memory, 1_000), found.value + 1);
        expect(more).toBe(found.value + PUTS);
        memory.crash(mode, random);
        expect((await look(memory)).value).toBe(more);
        if ((await memory.list('data/member/snap'))?.includes('db')) images += 1;
        if (!disk.dead) break;
      }
      expect(images).toBeGreaterThan(20);
    });
  },
);

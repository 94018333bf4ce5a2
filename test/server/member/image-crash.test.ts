/** Power fails at each step at which a member takes in an image; whatever is on the disk then, it can be started from. */
import { describe, expect, it } from 'vitest';
import type { Member } from '../../../src/server/member/member.ts';
import type { Disk, DiskFile } from '../../../src/server/storage/disk.ts';
import type { CrashMode, MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { TestMembers } from './cluster.ts';
import { DATA_DIR, valueAt } from './support.ts';

const THREE = ['a', 'b', 'c'];

/** A disk whose power fails at a call; 0: never. */
class FailingDisk implements Disk {
  calls: string[] = [];
  failAt = 0;
  readonly #disk: MemoryDisk;
  readonly #mode: CrashMode;
  #dead = false;
  #dice = 7;

  constructor(disk: MemoryDisk, mode: CrashMode) {
    this.#disk = disk;
    this.#mode = mode;
  }

  get dead(): boolean {
    return this.#dead;
  }

  async open(...args: Parameters<Disk['open']>): Promise<DiskFile> {
    const [path, options] = args;
    if (options?.mode === 'create') this.#call(`create ${path}`);
    const file = await this.#disk.open(...args);
    return {
      size: () => file.size(),
      read: (offset, length) => file.read(offset, length),
      tryLock: () => file.tryLock(),
      close: () => file.close(),
      resize: (bytes) => this.#then(`resize ${path}`, () => file.resize(bytes)),
      write: (offset, bytes) => this.#then(`write ${path}`, () => file.write(offset, bytes)),
      sync: () => this.#then(`sync ${path}`, () => file.sync()),
    };
  }

  rename(from: string, to: string): Promise<void> {
    return this.#then(`rename ${to}`, () => this.#disk.rename(from, to));
  }

  makeDirectory(path: string): Promise<void> {
    return this.#disk.makeDirectory(path);
  }

  remove(path: string): Promise<void> {
    return this.#then(`remove ${path}`, () => this.#disk.remove(path));
  }

  syncDirectory(path: string): Promise<void> {
    return this.#then(`sync names ${path}`, () => this.#disk.syncDirectory(path));
  }

  list: Disk['list'] = (path) => this.#disk.list(path);

  async #then<T>(call: string, action: () => Promise<T>): Promise<T> {
    this.#call(call);
    return action();
  }

  #call(call: string): void {
    if (this.#dead) throw new Error('the machine is off');
    this.calls.push(call);
    if (this.calls.length !== this.failAt) return;
    this.#dead = true;
    this.#disk.crash(this.#mode, () => {
      this.#dice = (this.#dice * 48_271) % 2_147_483_647;
      return this.#dice / 2_147_483_647;
    });
    throw new Error('power fails');
  }
}

/** Lets a follower take an image in until its power fails. @returns What its disk was asked for. */
async function run(mode: CrashMode, failAt: number) {
  const often = { snapshotCount: 10, snapshotCatchUpEntries: 2 };
  const members = await TestMembers.found(THREE, often);
  const leader = members.leader as Member;
  const name = members.nameOf(members.follower);
  // Its own image is there already, of an earlier moment.
  for (let i = 0; i < 15; i += 1) await members.put(leader, `old${i}`, '1');
  await members.agree('old14', '1', members.get(name));
  await members.kill(name);
  for (let i = 0; i < 40; i += 1) await members.put(leader, `k${i}`, `${i}`);
  const disk = new FailingDisk(members.disk(name), mode);
  const storage = { disk, dataDir: DATA_DIR, segmentBytes: 20_000 };
  const member = await members.restart(name, { storage });
  disk.calls = [];
  disk.failAt = failAt;
  await members.until(() => disk.dead || valueAt(member, 'k39') === '39');
  const { calls } = disk;
  members.network.disconnect(member.id);
  await members.settled(member.stop());
  return { members, name, leader, calls, died: disk.dead };
}

describe.each<CrashMode>(['none', 'all', 'subset'])('power that fails while an image comes in (left: %s)', (mode) => {
  it('leaves what the member can be started from, at each step', async () => {
    let failAt = 1;
    for (; ; failAt += 1) {
      const { members, name, leader, died } = await run(mode, failAt);
      const back = await members.restart(name);
      // What it had acknowledged is there, or what replaces it.
      await members.until(() => valueAt(back, 'old14') === '1');
      await members.put(leader, 'after', `${failAt}`);
      await members.agree('after', `${failAt}`, back);
      expect(back.state.rows()).toEqual(leader.state.rows());
      expect(back.state.hashKv(0)).toEqual(leader.state.hashKv(0));
      await members.stop();
      if (!died) break;
    }
    // Into a file, synced, renamed, its name synced, and the log's record.
    expect(failAt).toBeGreaterThan(8);
  });
});

it('the image gets its place before the log says so, and not before it is synced', async () => {
  const { members, calls } = await run('none', 0);
  const steps = calls
    .map((call) => call.replaceAll(`${DATA_DIR}/member/`, ''))
    .filter((call) => /snap|wal/.test(call))
    .map((call) => call.replace(/wal\/.*/, 'wal').replace(/\.peer\.\d+/, '.peer'));
  const first = steps.indexOf('create snap/db.peer');
  const seen = steps.slice(first).filter((step, i, all) => step !== all[i - 1] && !/wal/.test(step));
  expect(seen.slice(0, 5)).toEqual([
    'create snap/db.peer',
    'write snap/db.peer',
    'sync snap/db.peer',
    'rename snap/db',
    'sync names snap',
  ]);
  // After its names are durable comes the record.
  expect(steps.slice(steps.indexOf('sync names snap', first) + 1).some((step) => step === 'sync wal')).toBe(true);
  await members.stop();
});

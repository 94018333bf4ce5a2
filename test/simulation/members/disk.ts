/**
 * The disk of one machine: a `MemoryDisk` whose syncs take time, that runs full, stands still and fails.
 *
 * What programs do with it is done by one run after the other. A run that was killed hears nothing any more: what it
 * waits for never comes. Writes reach the memory of the machine at once; only syncs are events.
 */
import { type Disk, type DiskFile, type OpenOptions, SECTOR_BYTES } from '../../../src/server/storage/disk.ts';
import { type CrashMode, MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import type { SimProcess } from '../world/process.ts';
import type { Random } from '../world/random.ts';
import type { Scheduler } from '../world/scheduler.ts';
import type { MachineDiskOptions } from './options.ts';

export interface MachineDiskWorld {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly options: MachineDiskOptions;
  /** So many bytes were written; a sync is done: 0. */
  readonly done: (bytes: number) => void;
  /** The program is to end here. */
  readonly crashPoint: () => void;
  /** The machine is to end here, and loses some of what is not durable. */
  readonly powerFails: () => void;
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

function never<T>(): Promise<T> {
  return new Promise(() => {});
}

export class MachineDisk {
  options: MachineDiskOptions;
  readonly #disk = new MemoryDisk();
  readonly #world: MachineDiskWorld;
  #stalledUntilUs = 0;
  /** Nothing more fits on it. */
  full = false;
  /** The next sync fails. */
  failsSync = false;
  /** Chance that a sector that was not synced has a wrong bit after the next crash. */
  flipChance = 0;
  /** Whether there may be wrong bits on it. */
  flipped = false;
  /** How often the run that there is was told that something failed. */
  failures = 0;
  /** The program ends at the so-manieth step from now on; undefined: at none. */
  #stepsLeft: number | undefined;
  /** Power fails in the so-manieth sync, from now on, of a log with records over many sectors; undefined: in none. */
  #syncsLeft: number | undefined;

  constructor(world: MachineDiskWorld) {
    this.#world = world;
    this.options = world.options;
  }

  /** Syncs that begin from now on take until then at least. */
  stallUntil(atUs: number): void {
    this.#stalledUntilUs = atUs;
  }

  /** The program is killed at a step of the disk to come; undefined: no more. */
  crashAfter(steps: number | undefined): void {
    this.#stepsLeft = steps;
  }

  /**
   * Power fails in a sync to come of the log, when what it is to make durable is there in part; undefined: in none.
   * Only those count that have records over more than one sector: a sector is there or not.
   */
  tearAfter(syncs: number | undefined): void {
    this.#syncsLeft = syncs;
  }

  /** The run is over; of what was not synced there is left what the mode says. */
  crash(mode: CrashMode): void {
    this.#stepsLeft = undefined;
    this.#syncsLeft = undefined;
    const flipChance = mode === 'all' ? 0 : this.flipChance;
    if (flipChance > 0) this.flipped = true;
    this.flipChance = 0;
    this.#disk.crash(mode, () => this.#world.random.uint32() / 0x1_0000_0000, flipChance);
  }

  /** Somebody makes right what is wrong on it. */
  mend(): void {
    this.flipped = false;
    this.#disk.unflip();
  }

  /** The disk as a run of a program sees it. */
  mount(process: SimProcess): Disk {
    this.failures = 0;
    const disk = this.#disk;
    const op = <T>(action: () => Promise<T>, adds = false): Promise<T> => this.#op(process, action, adds);
    return {
      open: async (path, options) => this.#file(process, await op(() => disk.open(path, options), adds(options)), path),
      list: (directory) => op(() => disk.list(directory)),
      makeDirectory: (directory) => op(() => disk.makeDirectory(directory), true),
      rename: (from, to) => op(() => disk.rename(from, to)),
      remove: (path) => op(() => disk.remove(path)),
      syncDirectory: (directory) => this.#sync(process, () => disk.syncDirectory(directory)),
    };
  }

  #file(process: SimProcess, file: DiskFile, path: string): DiskFile {
    // What was written to it since its last sync reaches over more than one sector.
    let wide = false;
    const op = <T>(action: () => Promise<T>, adds = false): Promise<T> => this.#op(process, action, adds);
    return {
      size: () => op(() => file.size()),
      read: (offset, length) => op(() => file.read(offset, length)),
      // What a file has the length for already has its room too.
      write: async (offset, data) => {
        const grows = this.full && offset + data.length > (await file.size());
        await op(() => file.write(offset, data), grows);
        wide ||= path.endsWith('.wal') && isWide(offset, data);
        this.#world.done(data.length);
      },
      resize: (size) => op(() => file.resize(size)),
      sync: () => {
        const tears = wide;
        wide = false;
        return this.#sync(process, () => file.sync(), tears);
      },
      tryLock: () => op(() => file.tryLock()),
      close: () => op(() => file.close()),
    };
  }

  #op<T>(process: SimProcess, action: () => Promise<T>, adds: boolean): Promise<T> {
    if (!process.alive || this.#endsHere()) return never();
    if (adds && this.full) {
      this.failures += 1;
      return Promise.reject(failure('ENOSPC'));
    }
    return action();
  }

  async #sync(process: SimProcess, action: () => Promise<void>, wide = false): Promise<void> {
    if (!process.alive || this.#endsHere()) return never();
    const { scheduler, random, done } = this.#world;
    const { minSyncUs, jitterUs, slowChance, slowUs } = this.options;
    let delayUs = minSyncUs + random.below(jitterUs + 1);
    if (random.chance(slowChance)) delayUs += random.below(slowUs);
    const atUs = Math.max(scheduler.nowUs + delayUs, this.#stalledUntilUs);
    await new Promise<void>((resolve) => scheduler.at(atUs, () => process.run(resolve)));
    if (!process.alive || this.#endsHere() || (wide && this.#tearsHere())) return never();
    if (this.failsSync) {
      this.failsSync = false;
      this.failures += 1;
      throw failure('EIO');
    }
    done(0);
    await action();
  }

  #tearsHere(): boolean {
    if (this.#syncsLeft === undefined) return false;
    this.#syncsLeft -= 1;
    if (this.#syncsLeft >= 0) return false;
    this.#world.powerFails();
    return true;
  }

  #endsHere(): boolean {
    if (this.#stepsLeft === undefined) return false;
    this.#stepsLeft -= 1;
    if (this.#stepsLeft >= 0) return false;
    this.#stepsLeft = undefined;
    this.#world.crashPoint();
    return true;
  }
}

/** Whether a write, but for the zeros that it ends with, lies in more than one sector. */
function isWide(offset: number, data: Uint8Array): boolean {
  const bytes = data.findLastIndex((byte) => byte !== 0) + 1;
  return (offset % SECTOR_BYTES) + bytes > SECTOR_BYTES;
}

function adds(options: OpenOptions | undefined): boolean {
  return options?.mode === 'create';
}

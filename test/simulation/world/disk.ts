/**
 * A disk that keeps what was synced, and of the rest what chance leaves.
 *
 * What is durable is an image; what was written and not synced is a list of writes, in their order. A sync makes
 * durable all that was written before it was asked for. A crash keeps a beginning of the list, and perhaps a part of
 * the write after it; in the harsher mode each write is kept or lost on its own, as by file systems that write pages
 * in any order. Writes of one stream depend on each other (the records of a log are chained by checksums), so behind
 * the first one that is lost none of that stream can be read.
 *
 * What image and writes are is the program's: byte ranges in files, or whole records where bytes don't matter.
 */
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';

/** What a program sees of the disk. */
export interface Disk<Write> {
  /** Writes; durable after the next `sync`. */
  write(write: Write): void;
  /** Calls `done` once all that was written before is durable. Syncs end in the order they were asked for. */
  sync(done: () => void): void;
}

/** What a disk is made of. */
export interface Medium<Image, Write> {
  /** Makes a write part of the image. */
  commit(image: Image, write: Write): void;
  /** Which writes depend on each other. */
  stream(write: Write): number;
  /** What is left of a write that a crash has cut off; undefined: nothing that could be read. */
  torn(write: Write, random: Random): Write | undefined;
}

/** How the disk behaves at its most usual. */
export interface DiskOptions {
  readonly minSyncUs: number;
  /** At most so much comes on top of `minSyncUs`. */
  readonly jitterUs: number;
  /** Chance that a sync takes up to `slowUs` more. */
  readonly slowChance: number;
  readonly slowUs: number;
  /** Each unsynced write is kept or lost on its own. */
  readonly harsh: boolean;
}

interface Sync {
  /** How many of the pending writes it covers. */
  covers: number;
  readonly done: () => void;
}

export class SimDisk<Image, Write> implements Disk<Write> {
  options: DiskOptions;
  readonly image: Image;
  readonly #medium: Medium<Image, Write>;
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  #pending: Write[] = [];
  #syncs: Sync[] = [];
  /** Counts crashes, so that a sync of before one ends in nothing. */
  #life = 0;
  #stalledUntilUs = 0;

  constructor(world: {
    readonly image: Image;
    readonly medium: Medium<Image, Write>;
    readonly scheduler: Scheduler;
    readonly random: Random;
    readonly options: DiskOptions;
  }) {
    this.image = world.image;
    this.#medium = world.medium;
    this.#scheduler = world.scheduler;
    this.#random = world.random;
    this.options = world.options;
  }

  write(write: Write): void {
    this.#pending.push(write);
  }

  sync(done: () => void): void {
    this.#syncs.push({ covers: this.#pending.length, done });
    if (this.#syncs.length === 1) this.#begin();
  }

  /** Syncs that begin from now on take until then at least. */
  stallUntil(atUs: number): void {
    this.#stalledUntilUs = atUs;
  }

  /** The machine loses its power, or the program is killed. What was not synced is decided now. */
  crash(): void {
    this.#life += 1;
    const pending = this.#pending;
    this.#pending = [];
    this.#syncs = [];
    if (this.options.harsh) this.#keepSome(pending);
    else this.#keepBeginning(pending);
  }

  #begin(): void {
    const { minSyncUs, jitterUs, slowChance, slowUs } = this.options;
    let delayUs = minSyncUs + this.#random.below(jitterUs + 1);
    if (this.#random.chance(slowChance)) delayUs += this.#random.below(slowUs);
    const life = this.#life;
    this.#scheduler.at(Math.max(this.#scheduler.nowUs + delayUs, this.#stalledUntilUs), () => {
      if (life === this.#life) this.#end();
    });
  }

  #end(): void {
    const sync = this.#syncs.shift();
    if (sync === undefined) return;
    const { covers } = sync;
    for (const write of this.#pending.splice(0, covers)) this.#medium.commit(this.image, write);
    for (const later of this.#syncs) later.covers -= covers;
    if (this.#syncs.length > 0) this.#begin();
    sync.done();
  }

  #keepBeginning(pending: readonly Write[]): void {
    const kept = this.#random.between(0, pending.length);
    for (const write of pending.slice(0, kept)) this.#medium.commit(this.image, write);
    const cut = pending[kept];
    if (cut !== undefined) this.#keepPart(cut);
  }

  #keepSome(pending: readonly Write[]): void {
    const broken = new Set<number>();
    for (const write of pending) {
      const stream = this.#medium.stream(write);
      if (broken.has(stream)) continue;
      if (this.#random.chance(0.5)) this.#medium.commit(this.image, write);
      else {
        broken.add(stream);
        this.#keepPart(write);
      }
    }
  }

  #keepPart(write: Write): void {
    const part = this.#medium.torn(write, this.#random);
    if (part !== undefined) this.#medium.commit(this.image, part);
  }
}

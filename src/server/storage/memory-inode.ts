/**
 * The content of one file of a disk in memory: as it is seen, and as a crash would leave it.
 *
 * Memory is taken for what was written and not for the length, so that a log whose files are 64 MB long can be kept in
 * tests by the thousand.
 *
 * @module
 */
import { SECTOR_BYTES } from './disk.ts';

/** What of the writes that were not synced a crash leaves. */
export type CrashMode = 'none' | 'prefix' | 'subset' | 'all';

/** At least 0 and below 1, as of `Math.random`. */
export type Random = () => number;

/** A whole number from 0 up to and without `below`. */
export function pick(random: Random, below: number): number {
  return Math.floor(random() * below);
}

/** A write or, without bytes, a change of the length. */
type Operation = { readonly offset: number; readonly bytes: Uint8Array } | { readonly resizeTo: number };

/** Bytes with a length of their own: behind those that are kept there are zeros. */
class Content {
  #bytes: Buffer = Buffer.alloc(0);
  size = 0;

  copy(): Content {
    const copy = new Content();
    copy.#bytes = Buffer.from(this.#bytes);
    copy.size = this.size;
    return copy;
  }

  read(offset: number, length: number): Uint8Array {
    const result = new Uint8Array(Math.max(0, Math.min(length, this.size - offset)));
    result.set(this.#bytes.subarray(offset, offset + result.length));
    return result;
  }

  apply(operation: Operation): void {
    if ('resizeTo' in operation) this.#resize(operation.resizeTo);
    else this.#write(operation.offset, operation.bytes);
  }

  #write(offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length;
    if (end > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(end, 2 * this.#bytes.length, SECTOR_BYTES));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, offset);
    this.size = Math.max(this.size, end);
  }

  #resize(size: number): void {
    if (size < this.#bytes.length) this.#bytes = Buffer.from(this.#bytes.subarray(0, size));
    this.size = size;
  }
}

/** See the head of this file. */
export class MemoryInode {
  /** Whoever has the lock. */
  lockedBy: object | undefined;
  #seen = new Content();
  #durable = new Content();
  /** What is in `#seen` and not in `#durable`, oldest first. */
  #pending: Operation[] = [];
  /** Bits that crashes have flipped. */
  #flips: { readonly offset: number; readonly bit: number }[] = [];

  get size(): number {
    return this.#seen.size;
  }

  read(offset: number, length: number): Uint8Array {
    return this.#seen.read(offset, length);
  }

  write(offset: number, bytes: Uint8Array): void {
    // A copy: the caller may use its memory again.
    this.#apply({ offset, bytes: Uint8Array.from(bytes) });
  }

  resize(bytes: number): void {
    this.#apply({ resizeTo: bytes });
  }

  sync(): void {
    for (const operation of this.#pending) this.#durable.apply(operation);
    this.#pending = [];
  }

  /** @param flipChance Chance that a sector that was not synced has a wrong bit. */
  crash(mode: CrashMode, random: Random, flipChance: number): void {
    for (const operation of survivors(this.#pending, mode, random)) {
      this.#durable.apply(operation);
      if (flipChance > 0 && !('resizeTo' in operation))
        this.#flipSome(operation.offset, operation.bytes, random, flipChance);
    }
    this.#pending = [];
    this.#seen = this.#durable.copy();
    this.lockedBy = undefined;
  }

  /** Makes right what crashes have flipped, for files that were not written to since. */
  unflip(): void {
    for (const content of [this.#durable, this.#seen]) {
      for (const { offset, bit } of this.#flips) {
        const [byte] = content.read(offset, 1);
        if (byte !== undefined) content.apply({ offset, bytes: Uint8Array.of(byte ^ bit) });
      }
    }
    this.#flips = [];
  }

  #flipSome(offset: number, bytes: Uint8Array, random: Random, chance: number): void {
    for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
      if (random() >= chance) continue;
      const place = at + pick(random, Math.min(SECTOR_BYTES, bytes.length - at));
      const bit = 1 << pick(random, 8);
      this.#durable.apply({ offset: offset + place, bytes: Uint8Array.of((bytes[place] as number) ^ bit) });
      this.#flips.push({ offset: offset + place, bit });
    }
  }

  #apply(operation: Operation): void {
    if (this.#flips.length > 0) this.#flips = [];
    this.#seen.apply(operation);
    this.#pending.push(operation);
  }
}

function survivors(pending: readonly Operation[], mode: CrashMode, random: Random): readonly Operation[] {
  switch (mode) {
    case 'none':
      return [];
    case 'all':
      return pending;
    case 'prefix': {
      const sectors = pending.flatMap(inSectors);
      return sectors.slice(0, pick(random, sectors.length + 1));
    }
    case 'subset':
      return pending.flatMap(inSectors).filter(() => random() < 0.5);
  }
}

/** A write as the disk does it: sector by sector, by their place on the disk. */
function inSectors(operation: Operation): Operation[] {
  if ('resizeTo' in operation) return [operation];
  const pieces: Operation[] = [];
  const { offset, bytes } = operation;
  for (let start = 0; start < bytes.length; ) {
    const end = Math.min(bytes.length, start + SECTOR_BYTES - ((offset + start) % SECTOR_BYTES));
    pieces.push({ offset: offset + start, bytes: bytes.subarray(start, end) });
    start = end;
  }
  return pieces;
}

/**
 * Ids, taken in blocks from a counter.
 *
 * Keys: those of a {@link Counter} of the name; its value is the next id that nobody has.
 * One add claims a whole block, so that ids are given out without asking the store.
 *
 * Round trips: an id costs none, but for one add in each block, made ahead of need. A range
 * costs one add.
 *
 * Guaranteed: no id is given out twice, whoever crashes. Not guaranteed: that ids have no
 * gaps, nor that they grow from one allocator to another.
 *
 * Invariants:
 * 1. A block is ours when the add has returned, and stays so: ids need no session any more.
 * 2. One claim at a time; blocks are used in the order of their claims, so ids grow.
 * 3. A claim that failed, or of which nobody knows, is forgotten: at worst its ids are never
 *    used. What was claimed and not given out when the process ends is lost too.
 *
 * Source: the high-low allocation of object-relational mappers; Redisson's `RIdGenerator`.
 *
 * @module
 */

import { AbortError, InvalidArgumentError } from '../src/index.ts';
import { Counter } from './counter.ts';

import type { Session } from './session.ts';
import { type WaitOptions, waiting } from './waiting.ts';

/** How ids are allocated. */
export interface IdAllocatorOptions {
  /** How many ids are claimed at once. May differ from user to user of the name. Default 100. */
  readonly blockSize?: number | undefined;
  /** Claims the next block when no more than so many ids are left; 0: when it is needed. Default: half of the block. */
  readonly refillBelow?: number | undefined;
  /** The first id. Must be the same for all who use the name. Default 1. */
  readonly first?: bigint | undefined;
}

/** Ids of one block, in order: from `first` to `first + count - 1`. */
export interface IdRange {
  readonly first: bigint;
  readonly count: number;
}

interface Block {
  next: bigint;
  readonly end: bigint;
}

/**
 * Gives out ids that nobody else gets, by its name.
 *
 * @example
 * ```ts
 * const ids = new IdAllocator(session, 'order-ids', { blockSize: 1000 });
 * const id = await ids.next();
 * ```
 */
export class IdAllocator {
  readonly name: string;
  readonly #session: Session;
  readonly #counter: Counter;
  readonly #blockSize: number;
  readonly #refillBelow: number;
  readonly #blocks: Block[] = [];
  #left = 0n;
  #claim: Promise<void> | undefined;

  /** @throws InvalidArgumentError for an empty name, or numbers that are none. */
  constructor(session: Session, name: string, options: IdAllocatorOptions = {}) {
    const { blockSize = 100, refillBelow = Math.floor(blockSize / 2), first = 1n } = options;
    if (!Number.isSafeInteger(blockSize) || blockSize < 1) {
      throw new InvalidArgumentError(`blockSize ${blockSize} is not a whole number of at least 1`);
    }
    if (!Number.isSafeInteger(refillBelow) || refillBelow < 0) {
      throw new InvalidArgumentError(`refillBelow ${refillBelow} is not a whole number of at least 0`);
    }
    this.#session = session;
    this.name = name;
    this.#blockSize = blockSize;
    this.#refillBelow = refillBelow;
    this.#counter = new Counter(session, name, { initial: first });
  }

  /** How many ids are claimed and not given out yet. */
  get available(): bigint {
    return this.#left;
  }

  /**
   * The next id. Waits only when a block has to be claimed first.
   *
   * @throws WaitTimeoutError, AbortError, LostError (the session), and what the claim failed
   * with ({@link Counter.add}): another call claims another block.
   */
  async next(options: WaitOptions = {}): Promise<bigint> {
    return this.#take() ?? (await this.#afterClaim(options));
  }

  /**
   * Claims ids that follow one another: a block of its own, in one round trip. They are
   * above all ids given out before.
   *
   * @throws like {@link IdAllocator.next}.
   */
  async range(count: number, options: WaitOptions = {}): Promise<IdRange> {
    if (!Number.isSafeInteger(count) || count < 1) {
      throw new InvalidArgumentError(`count ${count} is not a whole number of at least 1`);
    }
    const end = await this.#counter.add(BigInt(count), options);
    // Ids in stock are below these: given out later, they would not grow.
    while (this.#blocks[0] !== undefined && this.#blocks[0].next < end) this.#left -= sizeOf(this.#blocks.shift());
    return { first: end - BigInt(count), count };
  }

  #take(): bigint | undefined {
    const block = this.#blocks[0];
    if (block === undefined) return undefined;
    const id = block.next++;
    this.#left--;
    if (block.next === block.end) this.#blocks.shift();
    // A failure is not the business of whoever got an id; the next who needs one claims anew.
    if (this.#left <= this.#refillBelow && this.#refillBelow > 0) this.#refill().catch(() => {});
    return id;
  }

  async #afterClaim(options: WaitOptions): Promise<bigint> {
    using wait = waiting(this.#session, options);
    try {
      for (;;) {
        await orAbort(this.#refill(), wait.signal);
        const id = this.#take();
        if (id !== undefined) return id;
      }
    } catch (error) {
      throw wait.reason(`an id of ${this.name}`, error);
    }
  }

  /** One claim at a time; it goes on when those who wait for it give up, and serves the next. */
  #refill(): Promise<void> {
    this.#claim ??= this.#claimBlock().finally(() => {
      this.#claim = undefined;
    });
    return this.#claim;
  }

  async #claimBlock(): Promise<void> {
    const end = await this.#counter.add(BigInt(this.#blockSize));
    this.#blocks.push({ next: end - BigInt(this.#blockSize), end });
    this.#left += BigInt(this.#blockSize);
  }
}

function sizeOf(block: Block | undefined): bigint {
  return block === undefined ? 0n : block.end - block.next;
}

/** Waits for something, but not past the signal; it goes on by itself. */
function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new AbortError('the signal has fired', { cause: signal.reason }));
    const done = (settle: () => void): void => {
      signal.removeEventListener('abort', onAbort);
      settle();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    work.then(
      (value) => done(() => resolve(value)),
      (error: unknown) => done(() => reject(error)),
    );
  });
}

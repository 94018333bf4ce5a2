/**
 * What has come from the server for one watcher and has not been read yet.
 *
 * It holds responses as they came; events are made of them one by one when they are read.
 * The queue itself takes whatever it is given: keeping it bounded is done by whoever reads
 * `full` after each push and stops the source. The source asks to be told when there is
 * room again by setting `roomAt`.
 *
 * An end comes after what is in the queue; `clear` first where it must not.
 *
 * @module
 */

import type { Event as WireEvent } from '../../protocol/generated/mvccpb.ts';
import type { ProgressEvent, ResyncEvent } from './events.ts';
import { MAX_BUFFER_BYTES } from './options.ts';

/** A mark in the stream of events. */
export type Mark = ProgressEvent | ResyncEvent;

/** A response in the queue. */
export interface QueuedBatch {
  /** What a reader has completely once it has this batch. */
  readonly revision: bigint;
  readonly events: readonly WireEvent[];
  readonly bytes: number;
  /** Whether the events come from a resync. */
  readonly synthetic: boolean;
  /** Then there are no events. */
  readonly mark?: Mark | undefined;
}

/** Whoever waits for the queue. */
export interface QueueListener {
  /** Something was pushed, or the queue has ended. */
  readable(): void;
}

export class EventQueue {
  readonly #limit: number;
  readonly #onRoom: () => void;
  #batches: QueuedBatch[] | undefined;
  /** The first batch that is not read. */
  #head = 0;
  /** The first event of it that is not read. */
  #index = 0;
  #count = 0;
  #bytes = 0;
  #end: { readonly error: unknown } | undefined;
  /** Whether the entry that `shift` gave last came from a resync. */
  synthetic = false;
  /** Calls `onRoom`, once, as soon as no more than this many entries are left after a read; -1 for never. */
  roomAt = -1;
  listener: QueueListener | undefined;

  constructor(limit: number, onRoom: () => void) {
    this.#limit = limit;
    this.#onRoom = onRoom;
  }

  /** The number of entries: events and marks. */
  get count(): number {
    return this.#count;
  }

  get full(): boolean {
    return this.#count >= this.#limit || this.#bytes >= MAX_BUFFER_BYTES;
  }

  /** Where a source that was stopped because the queue was full may go on. */
  get lowWater(): number {
    return this.#limit >> 1;
  }

  /** How it ended, if it has; what is left in it can still be read. */
  get ended(): { readonly error: unknown } | undefined {
    return this.#end;
  }

  /** The batch that the next entry comes from. */
  get first(): QueuedBatch | undefined {
    return this.#batches?.[this.#head];
  }

  /** The event that comes next, if it is one. */
  get firstEvent(): WireEvent | undefined {
    return this.first?.events[this.#index];
  }

  push(batch: QueuedBatch): void {
    if (this.#end !== undefined) return;
    this.#batches ??= [];
    this.#batches.push(batch);
    this.#count += size(batch);
    this.#bytes += batch.bytes;
    this.listener?.readable();
  }

  /** Adds a progress mark. One that waits already is replaced: an idle reader collects no marks. */
  pushProgress(mark: ProgressEvent): void {
    const batches = this.#batches;
    const last = this.#count > 0 ? batches?.at(-1) : undefined;
    if (batches !== undefined && last?.mark?.type === 'progress') {
      batches[batches.length - 1] = { ...last, revision: mark.revision, mark };
    } else {
      this.push({ revision: mark.revision, events: NO_EVENTS, bytes: 0, synthetic: false, mark });
    }
  }

  /** The next entry. */
  shift(): WireEvent | Mark | undefined {
    const batch = this.first;
    if (batch === undefined) return undefined;
    this.synthetic = batch.synthetic;
    this.#count -= 1;
    if (batch.mark !== undefined) {
      this.#drop(batch);
      return batch.mark;
    }
    const event = batch.events[this.#index++];
    if (this.#index >= batch.events.length) this.#drop(batch);
    return event;
  }

  /** What is left of the first batch. */
  shiftBatch(): QueuedBatch | undefined {
    const batch = this.first;
    if (batch === undefined) return undefined;
    const rest = this.#index === 0 ? batch : { ...batch, events: batch.events.slice(this.#index) };
    this.synthetic = batch.synthetic;
    this.#count -= size(rest);
    this.#drop(batch);
    return rest;
  }

  #drop(batch: QueuedBatch): void {
    this.#bytes -= batch.bytes;
    this.#index = 0;
    const batches = this.#batches as QueuedBatch[];
    if (++this.#head === batches.length) {
      this.#batches = undefined;
      this.#head = 0;
    } else if (this.#head >= 64 && this.#head * 2 > batches.length) {
      batches.splice(0, this.#head);
      this.#head = 0;
    } else {
      batches[this.#head - 1] = READ;
    }
  }

  /** To be called after an entry has been handed to the reader: tells a source that waits for room. */
  checkRoom(): void {
    if (this.#count > this.roomAt || this.#end !== undefined) return;
    this.roomAt = -1;
    this.#onRoom();
  }

  /** Ends the queue: with an error, or well. Only the first end counts. */
  end(error: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.listener?.readable();
  }

  clear(): void {
    this.#batches = undefined;
    this.#head = 0;
    this.#index = 0;
    this.#count = 0;
    this.#bytes = 0;
  }
}

export const NO_EVENTS: readonly WireEvent[] = [];

/** In the place of a batch that was read, so that its memory can go. */
const READ: QueuedBatch = { revision: 0n, events: NO_EVENTS, bytes: 0, synthetic: false };

function size(batch: QueuedBatch): number {
  return batch.mark === undefined ? batch.events.length : 1;
}

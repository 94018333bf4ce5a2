/**
 * The fields that a client has told this connection to remember.
 *
 * Invariant: together they count no more than the limit, which the client may lower and raise again up to ours. A field
 * counts 32 bytes at least, so a ring of fixed length holds them all.
 *
 * Source: RFC 7541, sections 2.3.2 and 4.
 *
 * @module
 */
import type { Field } from './field.ts';

/** What both ends begin with, and ours never changes. */
export const TABLE_BYTES = 4_096;

/** As many as there can be. */
const SLOTS = TABLE_BYTES / 32;

/** See the head of this file. */
export class DynamicTable {
  readonly #ring: (Field | undefined)[] = [];
  /** Fields that were ever put in. */
  #added = 0;
  #length = 0;
  #bytes = 0;
  #limitBytes = TABLE_BYTES;
  /** Changes with each change of the table. */
  version = 0;

  /** The field with an index: 0 is the newest. */
  at(index: number): Field | undefined {
    return index < this.#length ? this.#ring[(this.#added - 1 - index) % SLOTS] : undefined;
  }

  /** Puts a field in, for which the oldest go. One that is larger than the limit leaves nothing. */
  add(field: Field): void {
    this.version += 1;
    this.#evict(this.#limitBytes - field.bytes);
    if (field.bytes > this.#limitBytes) return;
    this.#ring[this.#added % SLOTS] = field;
    this.#added += 1;
    this.#length += 1;
    this.#bytes += field.bytes;
  }

  /** @returns False when it may not be as large as that. */
  resize(limitBytes: number): boolean {
    if (limitBytes > TABLE_BYTES) return false;
    this.version += 1;
    this.#limitBytes = limitBytes;
    this.#evict(limitBytes);
    return true;
  }

  #evict(leftBytes: number): void {
    while (this.#length > 0 && this.#bytes > leftBytes) {
      const oldest = (this.#added - this.#length) % SLOTS;
      this.#bytes -= (this.#ring[oldest] as Field).bytes;
      this.#ring[oldest] = undefined;
      this.#length -= 1;
    }
  }
}

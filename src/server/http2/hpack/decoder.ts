/**
 * Blocks of headers, decoded.
 *
 * Blocks are decoded in the order in which they come and to their end, also when nobody wants the fields: later ones
 * refer to what they leave in the table. What can't be decoded ends the connection.
 *
 * Bounds: a list that counts more than the limit is dropped while it is decoded, so a short block that refers to one long
 * field over and over costs time in proportion to its own length, and no memory.
 *
 * A client sends the same block for each of its calls once the table has all of it. So the last block is compared with
 * the one before: as long as the table is the same, the fields are.
 *
 * Source: RFC 7541, sections 3, 5 and 6.
 *
 * @module
 */
import { ConnectionError, ErrorCode } from '../protocol.ts';
import { DynamicTable } from './dynamic-table.ts';
import { Field } from './field.ts';
import { decodeHuffman } from './huffman.ts';
import { STATIC_TABLE } from './static-table.ts';

/** Higher numbers have no use; bounded so that no shift overflows. */
const MAX_NUMBER = 2 ** 24;

/** Longer blocks are decoded rather than compared. */
const MAX_COMPARED_BYTES = 256;

const EMPTY = Buffer.alloc(0);

/** Decodes the blocks of one connection. See the head of this file. */
export class HeaderDecoder {
  readonly #table = new DynamicTable();
  readonly #limitBytes: number;
  /** The block that is being decoded, where in it, and its end. */
  #block: Buffer = EMPTY;
  #at = 0;
  #end = 0;
  #lastBlock: Buffer = EMPTY;
  #lastVersion = -1;
  #lastFields: readonly Field[] | undefined;

  /** @param limitBytes What a list of headers may count. */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /**
   * Decodes a block.
   *
   * @returns Its fields; the same array as before if nothing is different. Undefined if they count more than the limit.
   * @throws ConnectionError COMPRESSION_ERROR.
   */
  decode(block: Buffer, start: number, end: number): readonly Field[] | undefined {
    if (this.#isLast(block, start, end)) return this.#lastFields;
    const before = this.#table.version;
    this.#block = block;
    this.#at = start;
    this.#end = end;
    const fields = this.#fields();
    this.#block = EMPTY;
    if (before === this.#table.version && end - start <= MAX_COMPARED_BYTES && fields !== undefined) {
      this.#lastBlock = Buffer.from(block.subarray(start, end));
      this.#lastVersion = before;
      this.#lastFields = fields;
    }
    return fields;
  }

  #isLast(block: Buffer, start: number, end: number): boolean {
    const last = this.#lastBlock;
    if (last.length !== end - start || this.#lastVersion !== this.#table.version) return false;
    for (let at = 0; at < last.length; at += 1) if (last[at] !== block[start + at]) return false;
    return true;
  }

  #fields(): readonly Field[] | undefined {
    const fields: Field[] = [];
    let bytes = 0;
    let mayResize = true;
    while (this.#at < this.#end) {
      const first = this.#block[this.#at] as number;
      if (first >> 5 === 1) {
        if (!mayResize || !this.#table.resize(this.#number(5))) throw broken('a table size');
        continue;
      }
      mayResize = false;
      const field = this.#field(first);
      bytes += field.bytes;
      if (bytes <= this.#limitBytes) fields.push(field);
      else fields.length = 0;
    }
    return bytes <= this.#limitBytes ? fields : undefined;
  }

  #field(first: number): Field {
    if (first >= 0x80) return this.#indexed(this.#number(7));
    const isRemembered = first >= 0x40;
    const index = this.#number(isRemembered ? 6 : 4);
    const name = index === 0 ? this.#text() : this.#indexed(index).name;
    const field = new Field(name, this.#text());
    if (isRemembered) this.#table.add(field);
    return field;
  }

  #indexed(index: number): Field {
    const field =
      index <= STATIC_TABLE.length ? STATIC_TABLE[index - 1] : this.#table.at(index - STATIC_TABLE.length - 1);
    if (field === undefined) throw broken('an index');
    return field;
  }

  /** A number that begins with the low bits of the next byte. */
  #number(bits: number): number {
    const all = (1 << bits) - 1;
    let number = this.#byte() & all;
    if (number < all) return number;
    for (let shift = 0; number < MAX_NUMBER && shift <= 21; shift += 7) {
      const byte = this.#byte();
      number += (byte & 0x7f) << shift;
      if (byte < 0x80) return number;
    }
    throw broken('a number');
  }

  #text(): string {
    const isHuffman = this.#at < this.#end && (this.#block[this.#at] as number) >= 0x80;
    const length = this.#number(7);
    const start = this.#at;
    if (length > this.#end - start) throw broken('a text');
    this.#at = start + length;
    const text = isHuffman
      ? decodeHuffman(this.#block, start, this.#at)
      : this.#block.toString('latin1', start, this.#at);
    if (text === undefined) throw broken('a Huffman code');
    return text;
  }

  #byte(): number {
    if (this.#at >= this.#end) throw broken('the end');
    const byte = this.#block[this.#at] as number;
    this.#at += 1;
    return byte;
  }
}

function broken(what: string): ConnectionError {
  return new ConnectionError(ErrorCode.COMPRESSION_ERROR, `a block of headers is wrong at ${what}`);
}

/**
 * Several JSON values one after another, as a client writes them to a streaming method.
 *
 * @module
 */
import { StringDecoder } from 'node:string_decoder';
import { GrpcCode } from '../../protocol/status.ts';
import { refuse } from '../rpc/failure.ts';
import type { Json } from './json-mapper.ts';

/** Cuts text into objects. What is between them must be white space. */
export class JsonSplitter {
  readonly #limit: number;
  readonly #decoder = new StringDecoder('utf8');
  #text = '';
  #scanned = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;

  /** @param limit how long one value may be, in characters. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The values that a chunk completes. @throws RpcError on what is no JSON object, or a too long one. */
  push(chunk: Buffer): Json[] {
    this.#text += this.#decoder.write(chunk);
    const values: Json[] = [];
    for (; this.#scanned < this.#text.length; this.#scanned++) {
      if (!this.#step(this.#text.charCodeAt(this.#scanned))) continue;
      values.push(parseJson(this.#text.slice(0, this.#scanned + 1)));
      this.#text = this.#text.slice(this.#scanned + 1);
      this.#scanned = -1;
    }
    if (this.#text.length > this.#limit) {
      throw refuse(GrpcCode.RESOURCE_EXHAUSTED, `received message larger than max (${this.#limit})`);
    }
    return values;
  }

  /** @throws RpcError when something is left over. */
  end(): void {
    if (this.#text.trim() !== '') throw refuse(GrpcCode.INVALID_ARGUMENT, 'unexpected EOF');
  }

  /** @returns True at the end of a value. */
  #step(code: number): boolean {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (code === 0x5c) this.#escaped = true;
      else if (code === 0x22) this.#inString = false;
      return false;
    }
    if (code === 0x22) this.#inString = true;
    if (code === 0x7b || code === 0x5b) this.#depth++;
    else if (code === 0x7d || code === 0x5d) return --this.#depth <= 0;
    else if (this.#depth === 0 && code > 0x20) throw refuse(GrpcCode.INVALID_ARGUMENT, 'invalid JSON');
    return false;
  }
}

/** Reads one value; nothing at all is an empty object. @throws RpcError without any of the text. */
export function parseJson(text: string): Json {
  if (text.trim() === '') return {};
  try {
    return JSON.parse(text) as Json;
  } catch {
    throw refuse(GrpcCode.INVALID_ARGUMENT, 'invalid JSON');
  }
}

/**
 * Blocks of headers, encoded so that they depend on nothing.
 *
 * Nothing is put into the client's table, so a block can be made once and sent on every connection, in any order. The
 * price is some forty bytes an answer.
 *
 * Source: RFC 7541, section 6.
 *
 * @module
 */
import { STATIC_TABLE } from './static-table.ts';

/** Says that the table has no room: due once when the client wants it smaller than it is by default. */
export const NO_TABLE = 0x20;

const names = new Map<string, number>();
const fields = new Map<string, number>();
for (const [at, { name, value }] of STATIC_TABLE.entries()) {
  if (!names.has(name)) names.set(name, at + 1);
  fields.set(`${name}\0${value}`, at + 1);
}

/** Makes a block of fields, in their order: pseudo-headers must come first, and names be lower case. */
export function encodeHeaders(headers: Iterable<readonly [name: string, value: string]>): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of headers) {
    const whole = fields.get(`${name}\0${value}`);
    if (whole !== undefined) {
      parts.push(number(0x80, 7, whole));
      continue;
    }
    const index = names.get(name);
    parts.push(number(0, 4, index ?? 0));
    if (index === undefined) parts.push(...text(name));
    parts.push(...text(value));
  }
  return Buffer.concat(parts);
}

function text(value: string): readonly Buffer[] {
  const bytes = Buffer.from(value, 'latin1');
  return [number(0, 7, bytes.length), bytes];
}

/** A number in the low bits of a byte, and in more bytes if it is too large for that. */
function number(first: number, bits: number, value: number): Buffer {
  const all = (1 << bits) - 1;
  if (value < all) return Buffer.of(first | value);
  const bytes = [first | all];
  let rest = value - all;
  for (; rest >= 0x80; rest >>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}

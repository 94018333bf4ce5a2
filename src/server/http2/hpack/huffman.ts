/**
 * Texts in HPACK's Huffman code, decoded half a byte at a time.
 *
 * The code is canonical: among codes of one length, and then from one length to the next, they count up with the
 * symbols. So the lengths are all of the table. From them a machine is made whose states are the inner nodes of the
 * code's tree; no code is shorter than five bits, so half a byte ends at most one.
 *
 * Source: RFC 7541, section 5.2 and appendix B.
 *
 * @module
 */

/** Bits of the code of each byte, and of the end of the text (256). */
export const CODE_LENGTHS: readonly number[] = [
  [13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28],
  [28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15],
  [6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6],
  [15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20],
  [20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23],
  [24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22],
  [22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27],
  [24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26],
  [26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30],
].flat();

const END_OF_TEXT = 256;
/** Bits of the shortest code. */
const MIN_BITS = 5;

/** What a step of the machine says: the next state in the low byte, a symbol above, and whether there is one. */
const SYMBOL_SHIFT = 8;
const HAS_SYMBOL = 1 << 16;
const FAILS = 1 << 17;

/** The codes by their symbol, as numbers of {@link CODE_LENGTHS} bits. */
export function codes(): readonly number[] {
  const found = new Array<number>(CODE_LENGTHS.length).fill(0);
  const lengthOf = (symbol: number): number => CODE_LENGTHS[symbol] as number;
  let code = 0;
  let bits = 0;
  // Sorting leaves those of one length in their order.
  for (const symbol of [...CODE_LENGTHS.keys()].sort((one, other) => lengthOf(one) - lengthOf(other))) {
    code <<= lengthOf(symbol) - bits;
    bits = lengthOf(symbol);
    found[symbol] = code;
    code += 1;
  }
  return found;
}

/** As many inner nodes as there are bytes: one less than leaves. */
const STATES = 256;

/** Two children of each inner node: another one, or a symbol as a negative number. The root is node 0. */
const children = new Int16Array(2 * STATES);

/** Whether a text may end in a state: nothing but the beginning of its end is there, and less than a byte of that. */
const mayEnd = new Uint8Array(STATES);

function growTree(): void {
  let nodes = 1;
  mayEnd[0] = 1;
  for (const [symbol, code] of codes().entries()) {
    let node = 0;
    const bits = CODE_LENGTHS[symbol] as number;
    for (let depth = 1; depth < bits; depth += 1) {
      const way = (code >> (bits - depth)) & 1;
      let child = children[2 * node + way] as number;
      if (child === 0) {
        child = nodes;
        nodes += 1;
        children[2 * node + way] = child;
        if (depth < 8) mayEnd[child] = (mayEnd[node] as number) & way;
      }
      node = child;
    }
    children[2 * node + (code & 1)] = -1 - symbol;
  }
}

/** What the machine does, by state and half byte. */
function makeSteps(): Int32Array {
  const table = new Int32Array(16 * STATES);
  for (let at = 0; at < table.length; at += 1) {
    let node = at >> 4;
    let said = 0;
    for (let bit = 3; bit >= 0; bit -= 1) {
      node = children[2 * node + ((at >> bit) & 1)] as number;
      if (node >= 0) continue;
      const symbol = -1 - node;
      said |= symbol === END_OF_TEXT ? FAILS : HAS_SYMBOL | (symbol << SYMBOL_SHIFT);
      node = 0;
    }
    table[at] = said | node;
  }
  return table;
}

growTree();
const steps = makeSteps();

/** Decodes a text. @returns Undefined if that is none. */
export function decodeHuffman(bytes: Uint8Array, start: number, end: number): string | undefined {
  const text = Buffer.allocUnsafe(Math.ceil(((end - start) * 8) / MIN_BITS));
  let length = 0;
  let state = 0;
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] as number;
    const high = steps[(state << 4) | (byte >> 4)] as number;
    if ((high & HAS_SYMBOL) !== 0) text[length++] = high >> SYMBOL_SHIFT;
    const low = steps[((high & 0xff) << 4) | (byte & 15)] as number;
    if ((low & HAS_SYMBOL) !== 0) text[length++] = low >> SYMBOL_SHIFT;
    if (((high | low) & FAILS) !== 0) return undefined;
    state = low & 0xff;
  }
  return mayEnd[state] === 1 ? text.toString('latin1', 0, length) : undefined;
}

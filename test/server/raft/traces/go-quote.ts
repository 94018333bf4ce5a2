/**
 * Bytes between quotes as Go's `%q` prints them.
 *
 * Printable characters of valid UTF-8 stand for themselves; of what is invalid each byte is escaped on its own. A
 * character is printable if Unicode calls it a letter, mark, number, punctuation or symbol, or if it is the ASCII space.
 *
 * Source: the documentation of Go's `strconv.Quote`.
 *
 * @module
 */

const SHORT: ReadonlyMap<string, string> = new Map([
  ['\u0007', '\\a'],
  ['\b', '\\b'],
  ['\f', '\\f'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
  ['\v', '\\v'],
  ['"', '\\"'],
  ['\\', '\\\\'],
]);
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function goQuote(bytes: Uint8Array): string {
  let quoted = '';
  for (let at = 0; at < bytes.length; ) {
    const char = charAt(bytes, at);
    if (char === undefined) {
      quoted += `\\x${hex(bytes[at] as number, 2)}`;
      at += 1;
    } else {
      quoted += quoteChar(char.text);
      at += char.length;
    }
  }
  return `"${quoted}"`;
}

function quoteChar(char: string): string {
  const short = SHORT.get(char);
  if (short !== undefined) return short;
  if (PRINTABLE.test(char)) return char;
  const code = char.codePointAt(0) as number;
  if (code < 0x20 || code === 0x7f) return `\\x${hex(code, 2)}`;
  return code < 0x10000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`;
}

/** The character that begins there; undefined if none does. */
function charAt(bytes: Uint8Array, at: number): { readonly text: string; readonly length: number } | undefined {
  const first = bytes[at] as number;
  const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  try {
    return { text: utf8.decode(bytes.subarray(at, at + length)), length };
  } catch {
    return undefined;
  }
}

function hex(number: number, digits: number): string {
  return number.toString(16).padStart(digits, '0');
}

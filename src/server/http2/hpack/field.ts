/**
 * A header field as HPACK has it, and whether HTTP/2 allows it.
 *
 * A field is kept also when it is not allowed: both ends must put it into their tables, or they would not understand each
 * other any more. The request that it is in is refused, and so is each later one that refers to it.
 *
 * Source: RFC 7541, section 4.1; RFC 9113, section 8.2.1.
 *
 * @module
 */

/** What a field costs beside its text, by definition. */
const OVERHEAD_BYTES = 32;

const [NUL, LINE_FEED, CARRIAGE_RETURN, COLON] = [0, 10, 13, 58] as const;

/** A field. Its texts have one character a byte. */
export class Field {
  readonly name: string;
  readonly value: string;
  /** What it counts in a table or a list of headers. */
  readonly bytes: number;
  /** Whether a request may have it. */
  readonly isValid: boolean;

  constructor(name: string, value: string) {
    this.name = name;
    this.value = value;
    this.bytes = OVERHEAD_BYTES + name.length + value.length;
    this.isValid = isName(name) && isValue(value);
  }
}

/** Lower case and printable; a colon only in front. */
function isName(name: string): boolean {
  for (let at = 0; at < name.length; at += 1) {
    const code = name.charCodeAt(at);
    if (code <= 0x20 || code >= 0x7f || (code >= 0x41 && code <= 0x5a) || (code === COLON && at > 0)) return false;
  }
  return name.length > 0;
}

function isValue(value: string): boolean {
  for (let at = 0; at < value.length; at += 1) {
    const code = value.charCodeAt(at);
    if (code === NUL || code === LINE_FEED || code === CARRIAGE_RETURN) return false;
  }
  return true;
}

/**
 * Hashes that all clients agree on.
 *
 * Two processes that hash the same key among the same instances must come to the same one, also when they run different
 * versions of this package. So these functions are part of what is promised, and tests hold their values fast.
 *
 * Source: FNV-1a (RFC 9923) over UTF-16 code units, then the last step of MurmurHash3 (public domain), which spreads what FNV
 * leaves in the lower bits. Not for anything that is secret.
 *
 * @module
 */

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** A hash of 32 bits, unsigned. Different seeds give independent ones. */
export function hash32(text: string, seed = 0): number {
  let hash = FNV_OFFSET ^ mixed32(seed);
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    hash = Math.imul(hash ^ (unit & 0xff), FNV_PRIME);
    hash = Math.imul(hash ^ (unit >>> 8), FNV_PRIME);
  }
  return mixed32(hash);
}

/** Spreads 32 bits over 32 bits, one to one. */
export function mixed32(value: number): number {
  let mixed = value;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** 32 bits as a number above 0 and below 1. */
export function fraction(hash: number): number {
  return (hash + 0.5) / 2 ** 32;
}

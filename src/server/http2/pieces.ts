/**
 * Pieces of data that wait for more, in their order.
 *
 * A `Buffer` costs a hundred bytes whatever its length, and a client may send a byte at a time. So small pieces are joined
 * as they come: each is copied once, and pieces of the usual size never.
 *
 * @module
 */

/** As many as this at the end are joined into one. With frames as long as they may be, that is 4 MiB. */
const MOST_LOOSE = 256;

/**
 * Puts a piece behind the others.
 *
 * @param loose How many of them, at the end, were not joined yet.
 * @returns How many are not joined now.
 */
export function addPiece(pieces: Buffer[], piece: Buffer, loose: number): number {
  pieces.push(piece);
  if (loose + 1 < MOST_LOOSE) return loose + 1;
  pieces.push(Buffer.concat(pieces.splice(-MOST_LOOSE)));
  return 0;
}

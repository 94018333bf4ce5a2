/**
 * The id of a lease whose client has chosen none.
 *
 * @module
 */
import type { ServingMember } from '../member/serving.ts';

/**
 * A positive number of 63 bits that no lease has here.
 *
 * @param random From 0 up to but without 1.
 */
export function freeLeaseId({ state }: ServingMember, random: () => number): bigint {
  const bits = (count: number): bigint => BigInt(Math.floor(random() * 2 ** count));
  for (;;) {
    const id = (bits(31) << 32n) | bits(32);
    if (id !== 0n && !state.lessor.has(id)) return id;
  }
}

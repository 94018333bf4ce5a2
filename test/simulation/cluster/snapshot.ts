/**
 * The image of the simulated state machine: the hash of all that was applied.
 */
import type { Snapshot } from '../../../src/server/raft/index.ts';

/** What a snapshot carries. */
export function stateBytes(hash: number): Uint8Array {
  const data = new Uint8Array(4);
  for (let byte = 0; byte < 4; byte += 1) data[byte] = hash >>> (8 * byte);
  return data;
}

/** The hash that a snapshot carries. */
export function hashOf({ data }: Snapshot): number {
  let hash = 0;
  for (let byte = 3; byte >= 0; byte -= 1) hash = (hash << 8) | (data[byte] ?? 0);
  return hash;
}

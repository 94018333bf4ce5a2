/**
 * Which instances a share of all instances is.
 *
 * Each instance decides for itself, from its own name: nobody has to know how many there are. It decides the same each
 * time, after a restart too, and who is among 10 % is also among 20 %, so a share that grows takes nobody out. For another
 * key others come first, so that it is not always the same ones on which everything new is tried.
 *
 * @module
 */

import { createHash } from 'node:crypto';

/**
 * Whether an instance is among a share of all.
 *
 * @param share In percent: 0 is nobody, 100 everybody.
 */
export function isAmong(share: number, key: string, instance: string): boolean {
  const digest = createHash('sha256')
    .update(JSON.stringify([key, instance]))
    .digest();
  return (digest.readUInt32BE(0) / 2 ** 32) * 100 < share;
}

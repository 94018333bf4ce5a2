/**
 * The machine itself: what a server takes from it unless it is told otherwise.
 *
 * @module
 */
import { randomBytes, randomInt } from 'node:crypto';

/** In ms since 1970. It may jump; nothing that has to last goes by it. */
export const timeOfDay = (): number => Date.now();

/** Bytes that nobody can guess. */
export const secureBytes = (count: number): Uint8Array => randomBytes(count);

/** A whole number from 0 up to but without `bound`. */
export const randomBelow = (bound: number): number => randomInt(bound);

/** Lets the event loop do what else there is. */
export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

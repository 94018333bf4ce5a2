/** What the scenarios of the fault bed may ask of an ending. */
import { expect } from 'vitest';
import type { Ending, Fault, Stage } from './await-points.ts';

/** Faults that take nothing away from the actor: what the recipe does by itself has to get over them. */
export const HARMLESS: ReadonlySet<Fault> = new Set(['reply-lost', 'cut', 'late', 'compacted', 'compacted-and-cut']);

/** An ending of whatever scenario. */
export type AnyEnding = Pick<Ending<unknown, unknown>, 'error' | 'strike' | 'ok'>;

/**
 * Demands that what takes nothing away from the actor has done it no harm. Returns whether the actor was told that it is
 * unknown what became of its call; any other error says that it was not done.
 */
export function unknownAfter({ error, strike, ok }: AnyEnding): boolean {
  if (strike === undefined || HARMLESS.has(strike.fault)) expect(error).toBeUndefined();
  return !ok && (error as { code?: string }).code === 'unknown-outcome';
}

/** Gives up something when it has begun to wait, with so many watchers. */
export async function giveUp(
  { watching }: Pick<Stage, 'watching'>,
  watchers: number,
  wait: (signal: AbortSignal) => Promise<unknown>,
): Promise<void> {
  const stop = new AbortController();
  const waiting = wait(stop.signal);
  const settled = waiting.catch(() => {});
  await Promise.race([watching(watchers), settled]);
  stop.abort();
  await expect(waiting).rejects.toSatisfy((error: Error) => {
    if (error.name === 'AbortError') return true;
    throw error;
  });
}

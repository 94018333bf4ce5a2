/**
 * Locks that the same flow of control may take again: which ones it has taken.
 *
 * "The same" is the asynchronous context (AsyncLocalStorage), which for Node is what the
 * thread is elsewhere: everything that `run`'s work calls and awaits. Branches that the
 * work starts at the same time (`Promise.all`) are in it too, and all count as the one
 * holder.
 *
 * @module
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import type { Held } from './held.ts';
import type { Session } from './session.ts';

interface Frame {
  readonly session: Session;
  readonly prefix: string;
  readonly held: Held;
  readonly outer: Frame | undefined;
}

const frames = new AsyncLocalStorage<Frame>();

/** What this flow of control holds under the session and prefix, if it does. */
export function heldHere(session: Session, prefix: string): Held | undefined {
  for (let frame = frames.getStore(); frame !== undefined; frame = frame.outer) {
    if (frame.session === session && frame.prefix === prefix) return frame.held;
  }
  return undefined;
}

/** Runs `work` as the flow of control that holds it. */
export function holdingHere<T>(session: Session, prefix: string, held: Held, work: () => T): T {
  return frames.run({ session, prefix, held, outer: frames.getStore() }, work);
}

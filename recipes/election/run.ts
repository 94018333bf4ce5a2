/**
 * Leading by callback: campaign, work, resign, and so on.
 *
 * The order that holds whatever happens: elected, `onStarted`, work, `onStopped`, resigned.
 * `onStopped` comes once for each `onStarted` and never without it, and the key is kept until
 * both the work and `onStopped` have come to their end; so the next leader starts after them.
 * The exception is a leadership that was lost: then others may lead already, and all that is
 * left to do is to stop.
 *
 * Source: Curator's `LeaderSelector`; client-go's `leaderelection`, whose `OnStoppedLeading`
 * is also called by who never led (kubernetes/client-go #1187).
 *
 * @module
 */

import { LostError } from '../errors.ts';
import type { Session } from '../session.ts';
import { sessionEnd, throwIfFired } from '../waiting.ts';
import type { Leadership } from './leadership.ts';
import type { CampaignOptions } from './options.ts';

/** How to lead by callback. */
export interface RunOptions extends Omit<CampaignOptions, 'timeoutMs'> {
  /** Campaigns again when the work is done, and when the leadership or the place in the queue was lost. Default false. */
  readonly requeue?: boolean | undefined;
  /** Called when it has been elected, before the work. What it throws counts as thrown by the work. */
  readonly onStarted?: ((leader: Leadership) => void | Promise<void>) | undefined;
  /**
   * Called after the work has come to its end, with the reason if the leadership was lost;
   * only if `onStarted` was. What it throws counts as thrown by the work.
   */
  readonly onStopped?: ((leader: Leadership, lost: LostError | undefined) => void | Promise<void>) | undefined;
}

/** What can campaign. */
interface Candidacy {
  campaign(options: CampaignOptions): Promise<Leadership>;
}

type Work<T> = (leader: Leadership, signal: AbortSignal) => Promise<T>;

/** See `Election.run`. @internal */
export async function runElection<T>(
  election: Candidacy,
  session: Session,
  work: Work<T>,
  options: RunOptions,
): Promise<T> {
  const { requeue = false, signal } = options;
  for (;;) {
    const leader = await elected(election, session, options);
    if (leader === undefined) continue;
    let result: T | undefined;
    let failure: { readonly error: unknown } | undefined;
    try {
      result = await leader.during(() => term(leader, work, options));
    } catch (error) {
      failure = { error };
    }
    const lost = lossOf(leader);
    // A lost leadership has no key to take away that would matter: the reason stays what it was.
    await leader[Symbol.asyncDispose]();
    throwIfFired(signal);
    if (!session.alive) throw new LostError(leader.name, 'session', { cause: sessionEnd(session) });
    if (lost !== undefined) {
      if (!requeue) throw lost;
    } else if (failure !== undefined) {
      throw failure.error;
    } else if (!requeue) {
      return result as T;
    }
  }
}

/** Waits until it leads; undefined when its place was taken away while the session lives, and it is to stand again. */
async function elected(election: Candidacy, session: Session, options: RunOptions): Promise<Leadership | undefined> {
  try {
    return await election.campaign(options);
  } catch (error) {
    if (options.requeue && error instanceof LostError && session.alive) return undefined;
    throw error;
  }
}

/** One term's work, with what is to be told before and after it. */
async function term<T>(leader: Leadership, work: Work<T>, { signal, onStarted, onStopped }: RunOptions): Promise<T> {
  const both = signal === undefined ? leader.signal : AbortSignal.any([signal, leader.signal]);
  try {
    await onStarted?.(leader);
    return await work(leader, both);
  } finally {
    await onStopped?.(leader, lossOf(leader));
  }
}

/** Why the leadership was lost, other than by resigning. */
function lossOf(leader: Leadership): LostError | undefined {
  if (leader.held) return undefined;
  const lost = leader.signal.reason as LostError;
  return lost.reason === 'released' && lost.cause === undefined ? undefined : lost;
}

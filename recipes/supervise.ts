/**
 * Work that outlives its session: run again, visibly, under a new one.
 *
 * A session that is lost stays lost, and what ran under it has to stop. What is meant to go
 * on for as long as the process lives (to lead when it can, to work off a queue) runs under
 * one session after another, and begins afresh with each. The runs never overlap here; that
 * the last run's effects are over in the store too is what the fencing token is for.
 *
 * @module
 */

import type { Etcd } from '../src/index.ts';
import { mayPass } from './contender.ts';
import { elapsed } from './patience.ts';
import { Session, type SessionOptions } from './session.ts';
import { expectMany, sessionEnd } from './waiting.ts';

/** How to run work under one session after another. */
export interface SuperviseOptions extends SessionOptions {
  /** Ends the supervision, and the work with it. */
  readonly signal?: AbortSignal | undefined;
  /** Told why a session was lost, or could not be opened, before the next try. What it throws ends the supervision. */
  readonly onLost?: ((error: unknown) => void) | undefined;
}

/** Pauses before the next session is opened: doubling, with jitter down to half. */
const REOPEN_MS = { first: 100, max: 10_000 };

/**
 * Runs work under a session, and again under a new one when that is lost or cannot be
 * opened for now. `work` gets the session and a signal that fires when it has to stop; its
 * next run begins only after it has. The pause before a session grows from 0.1 to 10
 * seconds while sessions fail at once, and starts small again after one that lived longer
 * than that.
 *
 * @returns what `work` returns, if its session is alive then.
 * @throws what `work` throws while its session is alive; what a new session cannot mend (a
 * wrong password, a client that is closed); the signal's reason when it fires.
 */
export async function supervise<T>(
  etcd: Etcd,
  options: SuperviseOptions,
  work: (session: Session, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { signal, onLost } = options;
  if (signal !== undefined) expectMany(signal);
  let pauseMs = REOPEN_MS.first;
  for (;;) {
    signal?.throwIfAborted();
    const startedAt = etcd.clock.now();
    const run = await runOnce(etcd, options, work);
    if (run.done) return run.result;
    signal?.throwIfAborted();
    onLost?.(run.error);
    if (etcd.clock.now() - startedAt > REOPEN_MS.max) pauseMs = REOPEN_MS.first;
    await elapsed(etcd.clock, pauseMs * (0.5 + etcd.random() / 2), signal);
    pauseMs = Math.min(pauseMs * 2, REOPEN_MS.max);
  }
}

type Run<T> = { readonly done: true; readonly result: T } | { readonly done: false; readonly error: unknown };

async function runOnce<T>(
  etcd: Etcd,
  options: SuperviseOptions,
  work: (session: Session, signal: AbortSignal) => Promise<T>,
): Promise<Run<T>> {
  const { signal, onLost: _, ...sessionOptions } = options;
  let session: Session;
  try {
    session = await Session.open(etcd, { ...sessionOptions, signal });
  } catch (error) {
    // A lease that ran out before its grant was answered is no reason to stop trying either.
    if (signal?.aborted || !(mayPass(error) || isLeaseLost(error))) throw error;
    return { done: false, error };
  }
  await using open = session;
  const both = signal === undefined ? open.signal : AbortSignal.any([signal, open.signal]);
  try {
    const result = await work(open, both);
    if (open.lease.alive) return { done: true, result };
  } catch (error) {
    if (open.lease.alive || signal?.aborted) throw error;
  }
  return { done: false, error: sessionEnd(open) };
}

function isLeaseLost(error: unknown): boolean {
  return (error as { readonly code?: unknown } | null)?.code === 'lease-lost';
}

/**
 * What becomes of an attempt that nobody could take over when it began.
 *
 * A call that can be repeated leaves half of its time for another member. Where there is no
 * other that could serve it, an attempt gets all the time instead: a slow answer is better
 * than none. But that is how things stood when it began. Its member may be the silent one,
 * and those that could not serve the call may have come back since, or may only not have
 * been asked. So from the middle of its time on such an attempt goes on only until another
 * member is fit, and those that are not are probed meanwhile.
 *
 * @module
 */

import { GrpcCode } from '../../protocol/status.ts';
import type { Clock } from '../../support/clock.ts';
import { onAbort } from '../../support/signals.ts';
import { TransportError } from '../transport/transport.ts';
import type { Member } from './member.ts';
import type { Pool, WaitOptions } from './pool.ts';

/** An attempt, and who may take over. */
export interface ReliefOptions {
  readonly clock: Clock;
  readonly pool: Pool;
  readonly member: Member;
  /** When the attempt began, on the clock. */
  readonly startedAt: number;
  /** What the call needs of a member, and when its time is up. */
  readonly wait: WaitOptions;
  /** Told when another member is to take over, and how long the attempt has waited till then. */
  onRelief(waitedMs: number): void;
}

/**
 * Runs an attempt, which ends early when another member can take over in its second half:
 * then it fails like one whose time is up. The signal that `send` gets ends the attempt; the
 * call's own signal fires it too.
 */
export async function relieved<O>(options: ReliefOptions, send: (signal: AbortSignal) => Promise<O>): Promise<O> {
  const { clock, pool, member, startedAt, wait } = options;
  const attempt = new AbortController();
  const over = new AbortController();
  let came = false;
  const look = async (): Promise<void> => {
    came = await pool.hasOtherBefore(member, { ...wait, signal: over.signal });
    if (!came) return;
    options.onRelief(clock.now() - startedAt);
    attempt.abort();
  };
  const halfMs = (wait.deadlineAt - startedAt) / 2;
  const timer = clock.after(halfMs, () => void look(), { background: true });
  const offAbort = onAbort(wait.signal, () => attempt.abort());
  try {
    return await send(attempt.signal);
  } catch (error) {
    if (!came || !(error instanceof TransportError)) throw error;
    const details = `no answer within ${Math.round(clock.now() - startedAt)} ms, and another member can be asked`;
    throw new TransportError({ grpcCode: GrpcCode.DEADLINE_EXCEEDED, details, sent: 'maybe' });
  } finally {
    timer.cancel();
    offAbort();
    over.abort();
  }
}

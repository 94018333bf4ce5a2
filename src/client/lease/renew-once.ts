/**
 * One renewal of one lease, on a stream of its own.
 *
 * etcd has no unary method for it. This makes one: a deadline, a bounded number of
 * attempts with back-off, and an error like that of any other call.
 *
 * @module
 */

import { Lease } from '../../protocol/generated/etcdserverpb.ts';
import type { LeaseId, Revision } from '../../protocol/int64.ts';
import { GrpcCode } from '../../protocol/status.ts';
import { backoffMs } from '../../support/backoff.ts';
import { onAbort, sleep } from '../../support/signals.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller, CallTraits, OpenStream } from '../connection/caller.ts';
import { abortError, deadlineError, toEtcdError } from '../connection/failures.ts';
import type { Member } from '../connection/member.ts';
import { judge } from '../connection/retry.ts';
import { type Applied, EtcdError } from '../errors.ts';
import { checkLeaseId } from '../ids.ts';
import type { CallFailure } from '../transport/transport.ts';

/** The answer to one renewal. */
export interface RenewedOnce {
  readonly ttlSeconds: number;
  readonly revision: Revision;
  /** When the answered request was sent, on the client's clock. */
  readonly sentAt: number;
}

const TRAITS = { kind: 'idempotent' } as const;
const BACKOFF = { initialMs: 50, maxMs: 1_000 };
const MAX_ATTEMPTS = 8;

/** A stream's failure, on its way to the loop that decides about another attempt. */
class AttemptFailed {
  readonly failure: CallFailure;
  readonly member: Member;
  constructor(failure: CallFailure, member: Member) {
    this.failure = failure;
    this.member = member;
  }
}

/**
 * Renews a lease once. `applied` is what is to be said when that fails: `maybe` of a lease that was granted for it.
 *
 * @throws InvalidArgumentError for an id that is none, EtcdError `lease-not-found` when the server does not know the
 * lease, and what any call throws.
 */
export async function renewOnce(
  caller: Caller,
  id: LeaseId,
  options: CallOptions = {},
  applied: Applied = 'no',
): Promise<RenewedOnce> {
  // Before there is a stream on which it could not be sent.
  checkLeaseId(id);
  const { signal, timeoutMs = caller.timeoutMs } = options;
  const { clock } = caller;
  const deadlineAt = clock.now() + timeoutMs;
  const avoid = new Set<Member>();
  let last: EtcdError | undefined;
  for (let attempts = 1; ; attempts++) {
    const leftMs = deadlineAt - clock.now();
    if (!(leftMs > 0)) throw deadlineError(timeoutMs, { attempts: attempts - 1, applied, cause: last });
    // As with other calls: a member that says nothing gets half the time while there is another to ask.
    const attemptMs = caller.pool.members.length > 1 && options.endpoint === undefined ? leftMs / 2 : leftMs;
    const limits = { attemptMs, deadlineAt, traits: { ...TRAITS, applied } };
    const outcome = await attempt(caller, id, { ...options, timeoutMs: leftMs }, limits, avoid);
    if (signal?.aborted) throw abortError(signal, { attempts, applied, cause: last });
    if (!(outcome instanceof AttemptFailed)) {
      if (outcome.ttlSeconds > 0) return outcome;
      throw new EtcdError('lease-not-found', 'etcdserver: requested lease not found', {
        etcdCode: 'LeaseNotFound',
        attempts,
        applied,
      });
    }
    const { failure, member } = outcome;
    last = toEtcdError(failure, { endpoint: member.name, attempts, applied });
    const next = judge('idempotent', failure).next;
    if (next === 'fail' || attempts >= MAX_ATTEMPTS) throw last;
    if (next === 'again') avoid.add(member);
    // The first other member, or token, is tried at once.
    if (attempts === 1 && avoid.size < caller.pool.members.length) continue;
    await sleep(clock, Math.min(backoffMs(BACKOFF, attempts - 1, caller.random), deadlineAt - clock.now()), signal);
  }
}

/** What an attempt has to go by. */
interface AttemptLimits {
  readonly attemptMs: number;
  readonly deadlineAt: number;
  readonly traits: CallTraits;
}

/** Opens a stream, asks, and waits for the answer, the stream's end, the time or the signal. */
async function attempt(
  caller: Caller,
  id: LeaseId,
  options: CallOptions,
  { attemptMs, deadlineAt, traits }: AttemptLimits,
  avoid: ReadonlySet<Member>,
): Promise<RenewedOnce | AttemptFailed> {
  const { clock } = caller;
  let settle!: (outcome: RenewedOnce | CallFailure) => void;
  const settled = new Promise<RenewedOnce | CallFailure>((resolve) => {
    settle = resolve;
  });
  let sentAt = 0;
  const stream: OpenStream<{ ID: bigint }> = await caller.open(
    Lease.leaseKeepAlive,
    traits,
    { ...options, avoid },
    {
      onMessage: (message) => {
        if (message.ID !== id) return;
        settle({ ttlSeconds: Number(message.TTL), revision: (message.header?.revision ?? 0n) as Revision, sentAt });
      },
      onClose: (failure) => settle(failure ?? ENDED),
    },
  );
  // Opening it may have taken its time.
  const timer = clock.after(Math.min(attemptMs, deadlineAt - clock.now()), () => settle(SILENT));
  const offAbort = onAbort(options.signal, () => settle(SILENT));
  sentAt = clock.now();
  stream.send({ ID: id });
  stream.pull();
  const outcome = await settled;
  timer.cancel();
  offAbort();
  stream.cancel();
  if (outcome === SILENT && !options.signal?.aborted) stream.member.suspect(SILENT.details);
  return 'grpcCode' in outcome ? new AttemptFailed(outcome, stream.member) : outcome;
}

const ENDED: CallFailure = {
  grpcCode: GrpcCode.UNAVAILABLE,
  details: 'the server ended the stream without an answer',
  sent: 'maybe',
};

const SILENT: CallFailure = {
  grpcCode: GrpcCode.DEADLINE_EXCEEDED,
  details: 'no answer to a keepalive',
  sent: 'maybe',
};

/**
 * Makes calls: picks a member, adds the token, sends, and does about a failure what
 * `retry.ts` says. Every service of the client stands on it.
 *
 * @module
 */

import { type Init, type MethodDescriptor, WireError } from '../../protocol/wire.ts';
import { type BackoffOptions, backoffMs } from '../../support/backoff.ts';
import type { Clock } from '../../support/clock.ts';
import { onAbort, sleep } from '../../support/signals.ts';
import { type CallTelemetry, type CallTrace, NO_CALL_TELEMETRY } from '../../telemetry/calls.ts';
import { publish } from '../../telemetry/channels.ts';
import type { CallOptions } from '../call-options.ts';
import { type Applied, ClosedError, EtcdError, InvalidArgumentError, UnauthenticatedError } from '../errors.ts';
import { parseEndpoint } from '../transport/address.ts';
import {
  type CallFailure,
  type CallMetadata,
  type StreamHandlers,
  TransportError,
  type TransportStream,
  type UnaryOptions,
} from '../transport/transport.ts';
import { abortError, deadlineError, toEtcdError } from './failures.ts';
import type { Member } from './member.ts';
import { MetadataTable } from './metadata.ts';
import type { Pool } from './pool.ts';
import { relieved } from './relief.ts';
import { type CallKind, judge, type Verdict } from './retry.ts';
import type { TokenSource } from './token.ts';

/** How a method is called, apart from what the user asks for. */
export interface CallTraits {
  readonly kind: CallKind;
  /** Whether a learner can serve it. */
  readonly learnerOk?: boolean | undefined;
  /** Whether it can be served without a leader, so that none is asked for. */
  readonly leaderless?: boolean | undefined;
  /** Whether it is made without a token, as the login itself is. */
  readonly anonymous?: boolean | undefined;
  /** `maybe`: that is to be said however it fails, since a call before it has changed something, or may have. */
  readonly applied?: Applied | undefined;
  /** Spans of others that it is made for, besides the active one. */
  readonly links?: CallLinks | undefined;
}

type CallLinks = Parameters<CallTelemetry['begin']>[1];

export interface CallerOptions {
  readonly pool: Pool;
  readonly tokens: TokenSource;
  readonly clock: Clock;
  readonly random: () => number;
  readonly timeoutMs: number;
  readonly requireLeader: boolean;
  readonly secureByDefault: boolean;
  readonly retry: BackoffOptions & { readonly maxAttempts: number };
  /** Default: none. */
  readonly telemetry?: CallTelemetry | undefined;
}

/** An open stream, and where it runs. */
export interface OpenStream<I> extends TransportStream<I> {
  readonly member: Member;
}

/** A token that was refused right after a login will be refused again. */
const MAX_LOGINS = 2;

/** A call with less time than this left is not worth dividing among members. */
const MIN_SHARED_MS = 1_000;

export class Caller {
  readonly #options: CallerOptions;
  readonly #metadata = new MetadataTable();

  constructor(options: CallerOptions) {
    this.#options = options;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  get random(): () => number {
    return this.#options.random;
  }

  /** How long a call may take unless it says otherwise. */
  get timeoutMs(): number {
    return this.#options.timeoutMs;
  }

  get pool(): Pool {
    return this.#options.pool;
  }

  get telemetry(): CallTelemetry {
    return this.#options.telemetry ?? NO_CALL_TELEMETRY;
  }

  /** Makes a call with one answer. Rejects with an EtcdError. */
  unary<I, O>(
    method: MethodDescriptor<I, O>,
    request: Init<I>,
    traits: CallTraits,
    options: CallOptions = {},
  ): Promise<O> {
    const trace = this.telemetry.begin(method.path, traits.links);
    const answer = this.#unary(method, request, traits, options, trace);
    return trace === undefined ? answer : trace.follow(request as object, answer);
  }

  async #unary<I, O>(
    method: MethodDescriptor<I, O>,
    request: Init<I>,
    traits: CallTraits,
    options: CallOptions,
    trace: CallTrace | undefined,
  ): Promise<O> {
    const run = new CallRun(this.#options, options, traits, undefined, trace);
    for (;;) {
      const member = run.pick() ?? (await run.acquire());
      const metadata = this.#metadataNow(traits, options) ?? (await this.#login(run, traits, options));
      if (options.signal?.aborted) throw abortError(options.signal, run.context());
      trace?.attempt(member.name);
      const sent = trace?.metadata(metadata) ?? metadata;
      try {
        const answer = await run.attempt(member, sent, (limits) => member.transport.unary(method, request, limits));
        member.succeeded();
        return answer;
      } catch (error) {
        if (error instanceof WireError) throw new InvalidArgumentError(error.message, { cause: error });
        if (!(error instanceof TransportError)) throw error;
        await run.failed(method.path, member, metadata['token'], error.failure);
      }
    }
  }

  /**
   * Opens a stream. What ends it later is told to the member and the token it ran with, and
   * then to `handlers.onClose`; opening it again is the caller's business.
   */
  async open<I, O>(
    method: MethodDescriptor<I, O>,
    traits: CallTraits,
    options: CallOptions & { readonly avoid?: ReadonlySet<Member>; readonly trace?: CallTrace | undefined },
    handlers: StreamHandlers<O>,
  ): Promise<OpenStream<I>> {
    const run = new CallRun(this.#options, options, traits, options.avoid);
    const member = run.pick() ?? (await run.acquire());
    const metadata = this.#metadataNow(traits, options) ?? (await this.#login(run, traits, options));
    if (options.signal?.aborted) throw abortError(options.signal, run.context());
    let cancelled = false;
    let answered = false;
    const closed = this.telemetry.streamOpened(method.path);
    options.trace?.attempt(member.name);
    const stream = member.transport.stream(
      method,
      { metadata: options.trace?.metadata(metadata) ?? metadata },
      {
        onMessage: (message) => {
          if (!answered) member.succeeded();
          answered = true;
          handlers.onMessage(message);
        },
        onClose: (failure) => {
          // What we ended ourselves says nothing of the member.
          const ours = cancelled || this.#options.pool.closed;
          closed?.();
          if (failure !== undefined && !ours) this.noteFailure(member, metadata['token'], failure);
          handlers.onClose(failure);
        },
      },
    );
    return {
      member,
      send: (message) => stream.send(message),
      halfClose: () => stream.halfClose(),
      pull: () => stream.pull(),
      cancel: () => {
        cancelled = true;
        stream.cancel();
      },
    };
  }

  /** Learns from a failure that a stream reported: about its member, and about its token. */
  noteFailure(member: Member, token: string | undefined, failure: CallFailure): Verdict {
    const verdict = judge('read', failure);
    if (verdict.next === 'login') this.#options.tokens.invalidate(token);
    tellMember(member, verdict, failure, Number.POSITIVE_INFINITY);
    return verdict;
  }

  /** Whether a token that was refused can be replaced by another one. */
  get canLogin(): boolean {
    return this.#options.tokens.renewable;
  }

  /** Forgets the token in hand: a server refused it inside a stream, where no status says so. */
  dropToken(): void {
    this.#options.tokens.invalidate(this.#options.tokens.peek().token);
  }

  /** The call's metadata, if it can be had without waiting. */
  #metadataNow(traits: CallTraits, options: CallOptions): CallMetadata | undefined {
    if (traits.anonymous) return this.#metadata.get(undefined, this.#wantsLeader(traits, options));
    const { ready, token } = this.#options.tokens.peek();
    return ready ? this.#metadata.get(token, this.#wantsLeader(traits, options)) : undefined;
  }

  #wantsLeader(traits: CallTraits, options: CallOptions): boolean {
    return !traits.leaderless && (options.requireLeader ?? this.#options.requireLeader);
  }

  async #login(run: CallRun, traits: CallTraits, options: CallOptions): Promise<CallMetadata> {
    for (;;) {
      try {
        const token = await run.within(this.#options.tokens.get());
        this.#options.pool.askStrangers();
        return this.#metadata.get(token, this.#wantsLeader(traits, options));
      } catch (error) {
        await run.loginFailed(error);
      }
    }
  }
}

/** One call on its way through its attempts. */
class CallRun {
  attempts = 0;
  readonly #env: CallerOptions;
  readonly #options: CallOptions;
  readonly #traits: CallTraits;
  readonly #timeoutMs: number;
  readonly #deadlineAt: number;
  readonly #trace: CallTrace | undefined;
  #avoid: Set<Member> | undefined;
  #applied: Applied = 'no';
  #attemptMs = 0;
  #logins = 0;
  #failedLogins = 0;
  #lastFailure: EtcdError | undefined;

  constructor(
    env: CallerOptions,
    options: CallOptions,
    traits: CallTraits,
    avoid?: ReadonlySet<Member>,
    trace?: CallTrace,
  ) {
    this.#env = env;
    this.#options = options;
    this.#traits = traits;
    this.#trace = trace;
    this.#applied = traits.applied ?? 'no';
    this.#timeoutMs = options.timeoutMs ?? env.timeoutMs;
    if (typeof this.#timeoutMs !== 'number' || !(this.#timeoutMs > 0)) {
      throw new InvalidArgumentError(`timeoutMs ${this.#timeoutMs} is not a positive number`);
    }
    this.#deadlineAt = env.clock.now() + this.#timeoutMs;
    if (avoid !== undefined && avoid.size > 0) this.#avoid = new Set(avoid);
    if (env.pool.closed) throw new ClosedError('the client', this.context());
    if (options.signal?.aborted) throw abortError(options.signal, this.context());
  }

  context(): { endpoint?: string | undefined; attempts: number; applied: Applied; cause?: unknown } {
    return {
      endpoint: this.#lastFailure?.endpoint,
      attempts: this.attempts,
      applied: this.#applied,
      cause: this.#lastFailure,
    };
  }

  pick(): Member | undefined {
    if (this.#options.endpoint !== undefined) return undefined;
    const { learnerOk, leaderless } = this.#traits;
    return this.#env.pool.pick({ learnerOk, leaderless, avoid: this.#avoid });
  }

  async acquire(): Promise<Member> {
    const wait = {
      learnerOk: this.#traits.learnerOk,
      leaderless: this.#traits.leaderless,
      avoid: this.#avoid,
      deadlineAt: this.#deadlineAt,
      timeoutMs: this.#timeoutMs,
      signal: this.#options.signal,
    };
    const { endpoint } = this.#options;
    try {
      if (endpoint === undefined) return await this.#env.pool.acquire(wait);
      return await this.#env.pool.at(parseEndpoint(endpoint, this.#env.secureByDefault), wait);
    } catch (error) {
      throw this.attempts > 0 || this.#applied === 'maybe' ? this.#giveUp(error) : error;
    }
  }

  /**
   * Makes an attempt. It gets half of the time that is left while another member could still
   * be tried; else all of it, as long as there is none (relief.ts).
   */
  attempt<O>(member: Member, metadata: CallMetadata, send: (limits: UnaryOptions) => Promise<O>): Promise<O> {
    const { clock, pool } = this.#env;
    const { signal, endpoint } = this.#options;
    const startedAt = clock.now();
    const left = this.#deadlineAt - startedAt;
    this.attempts += 1;
    this.#attemptMs = left;
    const repeatable = this.#traits.kind !== 'write' && endpoint === undefined;
    if (left <= MIN_SHARED_MS || !repeatable || pool.members.length < 2) {
      return send({ metadata, timeoutMs: left, signal });
    }
    if (pool.hasOther(member, this.#traits)) {
      this.#attemptMs = left / 2;
      return send({ metadata, timeoutMs: left / 2, signal });
    }
    const { learnerOk, leaderless } = this.#traits;
    const wait = { learnerOk, leaderless, deadlineAt: this.#deadlineAt, timeoutMs: this.#timeoutMs, signal };
    const onRelief = (waitedMs: number): void => {
      this.#attemptMs = waitedMs;
    };
    return relieved({ clock, pool, member, startedAt, wait, onRelief }, (either) =>
      send({ metadata, timeoutMs: left, signal: either }),
    );
  }

  /** Waits for something that has no deadline of its own. */
  within<T>(work: Promise<T>): Promise<T> {
    const { clock } = this.#env;
    const { signal } = this.#options;
    return new Promise<T>((resolve, reject) => {
      const timer = clock.after(this.#deadlineAt - clock.now(), () => {
        reject(deadlineError(this.#timeoutMs, this.context()));
      });
      const offAbort = onAbort(signal, () => reject(abortError(signal as AbortSignal, this.context())));
      void work.then(resolve, reject).finally(() => {
        timer.cancel();
        offAbort();
      });
    });
  }

  /** A login failed, its own or one that others wait for too: returns when another may start, throws when none may. */
  async loginFailed(error: unknown): Promise<void> {
    const timeLeft = this.#deadlineAt - this.#env.clock.now();
    const { signal } = this.#options;
    if (signal?.aborted) throw abortError(signal, this.context());
    const passing = error instanceof EtcdError && (error.code === 'unavailable' || error.code === 'deadline');
    if (!passing || timeLeft <= 0 || this.#env.pool.closed) {
      throw this.#applied === 'maybe' ? this.#giveUp(error) : error;
    }
    const delayMs = backoffMs(this.#env.retry, this.#failedLogins, this.#env.random);
    this.#failedLogins += 1;
    await sleep(this.#env.clock, Math.min(timeLeft, delayMs), signal);
  }

  /** Takes note of a failed attempt; returns when another one may start, throws when none may. */
  async failed(path: string, member: Member, token: string | undefined, failure: CallFailure): Promise<void> {
    const verdict = judge(this.#traits.kind, failure);
    const { signal } = this.#options;
    // What we ended ourselves says nothing of the member.
    const ours = signal?.aborted || this.#env.pool.closed;
    if (!ours) tellMember(member, verdict, failure, this.#attemptMs);
    if (verdict.applied === 'maybe') this.#applied = 'maybe';
    const { attempts } = this;
    this.#lastFailure = toEtcdError(failure, { endpoint: member.name, attempts, applied: this.#applied });

    if (signal?.aborted) throw abortError(signal, this.context());
    if (this.#env.pool.closed) throw new ClosedError('the client', this.context());
    const timeLeft = this.#deadlineAt - this.#env.clock.now();
    if (verdict.next === 'login') return this.#replaceToken(verdict, token);
    if (verdict.next === 'fail' || attempts >= this.#env.retry.maxAttempts) throw this.#finalError(timeLeft);
    if (timeLeft <= 0) throw deadlineError(this.#timeoutMs, this.context());

    this.#avoid ??= new Set();
    this.#avoid.add(member);
    const untried =
      this.#options.endpoint === undefined && this.#env.pool.hasOther(member, { ...this.#traits, avoid: this.#avoid });
    // Another member is tried at once; only a second round waits.
    const delayMs = untried ? 0 : this.#delayMs(timeLeft);
    this.#trace?.retry(failure.details, delayMs);
    publish('etcdkit:retry', () => ({
      method: path,
      attempt: attempts,
      endpoint: member.name,
      reason: failure.details,
      delayMs,
    }));
    if (delayMs > 0) await sleep(this.#env.clock, delayMs, signal);
    if (!untried) this.#avoid.clear();
  }

  /** The token was refused, which changes nothing, so the call may be sent again with another one. */
  #replaceToken({ etcdCode }: Verdict, token: string | undefined): void {
    const { tokens } = this.#env;
    // A client certificate is no token that could be old: the member was just behind with what its user may do.
    const behind = etcdCode === 'AuthOldRevision' && token === undefined;
    const useless = this.#traits.anonymous || this.#logins >= MAX_LOGINS || !(tokens.renewable || behind);
    if (useless) throw this.#lastFailure as EtcdError;
    this.#logins += 1;
    tokens.invalidate(token);
  }

  #delayMs(timeLeft: number): number {
    return Math.min(timeLeft, backoffMs(this.#env.retry, this.attempts - 1, this.#env.random));
  }

  /** A failure by deadline is the call's own when its time is up, whoever noticed first. */
  #finalError(timeLeft: number): EtcdError {
    const last = this.#lastFailure as EtcdError;
    return last.code === 'deadline' && timeLeft <= 0 ? deadlineError(this.#timeoutMs, this.context()) : last;
  }

  /** No attempt can be made any more. What an earlier one may have done outlives that, so it is in the error. */
  #giveUp(error: unknown): unknown {
    if (!(error instanceof EtcdError)) return error;
    const { code } = error;
    const context = { ...this.context(), cause: this.#lastFailure ?? error };
    if (code === 'aborted' && this.#options.signal) return abortError(this.#options.signal, context);
    if (code === 'closed') return new ClosedError('the client', context);
    if (code === 'unauthenticated')
      return new UnauthenticatedError('the login was refused', { ...context, cause: error });
    return deadlineError(this.#timeoutMs, context);
  }
}

function tellMember(member: Member, verdict: Verdict, failure: CallFailure, waitedMs: number): void {
  if (verdict.member === 'learner') member.learner();
  else if (verdict.member === 'leaderless') member.leaderless();
  else if (verdict.member === 'silent') member.silent(waitedMs);
  else if (verdict.member === 'suspect') member.suspect(failure.details);
  else member.succeeded();
}

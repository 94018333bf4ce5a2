/** What the gRPC fault proxy can be told to do, and the records it keeps. */
import { EventEmitter, once } from 'node:events';
import type http2 from 'node:http2';

/** A gRPC status as the server would send it. */
export interface GrpcStatus {
  readonly code: number;
  readonly message: string;
}

/** How a call comes to its end at the client. */
export type Break =
  /** RST_STREAM, see {@link FaultRule.resetCode}. */
  | 'reset'
  /** The client's whole connection breaks, with all calls on it. */
  | 'cut'
  /** Nothing happens at all; the client has to give up by itself. */
  | 'hang';

/** What is done to a call. */
export type FaultAction =
  /** etcd executes the call; its reply is dropped, and the call breaks as {@link FaultRule.via} says. */
  | 'swallow-reply'
  /** Refused (REFUSED_STREAM) before anything was forwarded: HTTP/2's promise that it was not processed. */
  | 'reset-before'
  /** Reset as soon as the whole request was forwarded, not waiting for etcd: applied or not, nobody knows. */
  | 'reset-after'
  /** Never forwarded, never answered. */
  | 'hang'
  /** Answers with this status; with `forward` only after etcd has executed and answered the call. */
  | { readonly status: GrpcStatus; readonly forward: boolean }
  /** Forwards the call this much later. */
  | { readonly delayMs: number }
  /** Once the client has got this many messages, the call breaks, or ends with a status (`end-ok`: with OK). */
  | { readonly afterMessages: number; readonly ending: Break | 'end-ok' | { readonly status: GrpcStatus } };

/** Which calls, and what is done to them. */
export interface FaultRule {
  /** Full path (`/etcdserverpb.KV/Put`), or a pattern of it; without it every call matches. */
  path?: string | RegExp;
  /** The first matching call it applies to, counted from 1 since the rule was made. Default 1. */
  nth?: number;
  /** How many matching calls in a row it applies to. Default: one if `nth` is given, else all. */
  times?: number;
  action: FaultAction;
  /** How `swallow-reply` ends the call. Default `reset`. */
  via?: Break;
  /** The code of RST_STREAM; INTERNAL_ERROR by default. See `http2.constants.NGHTTP2_*`. */
  resetCode?: number;
}

/** One call through the proxy; it goes on changing while the call runs. */
export interface CallRecord {
  readonly path: string;
  /** Position among all calls of the proxy, from 0. */
  readonly order: number;
  /** Position among the calls of this path, from 1. */
  readonly nth: number;
  /** The client's connection, numbered from 1. */
  readonly connection: number;
  readonly requestMetadata: http2.IncomingHttpHeaders;
  /** Whole messages that came from the client. */
  requestMessages: number;
  /**
   * The first of them, without its gRPC header: of a unary call all it asks for. Only of calls that were forwarded, and
   * that began while the proxy was to keep requests (`GrpcFaultProxy.keepsRequests`).
   */
  request: Buffer | undefined;
  /** Whole messages that were handed to the client. */
  responseMessages: number;
  /** The status that the client was sent; undefined while the call runs and when it was broken off. */
  status: number | undefined;
  /** Whether the call has ended at the client's side, in whatever way. */
  ended: boolean;
  /** What a rule did to it. */
  fault: FaultAction | undefined;
}

/** One whole message of a client, on its way to etcd. */
export interface ClientMessage {
  readonly call: CallRecord;
  /** Position among the messages of its call, from 1. */
  readonly nth: number;
  /** The protobuf message, without its gRPC header. */
  readonly payload: Buffer;
}

/**
 * What becomes of a message: it goes on to etcd; or it does not, and the client's connection is cut; or it goes on, and
 * the call is reset instead of handing its next reply to the client.
 */
export type Verdict = 'forward' | 'cut' | 'swallow';

/** Decides on each message of a client, in their order within a call; until it has, etcd does not get the message. */
export type MessageGate = (message: ClientMessage) => Verdict | Promise<Verdict>;

const WAIT_TIMEOUT_MS = 10_000;

/** A rule in force. */
export class ActiveRule {
  readonly rule: FaultRule;
  readonly #changes = new EventEmitter();
  readonly #remove: (rule: ActiveRule) => void;
  #matched = 0;
  #applied = 0;

  constructor(rule: FaultRule, remove: (rule: ActiveRule) => void) {
    this.rule = rule;
    this.#remove = remove;
  }

  /** How many calls had the path, whether or not something was done to them. */
  get matched(): number {
    return this.#matched;
  }

  /** How many calls it was applied to. */
  get applied(): number {
    return this.#applied;
  }

  /** Counts a call and says whether it is one the rule is meant for. For the proxy. */
  counts(path: string): boolean {
    const { path: wanted, nth, times = nth === undefined ? Infinity : 1 } = this.rule;
    if (typeof wanted === 'string' ? wanted !== path : wanted && !wanted.test(path)) return false;
    this.#matched++;
    const first = nth ?? 1;
    return this.#matched >= first && this.#matched < first + times;
  }

  /** Notes that the rule decides a call. For the proxy. */
  apply(): void {
    this.#applied++;
    this.#changes.emit('change');
  }

  /** Waits until it was applied to this many calls. */
  async waitApplied(count = 1, timeoutMs = WAIT_TIMEOUT_MS): Promise<void> {
    await waitUntil(
      this.#changes,
      () => this.#applied >= count,
      timeoutMs,
      () => `rule applied ${this.#applied} times`,
    );
  }

  /** Later calls go through; those it already applies to stay as they are. */
  remove(): void {
    this.#remove(this);
  }
}

/** Waits for `condition`, looking again at each `change`; the error after the time says how things stand. */
export async function waitUntil(
  changes: EventEmitter,
  condition: () => boolean,
  timeoutMs: number,
  describe: () => string,
): Promise<void> {
  const signal = AbortSignal.timeout(timeoutMs);
  while (!condition()) {
    await once(changes, 'change', { signal }).catch((cause: unknown) => {
      throw new Error(`after ${timeoutMs} ms: ${describe()}`, { cause });
    });
  }
}

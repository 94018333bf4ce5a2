/**
 * One gRPC call, on its HTTP/2 stream.
 *
 * The object is the call as its service sees it, the call's metadata, and what the stream's events are told to, since a
 * unary call is all that many clients do and each object or closure shows in how many a second there can be. For the
 * same reason it is what its waits are called off by. The timer of the deadline is made when somebody asks for that or
 * for the signal, and the signal when somebody asks for it.
 *
 * Obligations: a call ends once, with one status; after `close` nothing touches the stream; whatever the client sends,
 * only its own stream suffers.
 *
 * @module
 */
import type { Duplex } from 'node:stream';
import { GrpcCode } from '../../protocol/status.ts';
import { WireError } from '../../protocol/wire.ts';
import type { Clock, Timer } from '../../support/clock.ts';
import type { Cancellation } from '../../support/signals.ts';
import type { RequestHead } from '../http2/request-head.ts';
import type { Receiver, Stream } from '../http2/stream.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import type { WorkSpan } from '../tracing.ts';
import { type CallMetadata, Encoded, type Method, type Reply, type ServerCall } from './call.ts';
import type { CallStats, MethodStats } from './call-stats.ts';
import { commonNameOf } from './common-name.ts';
import { type FaultReporter, GONE, refusalOf, refuse, TOO_LATE } from './failure.ts';
import { FrameReader, prefixOf } from './frames.ts';
import { OK_TRAILERS, RESPONSE_HEADERS, statusHeaders, statusTrailers, timeoutMs } from './grpc-headers.ts';

/** What all calls of a server share. */
export interface CallContext {
  readonly clock: Clock;
  readonly stats: CallStats;
  readonly report: FaultReporter;
  /** Longest message that a client may send, in bytes. */
  readonly receiveLimitBytes: number;
  /** Calls that run. */
  readonly running: Set<GrpcCall>;
}

const OK: Refusal = { grpcCode: GrpcCode.OK, text: '' };

/** What all kinds of calls have. */
export abstract class GrpcCall implements ServerCall, CallMetadata, Cancellation, Receiver {
  readonly via = 'grpc';
  readonly path: string;
  readonly kind: Method['kind'];
  span: WorkSpan | undefined = undefined;
  protected readonly stream: Stream;
  protected readonly context: CallContext;
  protected readonly stats: MethodStats;
  readonly #socket: Duplex;
  readonly #head: RequestHead;
  #frames: FrameReader | undefined;
  readonly #timeoutMs: number | undefined;
  readonly #startedAt: number;
  #controller: AbortController | undefined;
  /** Whom to tell that the call is over. */
  #waits: (() => void)[] | undefined;
  #deadline: Timer | undefined;
  /** Why nobody waits any more, if so. */
  #over: Error | undefined;
  #answered = false;
  #status: Refusal | undefined;

  constructor(context: CallContext, method: Method, socket: Duplex, stream: Stream, head: RequestHead) {
    this.path = method.descriptor.path;
    this.kind = method.kind;
    this.context = context;
    this.stream = stream;
    this.stats = context.stats.of(this.path);
    this.#socket = socket;
    this.#head = head;
    this.#timeoutMs = timeoutMs(head);
    this.#startedAt = this.#timeoutMs === undefined ? 0 : context.clock.now();
    this.stats.started++;
    context.running.add(this);
    // Before a handler may end it.
    stream.receiver = this;
  }

  get metadata(): CallMetadata {
    return this;
  }

  get(name: string): string | undefined {
    return name.endsWith('-bin') ? undefined : this.#head.get(name);
  }

  get commonName(): string | undefined {
    return commonNameOf(this.#socket);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#over !== undefined) this.#controller.abort(this.#over);
      else this.#startDeadline();
    }
    return this.#controller.signal;
  }

  get cancellation(): Cancellation {
    this.#startDeadline();
    return this;
  }

  get aborted(): boolean {
    return this.#over !== undefined;
  }

  onAbort(callback: () => void): () => void {
    this.#waits ??= [];
    const waits = this.#waits;
    waits.push(callback);
    return () => {
      const at = waits.indexOf(callback);
      if (at >= 0) waits.splice(at, 1);
    };
  }

  #startDeadline(): void {
    const timeout = this.#timeoutMs;
    if (timeout === undefined || this.#deadline !== undefined || this.#over !== undefined) return;
    const leftMs = this.#startedAt + timeout - this.context.clock.now();
    this.#deadline = this.context.clock.after(leftMs, () => this.giveUp(TOO_LATE), { background: true });
  }

  /** Fires the signal. The call itself goes on until its handler is done. */
  giveUp(why: Error): void {
    if (this.#over !== undefined) return;
    this.#over = why;
    this.#controller?.abort(why);
    const waits = this.#waits;
    // One that another takes off meanwhile is not called, as with a signal.
    for (let next = waits?.shift(); next !== undefined; next = waits?.shift()) next();
  }

  /** The signal, if anybody has asked for it. */
  protected get signalSoFar(): AbortSignal | undefined {
    return this.#controller?.signal;
  }

  /** Whether the call has its status, or nobody to tell it to. */
  protected get ended(): boolean {
    return this.#status !== undefined || this.stream.closed;
  }

  /** Cuts messages out of the data. */
  protected get frames(): FrameReader {
    this.#frames ??= new FrameReader(this.context.receiveLimitBytes, this.#head.get('grpc-encoding') === 'gzip');
    return this.#frames;
  }

  /** Whether part of a message is there. */
  protected get isPartial(): boolean {
    return this.#frames?.partial ?? false;
  }

  /** Data of the client, while the call has no status. */
  protected abstract take(chunk: Buffer): void;

  /** The client has sent all, and the call has no status. */
  protected abstract takeEnd(): void;

  onData(chunk: Buffer): void {
    if (!this.ended) this.take(chunk);
  }

  onEnd(): void {
    if (!this.ended) this.takeEnd();
  }

  onDrain(): void {}

  onClose(): void {
    this.#deadline?.cancel();
    this.context.running.delete(this);
    this.giveUp(GONE);
    const code = this.#status?.grpcCode ?? GrpcCode.CANCELLED;
    this.stats.handled[code] = (this.stats.handled[code] ?? 0) + 1;
  }

  /** Sends a message, and headers before the first. @returns False when the client is behind. */
  protected write(method: Method, reply: Reply<unknown>, last: boolean): boolean {
    if (this.ended) return true;
    const bytes = reply instanceof Encoded ? reply.bytes : method.descriptor.response.encode(reply);
    this.stats.messagesSent++;
    this.context.stats.sentBytes += bytes.length;
    if (!this.#answered) {
      this.#answered = true;
      this.stream.respond(RESPONSE_HEADERS, false);
    }
    // Before it is written: that may end the stream.
    if (last) this.#status = OK;
    const room = this.stream.write(prefixOf(bytes.length), bytes);
    if (last) this.stream.end(OK_TRAILERS);
    return room;
  }

  /** Ends the call. Without a message before it, the status is the whole answer. */
  protected finish(status: Refusal): void {
    if (this.ended) return;
    this.#status = status;
    const { grpcCode, text } = status;
    if (this.#answered) this.stream.end(status === OK ? OK_TRAILERS : statusTrailers(grpcCode, text));
    else this.stream.respond(statusHeaders(grpcCode, text), true);
  }

  /** Ends the call well. */
  protected finishWell(): void {
    this.finish(OK);
  }

  /** Ends the call with what a handler has thrown. */
  protected fail(error: unknown): void {
    if (this.ended) return;
    const refusal = refusalOf(error, this.signalSoFar, this.path, this.context.report);
    const why = this.#over;
    // Whoever has waited knows no more than that it was called off.
    this.finish(refusal === Refusals.Canceled && why instanceof RpcError ? why.refusal : refusal);
  }

  /** What is to be said of a request that is none. */
  protected unreadable(error: unknown, prefix: string): unknown {
    if (!(error instanceof WireError)) return error;
    // The reason names no content.
    return refuse(GrpcCode.INTERNAL, `${prefix}: ${error.reason}`);
  }
}

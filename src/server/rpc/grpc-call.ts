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
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { GrpcCode } from '../../protocol/status.ts';
import { WireError } from '../../protocol/wire.ts';
import type { Clock, Timer } from '../../support/clock.ts';
import type { Cancellation } from '../../support/signals.ts';
import type { Refusal } from '../refusals.ts';
import { type CallMetadata, Encoded, type Method, type Reply, type ServerCall } from './call.ts';
import type { CallStats, MethodStats } from './call-stats.ts';
import { type FaultReporter, GONE, refusalOf, refuse, TOO_LATE } from './failure.ts';
import { FrameReader, frame } from './frames.ts';
import { statusHeaders, statusTrailers, timeoutMs } from './grpc-headers.ts';
import type { GrpcSession } from './grpc-session.ts';

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

/** What `stream` belongs to; a property of the stream is cheaper than closures over the call. */
const CALL = Symbol('call');
type CallStream = ServerHttp2Stream & { [CALL]: GrpcCall };

const RESPONSE_HEADERS = { ':status': 200, 'content-type': 'application/grpc' };
/** The date would be a string made for each call; gRPC's other servers send none. */
const RESPOND_OPTIONS = { waitForTrailers: true, sendDate: false };
const OK_TRAILERS = statusTrailers(GrpcCode.OK, '');

/** What all kinds of calls have. */
export abstract class GrpcCall implements ServerCall, CallMetadata, Cancellation {
  readonly via = 'grpc';
  readonly path: string;
  readonly kind: Method['kind'];
  protected readonly stream: ServerHttp2Stream;
  protected readonly context: CallContext;
  protected readonly frames: FrameReader;
  protected readonly stats: MethodStats;
  readonly #session: GrpcSession;
  readonly #rawHeaders: readonly string[];
  readonly #timeoutMs: number | undefined;
  readonly #startedAt: number;
  #controller: AbortController | undefined;
  /** Whom to tell that the call is over. */
  #waits: (() => void)[] | undefined;
  #deadline: Timer | undefined;
  /** Why nobody waits any more, if so. */
  #over: Error | undefined;
  #answered = false;
  #requestEnded = false;
  #status: Refusal | undefined;

  constructor(
    context: CallContext,
    method: Method,
    session: GrpcSession,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    rawHeaders: readonly string[],
  ) {
    this.path = method.descriptor.path;
    this.kind = method.kind;
    this.context = context;
    this.stream = stream;
    this.frames = new FrameReader(context.receiveLimitBytes, headers['grpc-encoding'] === 'gzip');
    this.stats = context.stats.of(this.path);
    this.#session = session;
    this.#rawHeaders = rawHeaders;
    this.#timeoutMs = timeoutMs(headers);
    this.#startedAt = this.#timeoutMs === undefined ? 0 : context.clock.now();
    this.stats.started++;
    context.running.add(this);
    session.calls++;
    (stream as CallStream)[CALL] = this;
    stream.on('data', onData);
    stream.on('end', onEnd);
    stream.on('close', onClose);
    stream.on('wantTrailers', onWantTrailers);
  }

  get metadata(): CallMetadata {
    return this;
  }

  get(name: string): string | undefined {
    const raw = this.#rawHeaders;
    for (let i = 0; i < raw.length; i += 2) if (raw[i] === name) return name.endsWith('-bin') ? undefined : raw[i + 1];
    return undefined;
  }

  get commonName(): string | undefined {
    return this.#session.commonName;
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
    return this.#status !== undefined || this.stream.destroyed;
  }

  /** Data of the client. */
  protected abstract onData(chunk: Buffer): void;

  /** The client has sent all. */
  protected abstract onEnd(): void;

  /** The stream is over, whatever the reason. */
  protected onClose(): void {
    this.#deadline?.cancel();
    this.context.running.delete(this);
    this.#session.calls--;
    this.giveUp(GONE);
    const code = this.#status?.grpcCode ?? GrpcCode.CANCELLED;
    this.stats.handled[code] = (this.stats.handled[code] ?? 0) + 1;
  }

  /** Sends a message, and headers before the first. @returns False when the client is behind. */
  protected write(method: Method, reply: Reply<unknown>, last: boolean): boolean {
    if (this.ended) return true;
    const bytes = reply instanceof Encoded ? reply.bytes : method.descriptor.response.encode(reply);
    this.#respond();
    this.#session.wrote = true;
    this.stats.messagesSent++;
    this.context.stats.sentBytes += bytes.length;
    const [head, body] = frame(bytes);
    if (last) {
      this.#status = OK;
      if (body !== undefined) this.stream.write(head);
      this.stream.end(body ?? head);
      return true;
    }
    if (body === undefined) return this.stream.write(head);
    this.stream.write(head);
    return this.stream.write(body);
  }

  #respond(): void {
    if (this.#answered) return;
    this.#answered = true;
    this.stream.respond(RESPONSE_HEADERS, RESPOND_OPTIONS);
  }

  /** Ends the call. Without a message before it, the status is the whole answer. */
  protected finish(status: Refusal): void {
    if (this.ended) return;
    this.#status = status;
    this.#session.wrote = true;
    if (this.#answered) {
      this.stream.end();
      return;
    }
    this.#answered = true;
    this.stream.respond(statusHeaders(status.grpcCode, status.text), { endStream: true });
    this.#endRequest();
  }

  /** Ends the call well. */
  protected finishWell(): void {
    this.finish(OK);
  }

  /** Ends the call with what a handler has thrown. */
  protected fail(error: unknown): void {
    if (this.ended) return;
    this.finish(refusalOf(error, this.signalSoFar, this.path, this.context.report));
  }

  /** What is to be said of a request that is none. */
  protected unreadable(error: unknown, prefix: string): unknown {
    if (!(error instanceof WireError)) return error;
    // The reason names no content.
    return refuse(GrpcCode.INTERNAL, `${prefix}: ${error.reason}`);
  }

  /**
   * A client that is still sending hears that nobody listens (RFC 9113, 8.1). In a later turn: a reset that is sent in
   * the same one overtakes the answer.
   */
  #endRequest(): void {
    if (this.#requestEnded) return;
    this.context.clock.after(0, () => {
      if (!this.stream.closed) this.stream.close(constants.NGHTTP2_NO_ERROR);
    });
  }

  /** For the stream's events alone. */
  streamData(chunk: Buffer): void {
    if (!this.ended) this.onData(chunk);
  }

  /** For the stream's events alone. */
  streamEnd(): void {
    this.#requestEnded = true;
    if (!this.ended) this.onEnd();
  }

  /** For the stream's events alone. */
  streamClosed(): void {
    this.onClose();
  }

  /** For the stream's events alone. */
  streamTrailers(): void {
    const status = this.#status ?? OK;
    this.stream.sendTrailers(status === OK ? OK_TRAILERS : statusTrailers(status.grpcCode, status.text));
    this.#endRequest();
  }
}

const OK: Refusal = { grpcCode: GrpcCode.OK, text: '' };

function onData(this: ServerHttp2Stream, chunk: Buffer): void {
  (this as CallStream)[CALL].streamData(chunk);
}

function onEnd(this: ServerHttp2Stream): void {
  (this as CallStream)[CALL].streamEnd();
}

function onClose(this: ServerHttp2Stream): void {
  (this as CallStream)[CALL].streamClosed();
}

function onWantTrailers(this: ServerHttp2Stream): void {
  (this as CallStream)[CALL].streamTrailers();
}

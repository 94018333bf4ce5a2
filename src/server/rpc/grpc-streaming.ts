/**
 * A call that answers with a stream, and may be sent one.
 *
 * Both ways are bounded: a service that does not read stops the client by HTTP/2's flow control, a client that does not
 * read makes `send` return false. What a service sends nonetheless is kept: it is the service that must wait.
 *
 * @module
 */
import type { Duplex } from 'node:stream';
import { GrpcCode } from '../../protocol/status.ts';
import { type Deferred, deferred } from '../../support/signals.ts';
import type { RequestHead } from '../http2/request-head.ts';
import type { Stream } from '../http2/stream.ts';
import type { Method, Outlet, Reply } from './call.ts';
import { refuse } from './failure.ts';
import { type CallContext, GrpcCall } from './grpc-call.ts';
import { RequestQueue } from './request-queue.ts';

/** Messages that may wait for their service. */
const MAX_WAITING = 64;

type StreamingMethod = Extract<Method, { kind: 'server-stream' | 'bidi' }>;

/** See the head of this file. */
export class StreamingCall extends GrpcCall implements Outlet<unknown> {
  readonly #method: StreamingMethod;
  readonly #requests: RequestQueue<unknown>;
  #begun = false;
  #room: Deferred<void> | undefined;
  #blocked = false;

  constructor(context: CallContext, method: StreamingMethod, socket: Duplex, stream: Stream, head: RequestHead) {
    super(context, method, socket, stream, head);
    this.#method = method;
    this.#requests = new RequestQueue(
      MAX_WAITING,
      () => stream.pause(),
      () => stream.resume(),
    );
    if (method.kind === 'bidi') this.#run(() => method.handle(this.#requests, this, this));
  }

  send(message: Reply<unknown>): boolean {
    if (this.ended) return true;
    this.#blocked = !this.write(this.#method, message, false);
    return !this.#blocked;
  }

  drained(): Promise<void> {
    if (!this.#blocked || this.ended) return Promise.resolve();
    this.#room ??= deferred();
    return this.#room.promise;
  }

  override onDrain(): void {
    this.#blocked = false;
    this.#room?.resolve();
    this.#room = undefined;
  }

  protected override take(chunk: Buffer): void {
    this.frames.push(chunk);
    try {
      for (;;) {
        const bytes = this.frames.next();
        if (bytes === undefined) return;
        this.stats.messagesReceived++;
        this.context.stats.receivedBytes += bytes.length;
        this.#receive(this.#method.descriptor.request.decode(bytes));
      }
    } catch (error) {
      this.#abandon(this.unreadable(error, 'grpc: failed to unmarshal the received message'));
    }
  }

  #receive(message: unknown): void {
    if (this.#method.kind === 'bidi') {
      this.#requests.push(message);
      return;
    }
    if (this.#begun) return;
    const { handle } = this.#method;
    this.#run(() => handle(message, this, this));
  }

  protected override takeEnd(): void {
    if (this.isPartial) this.#abandon(refuse(GrpcCode.UNKNOWN, 'unexpected EOF'));
    else if (this.#method.kind === 'server-stream' && !this.#begun) this.#abandon(refuse(GrpcCode.UNKNOWN, 'EOF'));
    this.#requests.end();
  }

  /** The client broke the rules: it is told at once, and the service that nobody waits for it. */
  #abandon(error: unknown): void {
    this.fail(error);
    this.#requests.drop();
    if (error instanceof Error) this.giveUp(error);
  }

  override onClose(): void {
    super.onClose();
    this.#requests.drop();
    this.onDrain();
  }

  override giveUp(why: Error): void {
    super.giveUp(why);
    this.#requests.drop();
  }

  #run(handle: () => Promise<void>): void {
    this.#begun = true;
    let running: Promise<void>;
    try {
      running = handle();
    } catch (error) {
      this.fail(error);
      return;
    }
    running.then(
      () => this.finishWell(),
      (error: unknown) => this.fail(error),
    );
  }
}

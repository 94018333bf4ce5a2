/**
 * A call of one message each way.
 *
 * The handler starts with the message, not with the end of the request; what follows the message is dropped, as etcd
 * does.
 *
 * @module
 */
import type { Duplex } from 'node:stream';
import { GrpcCode } from '../../protocol/status.ts';
import type { RequestHead } from '../http2/request-head.ts';
import type { Stream } from '../http2/stream.ts';
import type { Method, Reply } from './call.ts';
import { refuse } from './failure.ts';
import { isWholeMessage, PREFIX_BYTES } from './frames.ts';
import { type CallContext, GrpcCall } from './grpc-call.ts';

/** See the head of this file. */
export class UnaryCall extends GrpcCall {
  readonly #method: Extract<Method, { kind: 'unary' }>;
  #begun = false;

  constructor(
    context: CallContext,
    method: Extract<Method, { kind: 'unary' }>,
    socket: Duplex,
    stream: Stream,
    head: RequestHead,
  ) {
    super(context, method, socket, stream, head);
    this.#method = method;
  }

  protected override take(chunk: Buffer): void {
    if (this.#begun) return;
    if (!this.isPartial && isWholeMessage(chunk) && chunk.length - PREFIX_BYTES <= this.context.receiveLimitBytes) {
      this.#begin(chunk.subarray(PREFIX_BYTES));
      return;
    }
    this.frames.push(chunk);
    try {
      const message = this.frames.next();
      if (message !== undefined) this.#begin(message);
    } catch (error) {
      this.fail(error);
    }
  }

  protected override takeEnd(): void {
    if (this.#begun) return;
    this.fail(refuse(GrpcCode.UNKNOWN, this.isPartial ? 'unexpected EOF' : 'EOF'));
  }

  #begin(message: Buffer): void {
    this.#begun = true;
    this.stats.messagesReceived++;
    this.context.stats.receivedBytes += message.length;
    let answer: Promise<Reply<unknown>>;
    try {
      answer = this.#method.handle(this.#method.descriptor.request.decode(message), this);
    } catch (error) {
      this.fail(this.unreadable(error, 'grpc: error unmarshalling request'));
      return;
    }
    answer.then(this.#reply, this.#refuse);
  }

  readonly #reply = (reply: Reply<unknown>): void => {
    try {
      this.write(this.#method, reply, true);
    } catch (error) {
      this.fail(error);
    }
  };

  readonly #refuse = (error: unknown): void => this.fail(error);
}

/**
 * A stream over one grpc-js call.
 *
 * Two habits of grpc-js shape this file: a message handed over before the one in front of
 * it was written replaces that one, so sends queue here; and a decoded message shares its
 * memory with the frame it came in, so nobody may hold on to a part of it for long.
 *
 * @module
 */

import type { Channel, Metadata } from '@grpc/grpc-js';
import { GrpcCode } from '../../protocol/status.ts';
import type { Init, MethodDescriptor } from '../../protocol/wire.ts';
import { callFailure } from './grpc-failures.ts';
import type { StreamHandlers, TransportStream } from './transport.ts';

/** What grpc-js calls a call, below its client. */
export type RawCall = ReturnType<Channel['createCall']>;

export class GrpcStream<I, O> implements TransportStream<I> {
  readonly #call: RawCall;
  readonly #method: MethodDescriptor<I, O>;
  readonly #handlers: StreamHandlers<O>;
  readonly #outbox: Buffer[] = [];
  readonly #written = { callback: () => this.#sendNext() };
  #sending = false;
  #halfClosing = false;
  #closed = false;
  #malformed: unknown;

  constructor(call: RawCall, method: MethodDescriptor<I, O>, metadata: Metadata, handlers: StreamHandlers<O>) {
    this.#call = call;
    this.#method = method;
    this.#handlers = handlers;
    call.start(metadata, {
      onReceiveMetadata: ignore,
      onReceiveMessage: (message: Buffer) => this.#receive(message),
      onReceiveStatus: (status) => {
        this.#closed = true;
        this.#outbox.length = 0;
        const ok = status.code === GrpcCode.OK && this.#malformed === undefined;
        handlers.onClose(ok ? undefined : callFailure(status, true, this.#malformed));
      },
    });
  }

  #receive(bytes: Buffer): void {
    if (this.#closed || this.#malformed !== undefined) return;
    let message: O;
    try {
      message = this.#method.response.decode(bytes);
    } catch (error) {
      this.#malformed = error;
      this.#call.cancelWithStatus(GrpcCode.INTERNAL, 'the server sent a message that cannot be decoded');
      return;
    }
    this.#handlers.onMessage(message);
  }

  send(message: Init<I>): void {
    if (this.#closed) return;
    this.#outbox.push(this.#method.request.encode(message));
    if (!this.#sending) this.#sendNext();
  }

  #sendNext(): void {
    const next = this.#closed ? undefined : this.#outbox.shift();
    this.#sending = next !== undefined;
    if (next !== undefined) this.#call.sendMessageWithContext(this.#written, next);
    else if (this.#halfClosing && !this.#closed) this.#call.halfClose();
  }

  halfClose(): void {
    if (this.#closed || this.#halfClosing) return;
    this.#halfClosing = true;
    if (!this.#sending) this.#call.halfClose();
  }

  pull(): void {
    if (!this.#closed) this.#call.startRead();
  }

  cancel(): void {
    if (!this.#closed) this.#call.cancelWithStatus(GrpcCode.CANCELLED, 'cancelled by the client');
  }
}

function ignore(): void {}

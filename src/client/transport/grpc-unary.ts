/**
 * One unary call over grpc-js.
 *
 * The object is its own listener: a call is made thousands of times a second, and a closure
 * for each of grpc-js's callbacks is a tenth of what the call costs.
 *
 * @module
 */

import type { Metadata, StatusObject } from '@grpc/grpc-js';
import { GrpcCode } from '../../protocol/status.ts';
import type { MessageCodec } from '../../protocol/wire.ts';
import { onAbort } from '../../support/signals.ts';
import { callFailure } from './grpc-failures.ts';
import type { RawCall } from './grpc-stream.ts';
import { TransportError } from './transport.ts';

const NO_MESSAGE_CONTEXT = {};

/** A call from its start to its status. It is in `running` for as long as it runs. */
export class UnaryCall<O> {
  readonly #call: RawCall;
  readonly #codec: MessageCodec<O>;
  readonly #running: Set<RawCall>;
  readonly #resolve: (answer: O) => void;
  readonly #reject: (error: TransportError) => void;
  #begun = false;
  #answer: O | undefined;
  #malformed: unknown;
  #offAbort: (() => void) | undefined;

  constructor(
    call: RawCall,
    codec: MessageCodec<O>,
    running: Set<RawCall>,
    resolve: (answer: O) => void,
    reject: (error: TransportError) => void,
  ) {
    this.#call = call;
    this.#codec = codec;
    this.#running = running;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  start(metadata: Metadata, request: Buffer, signal: AbortSignal | undefined): void {
    const call = this.#call;
    this.#running.add(call);
    call.start(metadata, this);
    call.sendMessageWithContext(NO_MESSAGE_CONTEXT, request);
    call.halfClose();
    call.startRead();
    if (signal === undefined) return;
    this.#offAbort = onAbort(signal, () => call.cancelWithStatus(GrpcCode.CANCELLED, 'aborted by the caller'));
  }

  onReceiveMetadata(): void {
    this.#begun = true;
  }

  onReceiveMessage(message: Buffer): void {
    try {
      this.#answer = this.#codec.decode(message);
    } catch (error) {
      this.#malformed = error;
    }
    this.#call.startRead(); // the status comes only when somebody asks for what follows the message
  }

  onReceiveStatus(status: StatusObject): void {
    this.#running.delete(this.#call);
    this.#offAbort?.();
    if (status.code === GrpcCode.OK && this.#answer !== undefined) this.#resolve(this.#answer);
    else this.#reject(new TransportError(callFailure(status, this.#begun, this.#malformed)));
  }
}

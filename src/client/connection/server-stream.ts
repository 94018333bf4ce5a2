/**
 * The messages of a server stream, one at a time.
 *
 * @module
 */

import type { Init, MethodDescriptor } from '../../protocol/wire.ts';
import { type Deferred, deferred, onAbort } from '../../support/signals.ts';
import type { CallOptions } from '../call-options.ts';
import type { CallFailure } from '../transport/transport.ts';
import type { Caller, CallTraits, OpenStream } from './caller.ts';
import { abortError, toEtcdError } from './failures.ts';

/**
 * Sends one request and yields what the server answers. The next message is asked for when
 * the reader comes for it, so a slow reader slows the server. `timeoutMs` bounds the
 * opening alone; the signal ends the stream at any time, and so does leaving the loop.
 *
 * @throws EtcdError when the stream breaks; messages that came before were delivered.
 */
export async function* streamMessages<I, O>(
  caller: Caller,
  method: MethodDescriptor<I, O>,
  request: Init<I>,
  traits: CallTraits,
  options: CallOptions,
): AsyncGenerator<O, void, void> {
  const trace = caller.telemetry.begin(method.path);
  // One message at most is under way: one is asked for at a time.
  let next: Deferred<O | undefined> = deferred();
  let ended = false;
  let failure: CallFailure | undefined;
  let stream: OpenStream<I> | undefined;
  let offAbort: (() => void) | undefined;
  try {
    const handlers = {
      onMessage: (message: O) => next.resolve(message),
      onClose: (reason: CallFailure | undefined) => {
        ended = true;
        failure = reason;
        next.resolve(undefined);
      },
    };
    const opened = await caller.open(method, traits, { ...options, trace }, handlers);
    stream = opened;
    offAbort = onAbort(options.signal, () => opened.cancel());
    opened.send(request);
    opened.halfClose();
    for (;;) {
      opened.pull();
      const message = await next.promise;
      // A stream may go on for ever: as a call it ends with its first answer.
      if (message !== undefined) trace?.succeeded(request as object, message as object);
      if (message !== undefined) yield message;
      if (ended) break;
      next = deferred();
    }
    if (options.signal?.aborted) throw abortError(options.signal, { endpoint: opened.member.name });
    if (failure !== undefined) throw toEtcdError(failure, { endpoint: opened.member.name, attempts: 1 });
  } catch (error) {
    trace?.failed(request as object, error);
    throw error;
  } finally {
    trace?.succeeded(request as object, {});
    offAbort?.();
    if (!ended) stream?.cancel();
  }
}

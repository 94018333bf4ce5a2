/**
 * The messages of a server stream, one at a time.
 *
 * @module
 */

import type { Init, MethodDescriptor } from '../../protocol/wire.ts';
import { type Deferred, deferred, onAbort } from '../../support/signals.ts';
import type { CallOptions } from '../call-options.ts';
import type { CallFailure } from '../transport/transport.ts';
import type { Caller, CallTraits } from './caller.ts';
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
  // One message at most is under way: one is asked for at a time.
  let next: Deferred<O | undefined> = deferred();
  let ended = false;
  let failure: CallFailure | undefined;
  const stream = await caller.open(method, traits, options, {
    onMessage: (message) => next.resolve(message),
    onClose: (reason) => {
      ended = true;
      failure = reason;
      next.resolve(undefined);
    },
  });
  const offAbort = onAbort(options.signal, () => stream.cancel());
  try {
    stream.send(request);
    stream.halfClose();
    for (;;) {
      stream.pull();
      const message = await next.promise;
      if (message !== undefined) yield message;
      if (ended) break;
      next = deferred();
    }
    if (options.signal?.aborted) throw abortError(options.signal, { endpoint: stream.member.name });
    if (failure !== undefined) throw toEtcdError(failure, { endpoint: stream.member.name, attempts: 1 });
  } finally {
    offAbort();
    if (!ended) stream.cancel();
  }
}

/**
 * One call, as its service sees it. A signal is made only for who asks for one: most calls have no use for it, and it
 * costs more than many of them.
 */
import type { CallMetadata, ServerCall } from '../../../src/server/rpc/call.ts';
import type { Cancellation } from '../../../src/support/signals.ts';

const NO_METADATA: CallMetadata = { get: () => undefined };

export class SimCall implements ServerCall {
  readonly path: string;
  readonly metadata = NO_METADATA;
  readonly commonName = undefined;
  readonly via = 'grpc';
  readonly cancellation: Cancellation;
  readonly #callbacks = new Set<() => void>();
  #controller: AbortController | undefined;
  #canceled = false;

  constructor(path: string) {
    this.path = path;
    const canceled = (): boolean => this.#canceled;
    this.cancellation = {
      get aborted() {
        return canceled();
      },
      onAbort: (callback) => {
        this.#callbacks.add(callback);
        return () => this.#callbacks.delete(callback);
      },
    };
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#canceled) this.#controller.abort();
    return this.#controller.signal;
  }

  /** The client goes away. */
  cancel(): void {
    if (this.#canceled) return;
    this.#canceled = true;
    const callbacks = [...this.#callbacks];
    this.#callbacks.clear();
    for (const callback of callbacks) callback();
    this.#controller?.abort();
  }
}

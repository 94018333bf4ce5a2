/**
 * Handlers of the older kind, as `fetch` has them, in terms of the newer one.
 *
 * undici 7 knows two interfaces of handlers: `onConnect`, `onHeaders`, … of undici 6, which the `fetch` of Node.js 20 and
 * 22 and undici's own use, and `onRequestStart`, `onResponseStart`, … Everything else here is written for the newer one.
 * Raw headers are passed on as they came: several `Set-Cookie` would become one otherwise.
 *
 * @module
 */

import type { Dispatcher } from 'undici';

type Handler = Dispatcher.DispatchHandler;
type Controller = Dispatcher.DispatchController;
type RawHeaders = Buffer[];

/** The handler itself, or a translation of it. */
export function asModern(handler: Handler): Handler {
  return handler.onRequestStart === undefined ? new LegacyHandler(handler) : handler;
}

class LegacyHandler implements Handler {
  readonly #handler: Handler;

  constructor(handler: Handler) {
    this.#handler = handler;
  }

  onRequestStart(controller: Controller): void {
    this.#handler.onConnect?.((reason) => controller.abort(reason as Error));
  }

  onRequestUpgrade(controller: Controller, statusCode: number, _headers: unknown, socket: Socket): void {
    this.#handler.onUpgrade?.(statusCode, (controller.rawHeaders ?? []) as RawHeaders, socket);
  }

  onResponseStart(controller: Controller, statusCode: number, _headers: unknown, statusMessage = ''): void {
    const raw = (controller.rawHeaders ?? []) as RawHeaders;
    const goOn = this.#handler.onHeaders?.(statusCode, raw, () => controller.resume(), statusMessage);
    if (goOn === false) controller.pause();
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.#handler.onData?.(chunk) === false) controller.pause();
  }

  onResponseEnd(controller: Controller): void {
    this.#handler.onComplete?.((controller.rawTrailers ?? []) as string[]);
  }

  onResponseError(_controller: Controller, error: Error): void {
    this.#handler.onError?.(error);
  }
}

type Socket = Parameters<NonNullable<Handler['onUpgrade']>>[2];

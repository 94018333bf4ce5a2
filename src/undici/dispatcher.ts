/**
 * A dispatcher of undici that knows services by name.
 *
 * It lives as long as the program, or until it is closed: services are discovered with the first request to them and
 * followed from then on. Closing waits for the requests that are under way, as with every dispatcher of undici.
 *
 * @module
 */

import { Agent, Dispatcher, errors } from 'undici';
import { asModern } from './legacy-handler.ts';
import { type RequestSettings, ServiceRequest } from './request.ts';
import { RetryBudget } from './retry.ts';
import type { Route, Routes } from './routing.ts';
import type { Services } from './services.ts';

/** What a dispatcher is made of. */
export interface DispatcherParts {
  readonly services: Services;
  readonly routes: Routes;
  readonly request: Omit<RequestSettings, 'dispatch'>;
  /** Does the sending. Its maker closes it; without one there is an own one. */
  readonly inner: Dispatcher | undefined;
}

/** Sends requests for `http://orders/…` to an instance of `orders`, and all others where they say. */
export class ServiceDispatcher extends Dispatcher implements AsyncDisposable {
  readonly #parts: DispatcherParts;
  readonly #settings: RequestSettings;
  readonly #inner: Dispatcher;
  readonly #budgets = new Map<string, RetryBudget>();
  readonly #requests = new Set<ServiceRequest>();
  #onIdle: (() => void)[] = [];
  #state: 'open' | 'closed' | 'destroyed' = 'open';

  /** @internal */
  constructor(parts: DispatcherParts) {
    super();
    this.#parts = parts;
    this.#inner = parts.inner ?? new Agent();
    this.#settings = { ...parts.request, dispatch: (options, handler) => void this.#inner.dispatch(options, handler) };
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const route = this.#state === 'open' ? this.#parts.routes.of(options.origin) : undefined;
    if (route !== undefined) this.#toService(route, options, asModern(handler));
    else if (this.#state === 'open') return this.#inner.dispatch(options, handler);
    else refuse(handler, this.#state === 'closed' ? new errors.ClientClosedError() : new errors.ClientDestroyedError());
    return true;
  }

  /** Takes no new requests, waits for those under way, then closes connections and discoveries. */
  override close(): Promise<void>;
  override close(callback: () => void): void;
  override close(callback?: () => void): Promise<void> | void {
    return promised(this.#close(), callback);
  }

  /** Ends the requests under way with the error, then closes connections and discoveries. */
  override destroy(): Promise<void>;
  override destroy(error: Error | null): Promise<void>;
  override destroy(callback: () => void): void;
  override destroy(error: Error | null, callback: () => void): void;
  override destroy(error?: Error | null | (() => void), callback?: () => void): Promise<void> | void {
    if (typeof error === 'function') return promised(this.#destroy(null), error);
    return promised(this.#destroy(error ?? null), callback);
  }

  /** Closes it; see `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#close();
  }

  async #close(): Promise<void> {
    if (this.#state === 'open') this.#state = 'closed';
    if (this.#requests.size > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
    if (this.#parts.inner === undefined && this.#state !== 'destroyed') await this.#inner.close();
    await this.#parts.services.close();
  }

  async #destroy(error: Error | null): Promise<void> {
    this.#state = 'destroyed';
    for (const request of [...this.#requests]) request.abort(error ?? new errors.ClientDestroyedError());
    if (this.#parts.inner === undefined) await this.#inner.destroy(error);
    await this.#parts.services.close();
  }

  #toService(route: Route, options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    const onEnd = (): void => {
      this.#requests.delete(request);
      if (this.#requests.size === 0) for (const resolve of this.#onIdle.splice(0)) resolve();
    };
    const request: ServiceRequest = new ServiceRequest(
      this.#settings,
      { route, budget: this.#budgetOf(route.service) },
      options,
      handler,
      // The handler may abort while the request is made.
      () => queueMicrotask(onEnd),
    );
    this.#requests.add(request);
    // In the same turn when it can be: requests keep their order.
    const service = this.#parts.services.known(route.service);
    if (service !== undefined) request.send(service);
    else void this.#sendWhenListed(route.service, request);
  }

  async #sendWhenListed(name: string, request: ServiceRequest): Promise<void> {
    try {
      request.send(await this.#parts.services.listed(name));
    } catch (error) {
      request.fail(error as Error);
    }
  }

  #budgetOf(name: string): RetryBudget {
    const known = this.#budgets.get(name) ?? new RetryBudget(this.#parts.request.retry);
    this.#budgets.set(name, known);
    return known;
  }
}

function refuse(handler: Dispatcher.DispatchHandler, error: Error): void {
  const modern = asModern(handler);
  const controller = { aborted: true, paused: false, reason: error, abort() {}, pause() {}, resume() {} };
  modern.onResponseError?.(controller, error);
}

/** As undici has it: a promise, or a callback. */
function promised(work: Promise<void>, callback: (() => void) | undefined): Promise<void> | void {
  if (callback === undefined) return work;
  work.then(callback, callback);
}

/**
 * One request to a service: picks an instance, sends it there, and elsewhere again where that is safe (`retry.ts`).
 *
 * The caller's handler sees one request, whatever happens: started once, one answer or one error. What it does with its
 * controller (abort, pause, resume) goes to the attempt that is under way. An abort ends the request at once, also while
 * an instance is looked for or connected to.
 *
 * @module
 */

import { type Dispatcher, errors } from 'undici';
import type { DiscoveredService, Picked } from '../../recipes/services/discovered.ts';
import { authorityOf } from '../../recipes/services/instance.ts';
import { Attempt, type AttemptOwner } from './attempt.ts';
import { type RepeatableBody, repeatable } from './body.ts';
import { isOwnFault, isTimeout, MAX_CONNECTS, type RetryBudget, type RetrySettings } from './retry.ts';
import { headerOf, portOf, type Route, withHost } from './routing.ts';

type Handler = Dispatcher.DispatchHandler;
type Controller = Dispatcher.DispatchController;
type Options = Dispatcher.DispatchOptions;
type Headers = Parameters<NonNullable<Handler['onResponseStart']>>[2];
type Socket = Parameters<NonNullable<Handler['onRequestUpgrade']>>[3];

/** What requests of one dispatcher have in common. */
export interface RequestSettings {
  readonly dispatch: (options: Options, handler: Handler) => void;
  readonly retry: RetrySettings;
  readonly portName: string | undefined;
  /** In lower case. */
  readonly hashHeader: string | undefined;
  readonly hostHeader: 'service' | 'instance';
  readonly isFailure: (statusCode: number) => boolean;
}

export class ServiceRequest implements AttemptOwner, Controller {
  readonly #settings: RequestSettings;
  readonly #route: Route;
  readonly #budget: RetryBudget;
  readonly #options: Options;
  readonly #handler: Handler;
  readonly #body: RepeatableBody;
  readonly #onEnd: () => void;
  /** Ids of the instances that it was sent to, or could not be. */
  readonly #tried = new Set<string>();
  #service: DiscoveredService<unknown> | undefined;
  #attempt: Attempt | undefined;
  /** The attempt's, once it is being written. */
  #controller: Controller | undefined;
  #repeats = 0;
  #connects = 0;
  #ended = false;
  #paused = false;
  #reason: Error | null = null;

  /** @param onEnd called once, when the request is over for its handler. */
  constructor(
    settings: RequestSettings,
    target: { readonly route: Route; readonly budget: RetryBudget },
    options: Options,
    handler: Handler,
    onEnd: () => void,
  ) {
    this.#settings = settings;
    this.#route = target.route;
    this.#budget = target.budget;
    this.#options = options;
    this.#handler = handler;
    this.#onEnd = onEnd;
    this.#body = repeatable(options.body);
    this.#handler.onRequestStart?.(this, {});
  }

  /** The service has a list: the request can go. */
  send(service: DiscoveredService<unknown>): void {
    if (this.#ended) return;
    this.#service = service;
    try {
      this.#try(this.#pick(service));
    } catch (error) {
      this.fail(error as Error);
    }
  }

  /** The request has failed for good. */
  fail(error: Error): void {
    if (this.#end()) this.#handler.onResponseError?.(this, error);
  }

  get aborted(): boolean {
    return this.#reason !== null;
  }

  get paused(): boolean {
    return this.#paused;
  }

  get reason(): Error | null {
    return this.#reason;
  }

  get rawHeaders(): NonNullable<Controller['rawHeaders']> | null {
    return this.#controller?.rawHeaders ?? null;
  }

  get rawTrailers(): NonNullable<Controller['rawTrailers']> | null {
    return this.#controller?.rawTrailers ?? null;
  }

  abort(reason?: Error): void {
    if (this.#ended) return;
    this.#reason = reason ?? new errors.RequestAbortedError();
    const controller = this.#controller;
    this.#attempt?.picked.done('cancelled');
    // Before undici is told, which may report the abort at once.
    this.fail(this.#reason);
    controller?.abort(this.#reason);
  }

  pause(): void {
    this.#paused = true;
    this.#controller?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#controller?.resume();
  }

  started(attempt: Attempt, controller: Controller): void {
    if (this.#ended || attempt !== this.#attempt) controller.abort(this.#reason ?? new errors.RequestAbortedError());
    else this.#controller = controller;
  }

  answered(attempt: Attempt, statusCode: number, headers: Headers, statusMessage: string | undefined): boolean {
    if (this.#ended) return false;
    if (statusCode >= 200 && this.#settings.retry.statusCodes.has(statusCode)) {
      this.#budget.failed();
      const other = this.#mayRepeat() ? this.#pickAnother(false) : undefined;
      if (other !== undefined) {
        attempt.picked.done('failure');
        // Not from within undici's own parsing: the next attempt is a request of its own.
        queueMicrotask(() => this.#repeat(other));
        this.#controller = undefined;
        return false;
      }
    } else if (statusCode >= 200) {
      this.#budget.succeeded();
    }
    this.#handler.onResponseStart?.(this, statusCode, headers, statusMessage);
    return true;
  }

  data(chunk: Buffer): void {
    if (!this.#ended) this.#handler.onResponseData?.(this, chunk);
  }

  upgraded(statusCode: number, headers: Headers, socket: Socket): void {
    if (!this.#ended) this.#handler.onRequestUpgrade?.(this, statusCode, headers, socket);
    this.#end();
  }

  ended(attempt: Attempt, trailers: Headers): void {
    attempt.picked.done(this.#settings.isFailure(attempt.statusCode) ? 'failure' : 'success');
    if (this.#end()) this.#handler.onResponseEnd?.(this, trailers);
  }

  failed(attempt: Attempt, error: Error): void {
    attempt.picked.done(this.#ended || isOwnFault(error) ? 'cancelled' : 'failure');
    if (this.#ended) return;
    const other = attempt.hasAnswered ? undefined : this.#another(attempt, error);
    this.#controller = undefined;
    if (other === undefined) this.fail(error);
    else queueMicrotask(() => this.#repeat(other));
  }

  /** Where to send it next after a failure without an answer. */
  #another(attempt: Attempt, error: Error): Picked<unknown> | undefined {
    if (isOwnFault(error)) return undefined;
    if (!attempt.hasLeft) {
      this.#connects += 1;
      return this.#connects <= MAX_CONNECTS && this.#body.isWhole() ? this.#pickAnother(false) : undefined;
    }
    this.#budget.failed();
    if (isTimeout(error) || !this.#mayRepeat()) return undefined;
    // The same one will do when there is no other: a kept connection may break without any fault of the instance.
    return this.#pickAnother(true);
  }

  #mayRepeat(): boolean {
    const { method, idempotent, upgrade } = this.#options;
    const { retry } = this.#settings;
    if (!(idempotent ?? retry.methods.has(method)) || upgrade || method === 'CONNECT') return false;
    if (this.#repeats >= retry.retries || !this.#budget.allows || !this.#body.isWhole()) return false;
    return true;
  }

  /** An instance that was not tried; if there is none and `orSame`, one that was. */
  #pickAnother(orSame: boolean): Picked<unknown> | undefined {
    const service = this.#service;
    if (service === undefined) return undefined;
    let picked: Picked<unknown>;
    try {
      picked = this.#pick(service);
    } catch {
      // There is none any more: the failure that was had already says more.
      return undefined;
    }
    if (orSame || !this.#tried.has(picked.instance.id)) return picked;
    picked.done('cancelled');
    return undefined;
  }

  #pick(service: DiscoveredService<unknown>): Picked<unknown> {
    const { hashHeader } = this.#settings;
    const hashKey = hashHeader === undefined ? undefined : headerOf(this.#options.headers, hashHeader);
    return service.pick({ avoid: this.#tried, hashKey });
  }

  #repeat(picked: Picked<unknown>): void {
    if (this.#attempt?.hasLeft) this.#repeats += 1;
    if (this.#ended) picked.done('cancelled');
    else this.#try(picked);
  }

  #try(picked: Picked<unknown>): void {
    this.#tried.add(picked.instance.id);
    const attempt = new Attempt(this, picked);
    this.#attempt = attempt;
    const { headers, ...rest } = this.#options;
    const { hostHeader, dispatch, portName } = this.#settings;
    const { address } = picked.instance;
    const port = portOf(picked.instance, portName);
    const options = {
      ...rest,
      origin: `${this.#route.protocol}//${authorityOf({ address, port })}`,
      body: this.#body.body ?? null,
      headers: hostHeader === 'service' ? withHost(headers, this.#route.host) : (headers ?? null),
    } as Options;
    try {
      dispatch(options, attempt);
    } catch (error) {
      this.failed(attempt, error as Error);
    }
  }

  /** @returns whether it had not ended before. */
  #end(): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    this.#onEnd();
    return true;
  }
}

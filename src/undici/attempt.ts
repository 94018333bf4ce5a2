/**
 * One attempt of a request: what undici tells of it, and what the picked instance is told.
 *
 * undici says `onRequestStart` when the request is about to be written to a connection that stands. An attempt that fails
 * before that has never left.
 *
 * An instance is reported once: when the answer has ended, when there will be none, or when the answer is given up for
 * another instance's.
 *
 * @module
 */

import { type Dispatcher, errors } from 'undici';
import type { Picked } from '../../recipes/services/discovered.ts';

type Handler = Dispatcher.DispatchHandler;
type Controller = Dispatcher.DispatchController;
type Headers = Parameters<NonNullable<Handler['onResponseStart']>>[2];
type Socket = Parameters<NonNullable<Handler['onRequestUpgrade']>>[3];

/** The request that an attempt belongs to. */
export interface AttemptOwner {
  /** The request is being written. */
  started(attempt: Attempt, controller: Controller): void;
  /** The status line of an answer, informational ones too. @returns whether this is the answer; if not, it is given up. */
  answered(attempt: Attempt, statusCode: number, headers: Headers, statusMessage: string | undefined): boolean;
  data(chunk: Buffer): void;
  upgraded(statusCode: number, headers: Headers, socket: Socket): void;
  ended(attempt: Attempt, trailers: Headers): void;
  failed(attempt: Attempt, error: Error): void;
}

/** How much of an answer that is given up is read so that its connection can be used again, in bytes. */
const MAX_DISCARDED_BYTES = 64 * 1024;

export class Attempt implements Handler {
  readonly picked: Picked<unknown>;
  readonly #owner: AttemptOwner;
  #state: 'waiting' | 'sent' | 'answered' | 'given-up' = 'waiting';
  #discarded = 0;
  /** The status of its answer; 0 while there is none. */
  statusCode = 0;

  constructor(owner: AttemptOwner, picked: Picked<unknown>) {
    this.#owner = owner;
    this.picked = picked;
  }

  /** Whether the request may have reached the instance. */
  get hasLeft(): boolean {
    return this.#state !== 'waiting';
  }

  get hasAnswered(): boolean {
    return this.#state === 'answered';
  }

  onRequestStart(controller: Controller): void {
    this.#state = 'sent';
    this.#owner.started(this, controller);
  }

  onRequestUpgrade(_controller: Controller, statusCode: number, headers: Headers, socket: Socket): void {
    this.#state = 'answered';
    this.picked.done('success');
    this.#owner.upgraded(statusCode, headers, socket);
  }

  onResponseStart(_controller: Controller, statusCode: number, headers: Headers, statusMessage?: string): void {
    if (statusCode >= 200) {
      this.#state = 'answered';
      this.statusCode = statusCode;
    }
    if (!this.#owner.answered(this, statusCode, headers, statusMessage)) this.#state = 'given-up';
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.#state === 'answered') {
      this.#owner.data(chunk);
      return;
    }
    this.#discarded += chunk.length;
    if (this.#discarded > MAX_DISCARDED_BYTES) controller.abort(new errors.RequestAbortedError());
  }

  onResponseEnd(_controller: Controller, trailers: Headers): void {
    if (this.#state === 'answered') this.#owner.ended(this, trailers);
  }

  onResponseError(_controller: Controller, error: Error): void {
    if (this.#state !== 'given-up') this.#owner.failed(this, error);
  }
}

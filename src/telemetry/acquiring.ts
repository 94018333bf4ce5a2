/**
 * Something is asked for and got, or not: a lock, permits, a leadership.
 *
 * A span for the asking, a child of it for each wait, and another span for as long as it is
 * held. That one stands beside the asking and not below it, since it goes on when the asking
 * is over; a link leads back. The hold ends when what is held fires its signal, so no recipe
 * has to tell, and whatever ends it is told.
 *
 * @module
 */

import { type Context, context, type Span } from '@opentelemetry/api';
import type { Revision } from '../protocol/int64.ts';
import { contextOf, errorType, inSpan, isRecording, linkTo, markFailed } from './api.ts';
import { publish, recipesAreHeard } from './channels.ts';
import type { Instruments } from './metrics.ts';
import { atWork, begin, metersOf, notAtWork, type RecipeClient, type RecipeName, recipeAtWork } from './recipe.ts';
import { ETCD } from './semconv.ts';

/** Something that can be held. */
export interface Holdable {
  readonly token: Revision;
  /** Fires when it is held no more; its reason says why. */
  readonly signal: AbortSignal;
}

/** An asking under way, as the recipe sees it. */
export interface Asking {
  /** So many are ahead, as far as the look on arrival shows. */
  position(ahead: number): void;
}

const SILENT: Asking = { position: () => {} };

/** The context in which what somebody holds is worked with. */
const holds = new WeakMap<object, Context>();

/**
 * Asks for something. `work` resolves with what is held, or with undefined when the asking
 * was refused without an error.
 */
export async function acquiring<T extends Holdable | undefined>(
  client: RecipeClient,
  which: RecipeName,
  work: (asking: Asking) => Promise<T>,
): Promise<T> {
  const meters = metersOf(client);
  const span = begin(client, which, which.verb ?? 'acquire');
  if (span === undefined && meters === undefined && !recipesAreHeard()) return work(SILENT);
  return new Acquisition(client, which, span, meters).run(work);
}

/** One asking, with everything that listens. */
class Acquisition implements Asking {
  readonly #client: RecipeClient;
  readonly #which: RecipeName;
  readonly #span: Span | undefined;
  readonly #meters: Instruments | undefined;
  readonly #recipe: string;
  readonly #startedAt: number;
  readonly #outer: Context;

  constructor(client: RecipeClient, which: RecipeName, span: Span | undefined, meters: Instruments | undefined) {
    this.#client = client;
    this.#which = which;
    this.#span = span;
    this.#meters = meters;
    this.#recipe = which.recipe.toLowerCase();
    this.#startedAt = client.clock.now();
    this.#outer = context.active();
  }

  position(ahead: number): void {
    if (this.#span !== undefined && isRecording(this.#span)) this.#span.setAttribute(ETCD.position, ahead);
    if (ahead > 0) publish('etcdkit:recipe:waiting', () => ({ recipe: this.#recipe, name: this.#which.name }));
  }

  async run<T extends Holdable | undefined>(work: (asking: Asking) => Promise<T>): Promise<T> {
    const inside = this.#span === undefined ? this.#outer : contextOf(this.#span, this.#outer);
    try {
      const held = await context.with(atWork(this.#which, inside), () => work(this));
      if (held === undefined) this.#refused();
      else this.#got(held);
      return held;
    } catch (error) {
      this.#failed(error);
      throw error;
    } finally {
      this.#span?.end();
    }
  }

  #got(held: Holdable): void {
    const waitedMs = this.#end('acquired');
    const { token } = held;
    if (this.#span !== undefined && isRecording(this.#span)) this.#span.setAttribute(ETCD.token, Number(token));
    publish('etcdkit:recipe:acquired', () => ({ recipe: this.#recipe, name: this.#which.name, token, waitedMs }));
    this.#hold(held);
  }

  #refused(): void {
    const waitedMs = this.#end('refused');
    publish('etcdkit:recipe:failed', () => ({
      recipe: this.#recipe,
      name: this.#which.name,
      code: 'refused',
      waitedMs,
    }));
  }

  #failed(error: unknown): void {
    const code = errorType(error);
    const waitedMs = this.#end(code);
    if (this.#span !== undefined && isRecording(this.#span)) markFailed(this.#span, code);
    publish('etcdkit:recipe:failed', () => ({ recipe: this.#recipe, name: this.#which.name, code, waitedMs }));
  }

  /** The asking is over. Returns how long it took. */
  #end(outcome: string): number {
    const waitedMs = this.#client.clock.now() - this.#startedAt;
    this.#meters?.wait.record(waitedMs / 1000, { [ETCD.recipe]: this.#recipe, [ETCD.outcome]: outcome });
    if (this.#span !== undefined && isRecording(this.#span)) this.#span.setAttribute(ETCD.outcome, outcome);
    return waitedMs;
  }

  /** Follows what is held to its end. */
  #hold(held: Holdable): void {
    const { token, signal } = held;
    const since = this.#client.clock.now();
    const links = this.#span === undefined ? [] : [linkTo(this.#span.spanContext())];
    // Beside the asking and not below it: its parent is what was active when it was asked for.
    const span = context.with(this.#outer, () =>
      begin(this.#client, this.#which, this.#which.holding ?? 'hold', links),
    );
    if (span !== undefined) {
      if (isRecording(span)) span.setAttribute(ETCD.token, Number(token));
      holds.set(held, contextOf(span, this.#outer));
    }
    this.#countElection('won');
    const ended = (): void => {
      const reason = endOf(signal.reason);
      const heldMs = this.#client.clock.now() - since;
      this.#meters?.hold.record(heldMs / 1000, { [ETCD.recipe]: this.#recipe, [ETCD.outcome]: reason });
      this.#countElection(reason);
      if (span !== undefined && isRecording(span)) {
        span.setAttribute(ETCD.outcome, reason);
        if (reason !== 'released') markFailed(span, 'lost');
      }
      span?.end();
      publish('etcdkit:recipe:ended', () => ({
        recipe: this.#recipe,
        name: this.#which.name,
        token,
        reason,
        heldMs,
      }));
    };
    if (signal.aborted) ended();
    else signal.addEventListener('abort', ended, { once: true });
  }

  #countElection(outcome: string): void {
    if (this.#recipe === 'election') this.#meters?.elections.add(1, { [ETCD.outcome]: outcome });
  }
}

/** Why a hold has ended, in one word. */
function endOf(error: unknown): string {
  const { reason } = (error ?? {}) as { readonly reason?: unknown };
  return typeof reason === 'string' ? reason : errorType(error);
}

/** Does some work as a part of what is held, so that its spans hang below the hold's. */
export function whileHeld<T>(held: object, work: () => T): T {
  const inside = holds.get(held);
  return inside === undefined ? work() : context.with(inside, work);
}

/** A wait of the recipe that is at work: a span below the one for its asking. Waits within it are parts of it. */
export function whileWaiting<T>(wait: () => Promise<T>): Promise<T> {
  const active = context.active();
  const which = recipeAtWork(active);
  return which === undefined ? wait() : context.with(notAtWork(active), () => inSpan(`${which.recipe}.wait`, {}, wait));
}

/**
 * What recipes do besides asking for something: calls that begin and end, transactions with
 * their attempts, and lives that are told step by step; and what is counted of them.
 *
 * @module
 */

import { type Attributes, context, type Link, type Span } from '@opentelemetry/api';
import { errorType, inSpan, isRecording, isTraced, linkTo, tracer } from './api.ts';
import { type Observed, observe } from './metrics.ts';
import { attributesOf, atWork, metersOf, notAtWork, type RecipeClient, type RecipeName } from './recipe.ts';
import { ETCD } from './semconv.ts';

/** Does something that begins and ends, in a span. What is itself a wait has none below it. */
export function doing<T>(
  client: RecipeClient,
  which: RecipeName & { readonly verb: string },
  work: (span: Span | undefined) => Promise<T>,
): Promise<T> {
  if (!client.telemetry.enabled) return work(undefined);
  const inside = which.verb === 'wait' ? notAtWork(context.active()) : atWork(which, context.active());
  const start = { attributes: attributesOf(client, which) };
  return context.with(inside, () => inSpan(`${which.recipe}.${which.verb}`, start, work));
}

/** Runs work of the program's own that a recipe has begun, in a span: no recipe is at work in it. */
export function handling<T>(
  client: RecipeClient,
  which: RecipeName & { readonly verb: string },
  work: () => Promise<T>,
): Promise<T> {
  if (!client.telemetry.enabled) return work();
  const start = { attributes: attributesOf(client, which) };
  return context.with(notAtWork(context.active()), () => inSpan(`${which.recipe}.${which.verb}`, start, work));
}

/** Something that lives as long as its program, told step by step. */
export class Life {
  readonly #client: RecipeClient;
  readonly #which: RecipeName;
  #first: Link | undefined;

  constructor(client: RecipeClient, which: RecipeName) {
    this.#client = client;
    this.#which = which;
  }

  /** A step of it: its beginning, a renewal, its end. A span of its own, linked to the first step's. */
  step<T>(verb: string, work: () => Promise<T>): Promise<T> {
    if (!this.#client.telemetry.enabled) return work();
    const start = {
      attributes: attributesOf(this.#client, this.#which),
      links: this.#first === undefined ? undefined : [this.#first],
    };
    return inSpan(`${this.#which.recipe}.${verb}`, start, (span) => {
      if (isTraced(span)) this.#first ??= linkTo(span.spanContext());
      return work();
    });
  }

  /** Something has happened to it that takes no time: it was lost, it came back. */
  event(verb: string, attributes: Attributes = {}): void {
    if (!this.#client.telemetry.enabled) return;
    const own = { ...attributesOf(this.#client, this.#which), ...attributes };
    const links = this.#first === undefined ? [] : [this.#first];
    tracer.startSpan(`${this.#which.recipe}.${verb}`, { attributes: own, links, root: true }).end();
  }
}

/**
 * Runs a transaction that may take several attempts: a span for all of it. `work` tells each
 * attempt with {@link attempting}.
 */
export function transacting<T extends { readonly attempts: number }>(
  client: RecipeClient,
  isolation: string,
  work: () => Promise<T>,
): Promise<T> {
  const which = { recipe: 'Stm', name: '', verb: 'run', attributes: { [ETCD.isolation]: isolation } };
  const count = (attempts: number | undefined, outcome: string): void => {
    if (attempts !== undefined) metersOf(client)?.stmAttempts.record(attempts, { [ETCD.outcome]: outcome });
  };
  return doing(client, which, async (span) => {
    try {
      const done = await work();
      if (span !== undefined && isRecording(span)) span.setAttribute(ETCD.attempts, done.attempts);
      count(done.attempts, 'committed');
      return done;
    } catch (error) {
      count((error as { readonly attempts?: number } | undefined)?.attempts, errorType(error));
      throw error;
    }
  });
}

/** One attempt of a transaction. What is false was refused by the store, and is no failure. */
export function attempting<T extends { readonly committed: boolean }>(
  client: RecipeClient,
  attempt: number,
  work: () => Promise<T>,
): Promise<T> {
  if (!client.telemetry.enabled) return work();
  return inSpan('Stm.attempt', { attributes: { [ETCD.attempt]: attempt } }, async (span) => {
    const done = await work();
    if (isRecording(span)) span.setAttribute(ETCD.outcome, done.committed ? 'committed' : 'conflict');
    return done;
  });
}

/** A queue was counted. */
export function countQueue(client: RecipeClient, { recipe, name }: RecipeName, depth: number): void {
  const labels = client.telemetry.captureKeys === 'none' ? {} : { [ETCD.recipeName]: name };
  metersOf(client)?.queueDepth.record(depth, { [ETCD.recipe]: recipe.toLowerCase(), ...labels });
}

/**
 * Has it reported for how long a registry's reader may have been out of date, in seconds,
 * read whenever metrics are collected. Returns what ends the reports.
 */
export function observeStaleness(client: RecipeClient, name: string, seconds: () => number | undefined): () => void {
  if (!client.telemetry.enabled) return () => {};
  const attributes = client.telemetry.captureKeys === 'none' ? {} : { [ETCD.recipeName]: name };
  const source: Observed = { attributes, registryStalenessSeconds: seconds };
  return observe(source);
}

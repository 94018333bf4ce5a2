/**
 * What the telemetry of all recipes has in common: which recipe it is, and how its spans
 * begin.
 *
 * @module
 */

import { type Attributes, type Context, createContextKey, type Link, type Span } from '@opentelemetry/api';
import { isTraced, type TelemetrySettings, tracer } from './api.ts';
import { type Instruments, instruments } from './metrics.ts';
import { ETCD } from './semconv.ts';

/** What is asked of the client; an `Etcd` is one. */
export interface RecipeClient {
  readonly telemetry: TelemetrySettings;
  readonly clock: { now(): number };
}

/** Which recipe. */
export interface RecipeName {
  /** As spans begin with it: `Mutex`, `Election`. In attributes and messages it is in lower case. */
  readonly recipe: string;
  /** The name that the program has given it. */
  readonly name: string;
  /** What asking for it is called in a span's name. Default `acquire`. */
  readonly verb?: string | undefined;
  /** What having it is called. Default `hold`. */
  readonly holding?: string | undefined;
  readonly attributes?: Attributes | undefined;
}

/** Where the recipe that is at work keeps its name. */
const RECIPE = createContextKey('etcdkit.recipe');

/** The context in which a recipe is at work. */
export function atWork(which: RecipeName, parent: Context): Context {
  return parent.setValue(RECIPE, which);
}

/** The same context with no recipe at work: what happens in it is a part of what is told already. */
export function notAtWork(inside: Context): Context {
  return inside.deleteValue(RECIPE);
}

/** The recipe that is at work. */
export function recipeAtWork(inside: Context): RecipeName | undefined {
  return inside.getValue(RECIPE) as RecipeName | undefined;
}

/** The instruments, if there are any and the client uses them. */
export function metersOf({ telemetry }: RecipeClient): Instruments | undefined {
  return telemetry.enabled ? instruments() : undefined;
}

/** Begins a span of a recipe; undefined when nobody would see it. */
export function begin(client: RecipeClient, which: RecipeName, verb: string, links: Link[] = []): Span | undefined {
  if (!client.telemetry.enabled) return undefined;
  const attributes = attributesOf(client, which);
  const span = tracer.startSpan(`${which.recipe}.${verb}`, { attributes, links });
  return isTraced(span) ? span : undefined;
}

/** What spans say of the recipe. */
export function attributesOf({ telemetry }: RecipeClient, { recipe, name, attributes }: RecipeName): Attributes {
  return {
    [ETCD.recipe]: recipe.toLowerCase(),
    ...(telemetry.captureKeys === 'none' || name === '' ? {} : { [ETCD.recipeName]: name }),
    ...attributes,
  };
}

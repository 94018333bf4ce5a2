/**
 * The kinds of flags there are: how each reads its text, and a value of a config file.
 *
 * A text comes from the command line or the environment, and is read as Go's package `flag` reads it. A value of a
 * config file is what YAML made of it; there, durations are whole nanoseconds, as Go's JSON has them, or text.
 *
 * @module
 */
import { parseDuration } from '../duration.ts';
import { parseUrls, type ServerUrl } from '../urls.ts';

/**
 * What giving a flag does here.
 *
 * - `used`: what etcd does.
 * - `none`: nothing; it is taken so that command lines written for etcd work.
 * - `cluster`: nothing as long as the member is the only one.
 * - `refused`: the server does not start, since running without what it asks for would be no less than wrong.
 */
export type Effect = 'used' | 'none' | 'cluster' | 'refused';

/** One flag. */
export interface Flag<T = unknown> {
  /** Without it. */
  readonly fallback: T;
  /** The value for a text. @throws {@link Error} with Go's words for what is wrong. */
  readonly parse: (text: string) => T;
  /** The value for one of a config file. @throws {@link Error} */
  readonly fromFile: (value: unknown) => T;
  /** May stand without a value, which means `true`. */
  readonly bare: boolean;
  /** The default as the help shows it. */
  readonly shown: string;
  readonly help: string;
  readonly effect: Effect;
  /** What to do in its place; undefined if there is nothing to say. */
  readonly instead: string | undefined;
  /** Other names for it: those that releases of etcd before or after this one have. */
  readonly aliases: readonly string[];
}

/** What is the same for every kind. */
export interface About {
  readonly effect?: Effect | undefined;
  readonly aliases?: readonly string[] | undefined;
  readonly instead?: string | undefined;
  /** Instead of the default's own text. */
  readonly shown?: string | undefined;
}

const FAULT = 'parse error';

function make<T>(
  fallback: T,
  help: string,
  { effect = 'used', aliases = [], instead, shown = String(fallback) }: About,
  reading: Pick<Flag<T>, 'parse' | 'fromFile'> & { bare?: boolean },
): Flag<T> {
  return { bare: false, ...reading, fallback, help, effect, aliases, instead, shown };
}

/** Text, as it is. */
export function text(fallback: string, help: string, about: About = {}): Flag<string> {
  return make(fallback, help, about, { parse: (given) => given, fromFile: scalar });
}

/** Texts with commas between; in a config file a list too. */
export function list(fallback: readonly string[], help: string, about: About = {}): Flag<readonly string[]> {
  const parse = (given: string): string[] => given.split(',').filter((item) => item !== '');
  return make(
    fallback,
    help,
    { shown: fallback.join(','), ...about },
    {
      parse,
      fromFile: (value) => (Array.isArray(value) ? value.map(scalar) : parse(scalar(value))),
    },
  );
}

/** One of some words. */
export function choice<T extends string>(words: readonly T[], fallback: T, help: string, about: About = {}): Flag<T> {
  const parse = (given: string): T => {
    const found = words.find((word) => word === given);
    if (found === undefined) throw new Error(`invalid value "${given}"`);
    return found;
  };
  return make(fallback, help, about, { parse, fromFile: (value) => parse(scalar(value)) });
}

const TRUE = new Set(['1', 't', 'T', 'true', 'TRUE', 'True']);
const FALSE = new Set(['0', 'f', 'F', 'false', 'FALSE', 'False']);

/** Yes or no; the flag alone means yes. */
export function bool(fallback: boolean, help: string, about: About = {}): Flag<boolean> {
  return make(fallback, help, about, {
    bare: true,
    parse(given) {
      if (TRUE.has(given)) return true;
      if (FALSE.has(given)) return false;
      throw new Error(FAULT);
    },
    fromFile(value) {
      if (typeof value === 'boolean') return value;
      throw new Error(`cannot unmarshal ${typeName(value)} into a bool`);
    },
  });
}

const INTEGER = /^[+-]?(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|\d+)$/;

/** A whole number, from `least` on. */
export function int(fallback: number, help: string, about: About & { least?: number | undefined } = {}): Flag<number> {
  const { least = Number.MIN_SAFE_INTEGER } = about;
  const check = (value: number): number => {
    if (!Number.isSafeInteger(value)) throw new Error(FAULT);
    if (value < least) throw new Error(FAULT);
    return value;
  };
  return make(fallback, help, about, {
    parse(given) {
      if (!INTEGER.test(given)) throw new Error(FAULT);
      const magnitude = Number(given.replace(/^[+-]/, ''));
      return check(given.startsWith('-') ? -magnitude : magnitude);
    },
    fromFile(value) {
      if (typeof value === 'number') return check(value);
      throw new Error(`cannot unmarshal ${typeName(value)} into a number`);
    },
  });
}

/** A duration, kept in ms; the default is written as Go writes it. */
export function duration(fallback: string, help: string, about: About = {}): Flag<number> {
  const parse = (given: string): number => {
    const ms = parseDuration(given);
    if (ms === undefined) throw new Error(FAULT);
    return ms;
  };
  return make(
    parse(fallback),
    help,
    { shown: fallback, ...about },
    {
      parse,
      fromFile: (value) => (typeof value === 'number' ? value / 1e6 : parse(scalar(value))),
    },
  );
}

/** URLs with commas between. */
export function urls(fallback: string, help: string, about: About = {}): Flag<readonly ServerUrl[]> {
  return make(
    parseUrls(fallback),
    help,
    { shown: fallback, ...about },
    {
      parse: parseUrls,
      fromFile: (value) => parseUrls(scalar(value)),
    },
  );
}

function scalar(value: unknown): string {
  if (typeof value === 'string') return value;
  // Where Go wants a text, a number in YAML is one that was not quoted.
  if (typeof value === 'number') return String(value);
  throw new Error(`cannot unmarshal ${typeName(value)} into a string`);
}

function typeName(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'a list' : `a ${typeof value}`;
}

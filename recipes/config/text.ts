/**
 * How a configuration is written, and what of it may be seen.
 *
 * What is stored is text that people can read and write with any tool, and what the schema takes; what programs get is
 * what the schema makes of it. Messages of parsers and schemas may quote the text, so they go nowhere: errors tell which
 * places are wrong, never what is there.
 *
 * @module
 */

import {
  InvalidArgumentError,
  type Revision,
  type StandardIssue,
  type StandardResult,
  type StandardSchema,
} from '../../src/index.ts';
import { ConfigError } from './errors.ts';

/** How values become text and back. The package `yaml` has this form: `{ format: YAML }` is all it takes. */
export interface ConfigFormat {
  /** @throws anything for a text that is not in the format. */
  parse(text: string): unknown;
  /** @throws anything for a value that cannot be written. */
  stringify(value: unknown): string;
}

/** JSON, indented so that people can read what they find in the store. */
export const JSON_FORMAT: ConfigFormat = {
  parse: (text) => JSON.parse(text),
  stringify: (value) => JSON.stringify(value, undefined, 2),
};

/** What a configuration is made of, whoever reads or writes it. */
export interface ConfigTextOptions<T, In = T> {
  /** Checks each value before it is used or written: zod or any Standard Schema. Default: anything goes. */
  readonly schema?: StandardSchema<In, T> | undefined;
  /** The format of the text. Default: JSON. */
  readonly format?: ConfigFormat | undefined;
  /**
   * Places that nobody is to see, as paths with dots and `*` for any name or index: `database.password`, `users.*.token`.
   * They are replaced by `***` wherever this package shows a value.
   */
  readonly secrets?: readonly string[] | undefined;
}

/** The text of one configuration. */
export class ConfigText<T, In = T> {
  readonly secrets: readonly string[];
  readonly #schema: StandardSchema<In, T> | undefined;
  readonly #format: ConfigFormat;

  constructor({ schema, format = JSON_FORMAT, secrets = [] }: ConfigTextOptions<T, In>) {
    this.#schema = schema;
    this.#format = format;
    this.secrets = secrets;
  }

  /** What programs get for a text. @throws ConfigError it is wrong. */
  read(key: string, text: string, revision?: Revision): T {
    return this.#fit(key, this.parse(key, text, revision), revision);
  }

  /**
   * The text for a value.
   *
   * @throws ConfigError it does not fit the schema; InvalidArgumentError it cannot be written, or not so that it is read back.
   */
  write(key: string, value: In): string {
    this.#fit(key, value, undefined);
    let text: unknown;
    try {
      text = this.#format.stringify(value);
    } catch {
      throw new InvalidArgumentError(`the value for ${key} cannot be written in its format`);
    }
    if (typeof text !== 'string') throw new InvalidArgumentError(`the value for ${key} has no text in its format`);
    // A value can fit and be lost on the way: a Date in JSON is read as text.
    this.read(key, text);
    return text;
  }

  /** A text as people may see it, without secrets. @throws ConfigError there are some, and it is not in its format. */
  redactedText(key: string, text: string, revision?: Revision, more: readonly string[] = []): string {
    const secrets = [...this.secrets, ...more];
    return secrets.length === 0 ? text : this.#format.stringify(redacted(this.parse(key, text, revision), secrets));
  }

  /** What stands in a text, whether it fits or not. @throws ConfigError it is not in its format. */
  parse(key: string, text: string, revision?: Revision): unknown {
    try {
      return this.#format.parse(text);
    } catch {
      throw new ConfigError('format', key, { revision });
    }
  }

  #fit(key: string, value: unknown, revision: Revision | undefined): T {
    if (this.#schema === undefined) return value as T;
    const result = validate(this.#schema, value);
    if (result === undefined) throw new ConfigError('schema', key, { revision });
    if (result.issues === undefined) return result.value;
    throw new ConfigError('schema', key, { revision, paths: pathsOf(result.issues) });
  }
}

/** Undefined: the schema has thrown, in words that may quote the value. */
function validate<In, T>(schema: StandardSchema<In, T>, value: unknown): StandardResult<T> | undefined {
  let result: StandardResult<T> | Promise<StandardResult<T>>;
  try {
    result = schema['~standard'].validate(value);
  } catch {
    return undefined;
  }
  if (!('then' in result)) return result;
  result.then(undefined, () => {});
  throw new InvalidArgumentError('a schema that validates asynchronously cannot be used here');
}

/** Where the problems are, each place once. */
export function pathsOf(issues: readonly StandardIssue[]): string[] {
  const paths = issues.map(({ path = [] }) => path.map((part) => String(partOf(part))).join('.'));
  return [...new Set(paths)].filter((path) => path !== '').slice(0, 10);
}

function partOf(part: PropertyKey | { readonly key: PropertyKey }): PropertyKey {
  return typeof part === 'object' ? part.key : part;
}

/** What stands in the place of a secret. */
export const REDACTED = '***';

/**
 * A copy of a value with secrets replaced by `***`. What a schema has made into something else than plain objects and
 * arrays is shown as it is, unless it stands at a secret place.
 *
 * @param secrets Paths with dots, `*` for any name or index; the empty one is the whole value.
 */
export function redacted(value: unknown, secrets: readonly string[]): unknown {
  return hide(
    value,
    secrets.map((path) => (path === '' ? [] : path.split('.'))),
  );
}

function hide(value: unknown, paths: readonly (readonly string[])[]): unknown {
  if (paths.some(({ length }) => length === 0)) return REDACTED;
  if (paths.length === 0 || typeof value !== 'object' || value === null) return value;
  const below = (name: string): string[][] =>
    paths.filter(([first]) => first === name || first === '*').map(([, ...rest]) => rest);
  if (Array.isArray(value)) return value.map((item, index) => hide(item, below(String(index))));
  if (Object.getPrototypeOf(value) !== Object.prototype && Object.getPrototypeOf(value) !== null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, hide(item, below(name))]));
}

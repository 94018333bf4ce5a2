/**
 * The last good value of one configuration, whatever comes after it.
 *
 * It is told what the store holds, and decides what the program is to have: the candidate, if there is one and this
 * instance is among its share; else the value; else the default. What is wrong never takes the place of what was good, and
 * it makes no difference how it was found: by an event, or by a list after the history was compacted away.
 *
 * Nothing here waits, and nothing is read twice: the same text is not parsed again, and gives the same object.
 *
 * @module
 */

import type { KeyValue, Revision } from '../../src/index.ts';
import { ConfigError } from './errors.ts';
import { stagedOf, textOf } from './keys.ts';
import { isAmong } from './share.ts';
import type { ConfigText } from './text.ts';

/** Where a value comes from: what is published, a candidate that this instance tries, or the default. */
export type ConfigSource = 'published' | 'staged' | 'default';

/** A value that is in use. */
export interface GoodValue<T> {
  readonly value: T;
  /** The revision that wrote it; 0 for the default. */
  readonly revision: Revision;
  readonly source: ConfigSource;
}

/** What is in the store. */
export interface Stored {
  readonly current: KeyValue<string> | undefined;
  readonly staged: KeyValue<string> | undefined;
}

/** What came of it. */
export interface Taken<T> {
  /** The value before, if there is another one now; `undefined` as `value` when there was none. */
  readonly changed: { readonly previous: T | undefined } | undefined;
  /** What is wrong now and was not, or was otherwise, before. */
  readonly newError: ConfigError | undefined;
}

/** See the head of this file. */
export class LastGood<T> {
  readonly #key: string;
  readonly #text: ConfigText<T, never>;
  readonly #instance: string;
  readonly #fallback: { readonly value: T } | undefined;
  #good: GoodValue<T> | undefined;
  /** The text of the good one; undefined for the default. */
  #goodText: string | undefined;
  #error: ConfigError | undefined;

  constructor(
    key: string,
    text: ConfigText<T, never>,
    options: { readonly instance: string; readonly fallback: { readonly value: T } | undefined },
  ) {
    this.#key = key;
    this.#text = text;
    this.#instance = options.instance;
    this.#fallback = options.fallback;
  }

  /** The value in use; undefined until there is a good one. */
  get good(): GoodValue<T> | undefined {
    return this.#good;
  }

  /** What is wrong with what the store holds now; undefined when it is in use. */
  get error(): ConfigError | undefined {
    return this.#error;
  }

  /** Takes in what the store holds. */
  take({ current, staged }: Stored): Taken<T> {
    const before = this.#good;
    const errors: ConfigError[] = [];
    const candidate = this.#candidate(staged);
    const isTaken =
      (candidate !== undefined && this.#try(candidate.text, candidate.revision, 'staged', errors)) ||
      this.#takePublished(current, errors);
    if (!isTaken && this.#fallback !== undefined && (current === undefined || this.#good === undefined)) {
      this.#good = { value: this.#fallback.value, revision: 0n as Revision, source: 'default' };
      this.#goodText = undefined;
    }
    const [error] = errors;
    const isNew = error !== undefined && !isSame(error, this.#error);
    if (isNew || error === undefined) this.#error = error;
    const isChanged = this.#good !== undefined && (before === undefined || before.value !== this.#good.value);
    return {
      changed: isChanged ? { previous: before?.value } : undefined,
      newError: isNew ? error : undefined,
    };
  }

  #candidate(staged: KeyValue<string> | undefined): { text: string; revision: Revision } | undefined {
    const record = stagedOf(staged);
    if (staged === undefined || record === undefined || !isAmong(record.share, this.#key, this.#instance))
      return undefined;
    return { text: record.value, revision: staged.modRevision };
  }

  #takePublished(current: KeyValue<string> | undefined, errors: ConfigError[]): boolean {
    if (current === undefined) {
      if (this.#fallback === undefined) errors.push(new ConfigError('missing', this.#key));
      return false;
    }
    const text = textOf(current);
    if (text !== undefined) return this.#try(text, current.modRevision, 'published', errors);
    errors.push(new ConfigError('format', this.#key, { revision: current.modRevision }));
    return false;
  }

  #try(text: string, revision: Revision, source: ConfigSource, errors: ConfigError[]): boolean {
    try {
      const known = this.#good !== undefined && this.#goodText === text;
      const value = known ? (this.#good as GoodValue<T>).value : this.#text.read(this.#key, text, revision);
      this.#good = { value, revision, source };
      this.#goodText = text;
      return true;
    } catch (error) {
      // Anything else is a schema that is none. Who publishes is told so; here it is as good as one that does not fit.
      errors.push(error instanceof ConfigError ? error : new ConfigError('schema', this.#key, { revision }));
      return false;
    }
  }
}

function isSame(a: ConfigError, b: ConfigError | undefined): boolean {
  return b !== undefined && a.problem === b.problem && a.revision === b.revision;
}

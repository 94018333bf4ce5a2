/**
 * What can be wrong with a configuration. No error here holds a value: a configuration has passwords in it.
 *
 * @module
 */

import type { Revision } from '../../src/index.ts';
import { RecipeError } from '../errors.ts';

/**
 * What is wrong.
 *
 * - `missing`: there is no such key, and no default.
 * - `format`: the text is no JSON, or whatever it should be.
 * - `schema`: it is, but does not fit the schema.
 */
export type ConfigProblem = 'missing' | 'format' | 'schema';

/** A configuration that cannot be used: it is missing, or wrong. */
export class ConfigError extends RecipeError {
  override readonly name = 'ConfigError';
  readonly problem: ConfigProblem;
  /** The key. */
  readonly key: string;
  /** The revision that wrote the wrong text; undefined for a text that is not in the store. */
  readonly revision: Revision | undefined;
  /** Where it does not fit the schema, as `database.port`; empty for the other problems, and when all of it does not. */
  readonly paths: readonly string[];

  constructor(
    problem: ConfigProblem,
    key: string,
    details: { readonly revision?: Revision | undefined; readonly paths?: readonly string[] | undefined } = {},
  ) {
    const { revision, paths = [] } = details;
    const at = revision === undefined ? '' : ` at revision ${revision}`;
    super('invalid-config', `${key}${at} ${WORDS[problem]}${paths.length === 0 ? '' : `: ${paths.join(', ')}`}`);
    this.problem = problem;
    this.key = key;
    this.revision = revision;
    this.paths = paths;
  }
}

const WORDS: Record<ConfigProblem, string> = {
  missing: 'is not there',
  format: 'cannot be read in its format',
  schema: 'does not fit its schema',
};

/** A change that was refused since something else is there than was expected. Nothing was done, nor will be. */
export class ConfigConflictError extends RecipeError {
  override readonly name = 'ConfigConflictError';
  readonly key: string;
  /** The revision of the value that is there; 0 when there is none. */
  readonly revision: Revision;
  /** The revision of the candidate that is staged; undefined when there is none. */
  readonly stagedRevision: Revision | undefined;

  constructor(key: string, why: string, revision: Revision, stagedRevision: Revision | undefined) {
    super('conflict', `${key} is not changed: ${why}`);
    this.key = key;
    this.revision = revision;
    this.stagedRevision = stagedRevision;
  }
}

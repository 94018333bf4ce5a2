/**
 * What a configuration is, from a module of the user: the default export is its schema, and what else is exported says the
 * rest, so that program, continuous integration and command line share one file.
 *
 * ```js
 * export default z.object({ perSecond: z.number() });
 * export const secrets = ['token'];
 * ```
 *
 * @module
 */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ConfigFormat } from '../../../recipes/config/text.ts';
import type { StandardSchema } from '../../index.ts';
import { UsageError } from '../command.ts';

/** What a module says. */
export interface SchemaFile {
  readonly schema: StandardSchema | undefined;
  readonly secrets: readonly string[];
}

/** Loads a module: it is run. @throws UsageError it can't be, or exports no schema. */
export async function loadSchema(file: string | undefined): Promise<SchemaFile> {
  if (file === undefined) return { schema: undefined, secrets: [] };
  let found: { readonly default?: unknown; readonly secrets?: unknown };
  try {
    found = (await import(pathToFileURL(path.resolve(file)).href)) as typeof found;
  } catch (error) {
    throw new UsageError(`--schema: ${file} cannot be loaded: ${error instanceof Error ? error.message : 'it failed'}`);
  }
  const { default: schema, secrets = [] } = found;
  if (!isSchema(schema)) throw new UsageError(`--schema: the default export of ${file} is no Standard Schema`);
  if (!Array.isArray(secrets) || !secrets.every((secret) => typeof secret === 'string')) {
    throw new UsageError(`--schema: the export "secrets" of ${file} is no list of paths`);
  }
  return { schema, secrets };
}

function isSchema(value: unknown): value is StandardSchema {
  // Those of arktype are functions.
  const isThing = (typeof value === 'object' && value !== null) || typeof value === 'function';
  return isThing && typeof (value as Partial<StandardSchema>)['~standard']?.validate === 'function';
}

/** The format that is named, or that a file's name says; JSON otherwise. @throws UsageError */
export async function formatOf(name: string | undefined, file: string | undefined): Promise<ConfigFormat | undefined> {
  const said = name ?? (file !== undefined && /\.ya?ml$/i.test(file) ? 'yaml' : 'json');
  if (said === 'json') return undefined;
  // Only who needs it loads it.
  if (said === 'yaml') return (await import('yaml')).default;
  throw new UsageError(`--format: json or yaml, not "${said}"`);
}

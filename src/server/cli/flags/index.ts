/**
 * All flags, by name.
 *
 * They are etcd 3.5's, with the names that 3.4 and 3.6 have for the same as aliases. The environment has each under
 * `ETCD_NAME`, a config file under its name.
 *
 * Source: etcd's documentation, "Configuration options", and the help of its servers.
 *
 * @module
 */
import { CLUSTERING } from './clustering.ts';
import type { Flag } from './kinds.ts';
import { MEMBER } from './member.ts';
import { OPERATIONS } from './operations.ts';
import { SECURITY } from './security.ts';

/** Titles of the help, with what stands below. */
export const GROUPS = {
  Member: MEMBER,
  Clustering: CLUSTERING,
  'Security and authentication': SECURITY,
  Operations: OPERATIONS,
} as const;

/** Every flag, by its own name. */
export const FLAGS = { ...MEMBER, ...CLUSTERING, ...SECURITY, ...OPERATIONS } as const;

export type FlagName = keyof typeof FLAGS;

/** The value of each flag. */
export type Values = { readonly [N in FlagName]: (typeof FLAGS)[N]['fallback'] };

const NAMES: ReadonlyMap<string, FlagName> = new Map(
  Object.entries<Flag>(FLAGS).flatMap(([name, { aliases }]) =>
    [name, ...aliases].map((known) => [known, name as FlagName] as const),
  ),
);

/** The flag that has a name, be it an alias. */
export function flagNamed(name: string): FlagName | undefined {
  return NAMES.get(name);
}

/** All names there are, aliases too. */
export function flagNames(): Iterable<[string, FlagName]> {
  return NAMES;
}

/** What was given, and by what: flags that were not given have no entry. */
export class Given {
  readonly #values = new Map<FlagName, unknown>();

  /** Whether it was given at all. */
  has(name: FlagName): boolean {
    return this.#values.has(name);
  }

  get names(): FlagName[] {
    return [...this.#values.keys()];
  }

  /** The last one wins. */
  set<N extends FlagName>(name: N, value: unknown): void {
    this.#values.set(name, value);
  }

  /** All values, with the defaults of those that were not given. */
  values(): Values {
    const all = Object.entries<Flag>(FLAGS).map(([name, { fallback }]) => {
      return [name, this.has(name as FlagName) ? this.#values.get(name as FlagName) : fallback];
    });
    return Object.fromEntries(all) as Values;
  }
}

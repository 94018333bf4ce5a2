/**
 * Settings of the environment: `ETCD_DATA_DIR` is `--data-dir`.
 *
 * One that is empty is none. One that is given by a flag too is an error, since it can't be meant; one that is unknown
 * is worth a warning, and its value is not shown, for it may be a secret that was meant for somebody else.
 *
 * @module
 */
import { SettingsError } from './errors.ts';
import { FLAGS, type FlagName, flagNames, type Given } from './flags/index.ts';
import type { Flag } from './flags/kinds.ts';

/** Variables that etcd and its test frameworks have, and that are no settings. */
const KNOWN = new Set(['ETCD_UNSUPPORTED_ARCH', 'ETCD_VERIFY', 'ETCD_CONFIG_FILE']);

/** The variable of a flag. */
export function variableOf(flag: string): string {
  return `ETCD_${flag.toUpperCase().replaceAll('-', '_')}`;
}

/**
 * Adds what the environment says to what flags have said.
 *
 * @param unknown hears of each `ETCD_…` that is no setting.
 * @throws {@link SettingsError}
 */
export function addEnvironment(
  given: Given,
  environment: Readonly<Record<string, string | undefined>>,
  unknown: (variable: string) => void,
): void {
  const byFlag = new Set<FlagName>(given.names);
  const variables = new Set(KNOWN);
  for (const [name, flag] of flagNames()) {
    const variable = variableOf(name);
    variables.add(variable);
    const text = environment[variable];
    if (text === undefined || text === '') continue;
    if (byFlag.has(flag))
      throw new SettingsError(
        'conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))',
        { 'environment-variable': variable },
      );
    const { parse }: Flag = FLAGS[flag];
    try {
      given.set(flag, parse(text));
    } catch (error) {
      throw new SettingsError(`invalid value "${text}" for ${variable}: ${(error as Error).message}`);
    }
  }
  for (const variable of Object.keys(environment)) {
    if (variable.startsWith('ETCD_') && !variables.has(variable)) unknown(variable);
  }
}

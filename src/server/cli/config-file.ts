/**
 * Settings of a file, in YAML, or JSON, which is YAML.
 *
 * Keys are the names of flags; those of TLS stand in sections of their own, under the names of the flags for clients
 * (and without the `peer-` of the flags for peers). Keys that nobody knows are no error, as with etcd, but a warning.
 *
 * Source: etcd's documentation, "Configuration file", and its `etcd.conf.yml.sample`.
 *
 * @module
 */
import { parse } from 'yaml';
import { z } from 'zod';
import { SettingsError } from './errors.ts';
import { FLAGS, type FlagName, flagNamed, Given } from './flags/index.ts';
import type { Flag } from './flags/kinds.ts';

const CLIENT_SECTION = 'client-transport-security';
const PEER_SECTION = 'peer-transport-security';

const section = z.record(z.string(), z.unknown()).nullish();
const FileShape = z
  .looseObject({ [CLIENT_SECTION]: section, [PEER_SECTION]: section })
  // An empty file says nothing, and that is fine.
  .nullish();

/** Names below {@link PEER_SECTION} that differ from the flag's. */
const PEER_RENAMED: Readonly<Record<string, FlagName>> = {
  'allowed-cn': 'peer-cert-allowed-cn',
  'allowed-hostname': 'peer-cert-allowed-hostname',
};

/** Names below {@link CLIENT_SECTION} that differ from the flag's. */
const CLIENT_RENAMED: Readonly<Record<string, FlagName>> = {
  'allowed-cn': 'client-cert-allowed-cn',
  'allowed-hostname': 'client-cert-allowed-hostname',
  'allowed-hostnames': 'client-cert-allowed-hostname',
};

/**
 * Reads a file's text.
 *
 * @param unknown hears of each key that has no meaning.
 * @throws {@link SettingsError}
 */
export function parseConfigFile(text: string, unknown: (key: string) => void): Given {
  const file = read(text);
  const given = new Given();
  const set = (key: string, flag: FlagName | undefined, value: unknown): void => {
    if (value === null || value === undefined) return;
    if (flag === undefined) unknown(key);
    else given.set(flag, fromFile(key, flag, value));
  };
  for (const [key, value] of Object.entries(file)) {
    if (key === CLIENT_SECTION || key === PEER_SECTION) continue;
    set(key, flagNamed(key), value);
  }
  for (const [key, value] of Object.entries(file[CLIENT_SECTION] ?? {}))
    set(`${CLIENT_SECTION}.${key}`, CLIENT_RENAMED[key] ?? flagNamed(key), value);
  for (const [key, value] of Object.entries(file[PEER_SECTION] ?? {}))
    set(`${PEER_SECTION}.${key}`, PEER_RENAMED[key] ?? flagNamed(`peer-${key}`), value);
  return given;
}

function read(text: string): NonNullable<z.infer<typeof FileShape>> {
  let parsed: unknown;
  try {
    parsed = parse(text);
  } catch (cause) {
    // The parser's own message may quote the file.
    const line = (cause as { linePos?: readonly { line: number }[] }).linePos?.[0]?.line;
    throw new SettingsError(`the config file is no YAML${line === undefined ? '' : ` (line ${line})`}`);
  }
  const shape = FileShape.safeParse(parsed);
  if (!shape.success) {
    const { path = [], message = '' } = shape.error.issues[0] ?? {};
    throw new SettingsError(`the config file has the wrong form: ${[...path, message].join(': ')}`);
  }
  return shape.data ?? {};
}

function fromFile(key: string, name: FlagName, value: unknown): unknown {
  const flag: Flag = FLAGS[name];
  try {
    return flag.fromFile(value);
  } catch (error) {
    throw new SettingsError(`invalid ${key} in the config file: ${(error as Error).message}`);
  }
}

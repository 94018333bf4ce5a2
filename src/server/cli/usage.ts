/**
 * What `--help` and `--version` print.
 *
 * @module
 */
import { ETCD_VERSION } from '../version.ts';
import { GROUPS } from './flags/index.ts';
import type { Effect, Flag } from './flags/kinds.ts';

const NOTES: Readonly<Record<Effect, string>> = {
  used: '',
  none: ' (Accepted; has no effect here.)',
  cluster: ' (Accepted; has no effect on a single member.)',
  refused: ' (Not supported: the server does not start with it.)',
};

/** The short form, which comes with an error too. */
export const USAGE = `Usage:

  etcdkit server [flags]
    Start an etcd server.

  etcdkit server --version
    Show the version.

  etcdkit server -h | --help
    Show this help.

  etcdkit server --config-file <file>
    Take all settings from a file; other flags and the environment are ignored then.

A flag --some-name can be given by the variable ETCD_SOME_NAME too, but not by both.
`;

/** Everything. */
export function helpText(): string {
  const lines = [USAGE];
  for (const [title, flags] of Object.entries(GROUPS)) {
    lines.push(`${title}:`);
    for (const [name, flag] of Object.entries<Flag>(flags)) {
      lines.push(`  --${name} '${flag.shown}'`, `    ${flag.help}${NOTES[flag.effect]}`);
      if (flag.aliases.length > 0) lines.push(`    Also --${flag.aliases.join(', --')}.`);
    }
    lines.push('');
  }
  return lines.join('\n');
}

/** The first line is what tools look for. */
export function versionText(packageVersion: string): string {
  return [
    `etcd Version: ${ETCD_VERSION}`,
    `etcdkit Version: ${packageVersion}`,
    `Node.js Version: ${process.version}`,
    `OS/Arch: ${process.platform}/${process.arch}`,
    '',
  ].join('\n');
}

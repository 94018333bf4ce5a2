/**
 * The command line of `etcdkit config`.
 *
 * @module
 */

import { readArgs, UsageError } from '../command.ts';
import { CONNECTION_FLAGS, CONNECTION_USAGE } from '../connection.ts';

export const CONFIG_USAGE = `Usage: etcdkit config <command> [flags]

Commands:
  validate FILE              check a file against a schema; nothing is written
  publish KEY FILE           publish it for all
  stage KEY FILE --share N   give it to N percent of the instances first
  share KEY N                change that share
  promote KEY                publish what is staged
  abandon KEY                take away what is staged
  show KEY [--revision N]    what is published, or was at that revision
  history KEY                the versions, the newest first
  rollback KEY --to REVISION publish an earlier version anew
FILE may be - for standard input.

Flags:
  --schema FILE      a module whose default export is a Standard Schema (zod and others), and "secrets" a list of paths
  --format FORMAT    json or yaml. Default: by the file's name, else json
  --secret PATH      a place that is not shown, as database.password or users.*.token; can be repeated
  --expect REVISION  only if the value is at this revision; 0: only if there is none
  --message TEXT     why, for the history
  --author NAME      who. Default: host and process
  --keep N           how many versions to keep besides. Default: 10
  --limit N          how many versions to list. Default: 20
  --abandon-staged   take a candidate away that stands in the way

${CONNECTION_USAGE}`;

const COMMANDS = [
  'validate',
  'publish',
  'stage',
  'share',
  'promote',
  'abandon',
  'show',
  'history',
  'rollback',
] as const;

const text = { type: 'string' } as const;

/** Reads a command line. @throws UsageError */
export function parseConfig(args: readonly string[]) {
  const { values, positionals } = readArgs(args, {
    ...CONNECTION_FLAGS,
    schema: text,
    format: text,
    secret: { type: 'string', multiple: true },
    expect: text,
    message: text,
    author: text,
    keep: text,
    limit: text,
    share: text,
    to: text,
    revision: text,
    'abandon-staged': { type: 'boolean' },
  });
  const [name, ...rest] = positionals;
  const command = COMMANDS.find((known) => known === name);
  if (command === undefined && !values.help) {
    throw new UsageError(name === undefined ? 'which command?' : `unknown command "${name}"`);
  }
  return { command, values, rest };
}

/** A command line of `etcdkit config`. */
export type ConfigLine = ReturnType<typeof parseConfig>;

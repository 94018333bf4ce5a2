/**
 * The command `snapshot`: `save` makes a backup of a cluster, `restore` makes a data directory of one.
 *
 * @module
 */

import type { SnapshotProgress } from '../index.ts';
import { runSnapshot as runRestore } from '../server/cli/snapshot.ts';
import { type CommandContext, printJson, readArgs, runCommand, UsageError, words } from './command.ts';
import { CONNECTION_FLAGS, CONNECTION_USAGE, connect } from './connection.ts';
import { Progress } from './progress.ts';
import { sizeText } from './text.ts';

const USAGE = `Usage: etcdkit snapshot save FILE [flags]     a backup of a cluster
       etcdkit snapshot restore FILE [flags]  a data directory of one; --help says more

A backup is one member's state; "snapshot restore" and etcd's own tools make a data directory of it. FILE is replaced when
the backup is whole and checked, never by a part of one.

${CONNECTION_USAGE}`;

/** Runs it. @returns The exit status. */
export function runSnapshot(context: CommandContext): Promise<number> {
  const [command, ...args] = context.args;
  if (command === 'restore') return runRestore(context);
  return runCommand(context, USAGE, async (run) => {
    if (command === '--help' || command === '-h') {
      run.stdout.write(USAGE);
      return 0;
    }
    if (command !== 'save') throw new UsageError(command === undefined ? 'save or restore?' : `unknown: ${command}`);
    const { values, positionals } = readArgs(args, CONNECTION_FLAGS);
    if (values.help) {
      run.stdout.write(USAGE);
      return 0;
    }
    const [file = ''] = words(positionals, ['FILE']);
    await using etcd = connect(values, run.environment);
    const progress = new Progress(run.stderr, file);
    const onProgress = ({ bytes, totalBytes }: SnapshotProgress): void => progress.at(bytes, totalBytes);
    const saved = await etcd.maintenance
      .saveSnapshot(file, { signal: run.signal, onProgress })
      .finally(() => progress.end());
    if (values.json) printJson(run.stdout, saved);
    else run.stdout.write(`saved ${sizeText(saved.bytes)} to ${file}\n`);
    return 0;
  });
}

/**
 * The command `status`: how the cluster is, from every member's own mouth. Exit status 1 when it is not healthy.
 *
 * @module
 */
import { formatId } from '../index.ts';
import { type CommandContext, printJson, readArgs, runCommand, table, words } from './command.ts';
import { CONNECTION_FLAGS, CONNECTION_USAGE, connect } from './connection.ts';
import { sizeText } from './text.ts';

const USAGE = `Usage: etcdkit status [flags]

How all members are. Exit status 1 when the cluster is not healthy.

${CONNECTION_USAGE}`;

const HEADINGS = ['NAME', 'ID', 'ENDPOINT', 'VERSION', 'DB SIZE', 'ROLE', 'TERM', 'INDEX', 'LAG', 'HEALTH'];

/** Runs it. @returns The exit status. */
export function runStatus(context: CommandContext): Promise<number> {
  return runCommand(context, USAGE, async (run) => {
    const { values, positionals } = readArgs(context.args, CONNECTION_FLAGS);
    if (values.help) {
      run.stdout.write(USAGE);
      return 0;
    }
    words(positionals, []);
    await using etcd = connect(values, run.environment);
    const { healthy, hasQuorum, members, alarms = [] } = await etcd.maintenance.health({ signal: run.signal });
    const rows = members.map(({ member, endpoint, status, isLeader, isLearner, raftLag, healthy: isWell, error }) => ({
      name: member.name,
      id: formatId(member.id),
      endpoint: endpoint ?? member.clientUrls[0],
      version: status?.version,
      dbSizeBytes: status?.dbSizeBytes,
      role: isLeader ? 'leader' : isLearner ? 'learner' : 'follower',
      term: status?.raftTerm,
      index: status?.raftIndex,
      lag: raftLag,
      healthy: isWell,
      error: error?.code,
    }));
    if (values.json) {
      const raised = alarms.map(({ type, memberId }) => ({ type, member: formatId(memberId) }));
      printJson(run.stdout, { healthy, hasQuorum, members: rows, alarms: raised });
      return healthy ? 0 : 1;
    }
    const cells = rows.map((row) => [
      row.name,
      row.id,
      text(row.endpoint),
      text(row.version),
      row.dbSizeBytes === undefined ? '-' : sizeText(row.dbSizeBytes),
      row.role,
      text(row.term),
      text(row.index),
      text(row.lag),
      row.healthy ? 'healthy' : (row.error ?? 'unhealthy'),
    ]);
    table(run.stdout, HEADINGS, cells);
    for (const { type, memberId } of alarms) run.stderr.write(`alarm ${type} of ${formatId(memberId)}\n`);
    if (!hasQuorum) run.stderr.write('there is no quorum\n');
    return healthy ? 0 : 1;
  });
}

function text(value: string | number | bigint | undefined): string {
  return value === undefined ? '-' : String(value);
}

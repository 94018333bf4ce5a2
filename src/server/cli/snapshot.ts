/**
 * The command `snapshot restore`, with the flags of `etcdutl snapshot restore`.
 *
 * Exit status: 2 with the usage for a command line that is none, 1 if the file or the directory can't be used.
 *
 * @module
 */
import { parseArgs } from 'node:util';
import type { ServerLog } from '../log.ts';
import { timeOfDay } from '../system.ts';
import { SettingsError, UsageError } from './errors.ts';
import { checkInCluster, initialClusterOf } from './initial-cluster.ts';
import { LogLines } from './log-lines.ts';
import { openOutputs } from './outputs.ts';
import type { CommandContext } from './run.ts';
import { parseUrls } from './urls.ts';

const CALLER = 'cli/snapshot.ts';

const USAGE = `Usage:

  etcdkit snapshot restore <file> --data-dir <directory> [flags]
    Make a data directory from a snapshot of etcd or of this server.

Flags:
  --data-dir ''
    Directory to make; it must not be there yet, or be empty. Without it: <name>.etcd.
  --name 'default'
    Name of the member.
  --initial-cluster 'default=http://localhost:2380'
    The members of the new cluster, as name=peerURL,…
  --initial-cluster-token 'etcd-cluster'
    Keeps clusters with the same URLs apart.
  --initial-advertise-peer-urls 'http://localhost:2380'
    Peer URLs of this member.
  --skip-hash-check
    Take a file without a digest at its end, such as a copy of a stopped member's own.
`;

const OPTIONS = {
  'data-dir': { type: 'string', default: '' },
  name: { type: 'string', default: 'default' },
  'initial-cluster': { type: 'string', default: '' },
  'initial-cluster-token': { type: 'string', default: 'etcd-cluster' },
  'initial-advertise-peer-urls': { type: 'string', default: 'http://localhost:2380' },
  'skip-hash-check': { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/** Runs it. @returns The exit status. */
export async function runSnapshot({ args }: Pick<CommandContext, 'args'>): Promise<number> {
  let words: ReturnType<typeof parse>;
  try {
    words = parse(args);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n${USAGE}`);
    return 2;
  }
  if (words.values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const log = new LogLines({ level: 'info', format: 'json', timeOfDay, outputs: openOutputs(['stderr']) });
  try {
    await restore(words, log);
    return 0;
  } catch (error) {
    log.write('fatal', CALLER, 'failed to restore', { error: (error as Error).message });
    return 1;
  }
}

function parse(args: readonly string[]) {
  let parsed: ReturnType<typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true; args: string[] }>>;
  try {
    parsed = parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const { values, positionals } = parsed;
  const [command, snapshotFile = '', ...rest] = positionals;
  if (!values.help && (command !== 'restore' || snapshotFile === '' || rest.length > 0))
    throw new UsageError('snapshot restore needs one file');
  return { values, snapshotFile };
}

async function restore({ values, snapshotFile }: ReturnType<typeof parse>, log: ServerLog): Promise<void> {
  const { name, 'initial-cluster': cluster, 'initial-advertise-peer-urls': urls } = values;
  const peerUrls = parseUrls(urls).map(({ text }) => text);
  if (peerUrls.length === 0) throw new SettingsError('--initial-advertise-peer-urls is empty');
  const initialCluster = initialClusterOf(cluster, { name, peerUrls });
  checkInCluster(initialCluster, { name, peerUrls });
  const dataDir = values['data-dir'] || `${name}.etcd`;
  const { restoreSnapshot } = await import('../restore-snapshot.ts');
  const { memberId, clusterId, revision } = await restoreSnapshot({
    snapshotFile,
    dataDir,
    name,
    initialCluster,
    clusterToken: values['initial-cluster-token'],
    skipHashCheck: values['skip-hash-check'],
  });
  log.write('info', CALLER, 'restored snapshot', {
    path: snapshotFile,
    'data-dir': dataDir,
    revision: Number(revision),
    'local-member-id': memberId.toString(16),
    'cluster-id': clusterId.toString(16),
  });
}

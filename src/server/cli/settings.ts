/**
 * From the values of flags to what the server is started with: every check of one flag against another is here.
 *
 * The texts of errors are etcd's where it has one. What a flag asks for that is not built is an error, not a warning:
 * a server that lacks what its owner relies on is worse than none.
 *
 * @module
 */
import { LOG_LEVELS, type LogLevel } from '../log.ts';
import type { AutoCompaction, EtcdServerOptions } from '../options.ts';
import { parseAuthToken } from './auth-token.ts';
import { dataDirOf, type OwnCertificate, ownCertificateOf } from './auto-tls.ts';
import { parseDuration } from './duration.ts';
import { SettingsError } from './errors.ts';
import { FLAGS, type Given, type Values } from './flags/index.ts';
import type { Flag } from './flags/kinds.ts';
import { checkInCluster, type InitialCluster, initialClusterOf } from './initial-cluster.ts';
import { listeningOf, type Warn } from './listening.ts';
import { peersOf } from './peers.ts';

/** What a server process runs with. */
export interface ServerSettings {
  /** A data directory and the members of a new cluster are always among them. */
  readonly server: EtcdServerOptions & { readonly dataDir: string; readonly initialCluster: InitialCluster };
  /** To be made before the server starts, unless they are there. */
  readonly certificates: readonly OwnCertificate[];
}

/** How to log; known first, since everything else may be worth a line. */
export interface LogSettings {
  readonly level: LogLevel;
  readonly format: 'json' | 'console';
  /** `stderr`, `stdout`, or files. */
  readonly outputs: readonly string[];
}

/** @throws {@link SettingsError} */
export function logSettingsOf(values: Values): LogSettings {
  const level = LOG_LEVELS.find((name) => name === values['log-level']);
  if (level === undefined) throw new SettingsError(`unrecognized level: "${values['log-level']}"`);
  const format = values['log-format'];
  if (format !== 'json' && format !== 'console') throw new SettingsError(`unknown log format "${format}"`);
  // Under systemd etcd's default is the journal, which reads stderr as well.
  const outputs = values['log-outputs'].map((output) => (output === 'default' ? 'stderr' : output));
  if (values['log-outputs'].includes('default') && outputs.length > 1)
    throw new SettingsError('multi logoutput for "default" is not supported yet');
  return { level, format, outputs };
}

/** The settings of a process. Reads the files of keys for tokens, and no others. @throws {@link SettingsError} */
export async function settingsOf(given: Given, warn: Warn): Promise<ServerSettings> {
  const values = given.values();
  refuseUnsupported(given);
  checkTimes(values);
  const advertised = given.has('advertise-client-urls');
  if (given.has('listen-client-urls') && !advertised)
    throw new SettingsError('--advertise-client-urls is required when --listen-client-urls is set explicitly');
  for (const url of [...values['initial-advertise-peer-urls'], ...values['advertise-client-urls']])
    if (url.host === '') throw new SettingsError(`unexpected empty host (${url.text})`);
  const { listen, tls } = listeningOf(values, warn);
  const { listenPeers, peerTls } = peersOf(values, warn);
  const peerUrls = values['initial-advertise-peer-urls'].map(({ text }) => text);
  const initialCluster = initialClusterOf(values['initial-cluster'], { name: values.name, peerUrls });
  const dataDir = dataDirOf(values);
  if (values['data-dir'] === '') warn("'data-dir' was empty; using default", { 'data-dir': dataDir });
  if (values['quota-backend-bytes'] > 8 * 2 ** 30)
    warn('Backend quota exceeds the recommended maximum value', { quotaBytes: values['quota-backend-bytes'] });
  const certificates = (['client', 'peer'] as const).map((side) =>
    ownCertificateOf(values, side, (text) => warn(text, {})),
  );
  return {
    certificates: certificates.filter((one) => one !== undefined),
    server: {
      name: values.name,
      dataDir,
      walDir: values['wal-dir'] === '' ? undefined : values['wal-dir'],
      listen,
      tls,
      advertiseClientUrls: values['advertise-client-urls'].map(({ text }) => text),
      peerUrls,
      listenPeers,
      peerTls,
      initialCluster,
      initialClusterState: values['initial-cluster-state'],
      clusterToken: values['initial-cluster-token'],
      authToken: await parseAuthToken(values['auth-token']),
      authTokenTtlSeconds: values['auth-token-ttl'] || undefined,
      bcryptCost: bcryptCostOf(values['bcrypt-cost'], warn),
      heartbeatMs: values['heartbeat-interval'],
      electionMs: values['election-timeout'],
      initialElectionTickAdvance: values['initial-election-tick-advance'],
      ...corruptionChecksOf(values),
      quotaBytes: values['quota-backend-bytes'],
      snapshotCount: values['snapshot-count'],
      snapshotCatchUpEntries: values['snapshot-catchup-entries'],
      walSegmentBytes: values['wal-segment-bytes'],
      autoCompaction: compactionOf(values),
      leaseCheckpoints: checkpointsOf(values),
      maxTxnOps: values['max-txn-ops'],
      maxRequestBytes: values['max-request-bytes'],
      maxConcurrentStreams: values['max-concurrent-streams'],
      watchProgressMs: values['watch-progress-notify-interval'],
      keepalive: {
        minTimeMs: values['grpc-keepalive-min-time'],
        intervalMs: values['grpc-keepalive-interval'],
        timeoutMs: values['grpc-keepalive-timeout'],
      },
      gateway: values['enable-grpc-gateway'],
      cors: values.cors,
      hostWhitelist: values['host-whitelist'],
      extensiveMetrics: extensiveOf(values),
      slowApplyMs: values['warning-apply-duration'],
      notServingOnDefragment: gateOf(
        values,
        'StopGRPCServiceOnDefrag',
        values['experimental-stop-grpc-service-on-defrag'],
      ),
      maxLearners: values['max-learners'],
      strictReconfigCheck: values['strict-reconfig-check'],
      forceNewCluster: values['force-new-cluster'],
      unsafeNoFsync: values['unsafe-no-fsync'],
    },
  };
}

function refuseUnsupported(given: Given): void {
  const values = given.values();
  for (const name of given.names) {
    const { effect, fallback, instead }: Flag = FLAGS[name];
    if (effect === 'refused' && String(values[name]) !== String(fallback))
      throw new SettingsError(`--${name} is not supported by this server`, instead ? { instead } : {});
  }
}

/** Above that, etcd holds, an election timeout is a mistake. */
const LONGEST_ELECTION_MS = 50_000;

function checkTimes(values: Values): void {
  const { 'heartbeat-interval': heartbeatMs, 'election-timeout': electionMs } = values;
  if (heartbeatMs === 0) throw new SettingsError('--heartbeat-interval must be >0 (set to 0ms)');
  if (electionMs === 0) throw new SettingsError('--election-timeout must be >0 (set to 0ms)');
  if (5 * heartbeatMs > electionMs)
    throw new SettingsError(
      `--election-timeout[${electionMs}ms] should be at least as 5 times as --heartbeat-interval[${heartbeatMs}ms]`,
    );
  if (electionMs > LONGEST_ELECTION_MS)
    throw new SettingsError(
      `--election-timeout[${electionMs}ms] is too long, and should be set less than ${LONGEST_ELECTION_MS}ms`,
    );
  if (values['snapshot-count'] === 0) throw new SettingsError('--snapshot-count must be >0');
}

/**
 * Checks what matters only while there is no data yet: afterwards the data says who is in the cluster.
 *
 * @throws {@link SettingsError}
 */
export function checkNewCluster({ server }: ServerSettings): void {
  const { name = 'default', peerUrls = [], initialCluster } = server;
  checkInCluster(initialCluster, { name, peerUrls });
}

function bcryptCostOf(cost: number, warn: Warn): number {
  if (cost >= 4 && cost <= 31) return cost;
  warn('use default bcrypt cost instead of the invalid given cost', {
    'min-cost': 4,
    'max-cost': 31,
    'default-cost': 10,
    'given-cost': cost,
  });
  return 10;
}

const HOUR_MS = 3_600_000;

function compactionOf(values: Values): AutoCompaction | undefined {
  const { 'auto-compaction-mode': mode, 'auto-compaction-retention': retention } = values;
  if (mode !== 'periodic' && mode !== 'revision') throw new SettingsError(`unknown auto-compaction-mode "${mode}"`);
  const count = /^[+-]?\d+$/.test(retention) ? Number(retention) : undefined;
  if (mode === 'revision') {
    if (count === undefined || !Number.isSafeInteger(count))
      throw new SettingsError(`error parsing CompactionRetention: parsing "${retention}": invalid syntax`);
    return count > 0 ? { mode, revisions: count } : undefined;
  }
  // A bare number is hours.
  const retentionMs = count === undefined ? parseDuration(retention) : count * HOUR_MS;
  if (retentionMs === undefined)
    throw new SettingsError(`error parsing CompactionRetention: time: invalid duration "${retention}"`);
  return retentionMs > 0 ? { mode, retentionMs } : undefined;
}

function extensiveOf({ metrics }: Values): boolean {
  if (metrics !== 'basic' && metrics !== 'extensive') throw new SettingsError(`unknown metrics "${metrics}"`);
  return metrics === 'extensive';
}

/** What a feature gate says, as 3.6 has them, or else a flag, as 3.5 has it. */
function gateOf(values: Values, name: string, flagged: boolean): boolean {
  return gatesOf(values).get(name) ?? flagged;
}

function gatesOf(values: Values): ReadonlyMap<string, boolean> {
  const gates = new Map<string, boolean>();
  for (const gate of values['feature-gates'].split(',').filter((text) => text !== '')) {
    const [, name = '', on = ''] = /^([^=]+)=(true|false)$/.exec(gate.trim()) ?? [];
    if (name === '') throw new SettingsError(`invalid value for --feature-gates: ${gate}`);
    gates.set(name, on === 'true');
  }
  return gates;
}

function corruptionChecksOf(
  values: Values,
): Pick<EtcdServerOptions, 'initialCorruptCheck' | 'corruptCheckMs' | 'compactHashCheckMs'> {
  const hashes = gateOf(values, 'CompactHashCheck', values['experimental-compact-hash-check-enabled']);
  const [everyMs, hashesMs] = [values['corrupt-check-time'], values['compact-hash-check-time']];
  if (hashes && hashesMs <= 0)
    throw new SettingsError(`--experimental-compact-hash-check-time must be >0 (set to ${hashesMs}ms)`);
  return {
    initialCorruptCheck: gateOf(values, 'InitialCorruptCheck', values['experimental-initial-corrupt-check']),
    corruptCheckMs: everyMs > 0 ? everyMs : undefined,
    compactHashCheckMs: hashes ? hashesMs : undefined,
  };
}

function checkpointsOf(values: Values): boolean {
  const flagged = values['experimental-enable-lease-checkpoint'];
  if (values['experimental-enable-lease-checkpoint-persist'] && !flagged)
    throw new SettingsError(
      'setting experimental-enable-lease-checkpoint-persist requires experimental-enable-lease-checkpoint',
    );
  return gateOf(values, 'LeaseCheckpoint', flagged);
}

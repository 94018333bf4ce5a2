/**
 * Flags about watching over the server, and those of features that come and go with etcd's releases.
 *
 * @module
 */
import { bool, duration, int, list, text, urls } from './kinds.ts';

const none = { effect: 'none' } as const;
const peers = { effect: 'cluster' } as const;

export const OPERATIONS = {
  'config-file': text('', 'File with all settings; other flags and the environment are ignored then.'),
  version: bool(false, 'Print the version and end.'),
  'enable-pprof': bool(false, 'Serve profiles of the Go runtime.', {
    ...none,
    instead: 'profile Node.js: NODE_OPTIONS=--cpu-prof, or --inspect',
  }),
  metrics: text('basic', "How much to measure: 'basic' or 'extensive'."),
  'listen-metrics-urls': urls('', 'Where to serve /metrics and /health too.'),
  logger: text('zap', 'Kind of log lines; there is one.', none),
  'log-level': text('info', 'debug, info, warn, error, panic or fatal.'),
  'log-outputs': list(['default'], 'Where lines go: stderr, stdout, or files. The default is stderr.'),
  'log-format': text('json', 'json or console.'),
  'enable-log-rotation': bool(false, 'Rotate the log file.', {
    effect: 'refused',
    instead: 'let logrotate copy and truncate the file: it is appended to',
  }),
  'log-rotation-config-json': text('', 'How to.', none),
  'force-new-cluster': bool(false, 'Make a cluster of one of what is there.'),
  'unsafe-no-fsync': bool(false, 'Do not wait for the disk: what is acknowledged may be lost.'),
  'feature-gates': text(
    '',
    'name=true,name=false,… of LeaseCheckpoint, StopGRPCServiceOnDefrag, InitialCorruptCheck and CompactHashCheck.',
  ),
  'watch-progress-notify-interval': duration('10m', 'How often idle watches hear that nothing happened.', {
    aliases: ['experimental-watch-progress-notify-interval'],
  }),
  'compaction-batch-limit': int(1_000, 'Most revisions in a step of a compaction.', {
    ...none,
    aliases: ['experimental-compaction-batch-limit'],
  }),
  'compaction-sleep-interval': duration('10ms', 'Pause between two of them.', {
    ...none,
    aliases: ['experimental-compaction-sleep-interval'],
  }),
  'experimental-enable-lease-checkpoint': bool(false, 'Write down what is left of leases.'),
  'experimental-enable-lease-checkpoint-persist': bool(false, 'The same, and keep it through restarts.'),
  'experimental-initial-corrupt-check': bool(false, 'Compare with the other members before serving.'),
  'corrupt-check-time': duration('0s', 'Time between two comparisons with the other members; 0: never.', {
    aliases: ['experimental-corrupt-check-time'],
  }),
  'experimental-compact-hash-check-enabled': bool(false, 'Compare the hashes that compactions leave.'),
  'compact-hash-check-time': duration('1m', 'Time between two of those comparisons.', {
    aliases: ['experimental-compact-hash-check-time'],
  }),
  'downgrade-check-time': duration('5s', 'Time between two looks at a downgrade.', {
    ...peers,
    aliases: ['experimental-downgrade-check-time'],
  }),
  'warning-apply-duration': duration('100ms', 'Entries that take longer to apply are logged.', {
    aliases: ['experimental-warning-apply-duration'],
  }),
  'warning-unary-request-duration': duration('300ms', 'Calls that take longer are logged.', {
    ...none,
    aliases: ['experimental-warning-unary-request-duration'],
  }),
  'bootstrap-defrag-threshold-megabytes': int(0, 'Defragment at start if that frees more.', {
    ...none,
    least: 0,
    aliases: ['experimental-bootstrap-defrag-threshold-megabytes'],
  }),
  'memory-mlock': bool(false, 'Keep everything in memory.', { ...none, aliases: ['experimental-memory-mlock'] }),
  'experimental-stop-grpc-service-on-defrag': bool(false, 'Say NOT_SERVING while defragmenting.'),
  'experimental-txn-mode-write-with-shared-buffer': bool(true, 'How bbolt is read within a transaction.', none),
  'experimental-set-member-localaddr': bool(false, 'Address that peers are connected from.', peers),
  'experimental-enable-v2v3': text('', 'The API of etcd 2 over this store.', none),
  'enable-distributed-tracing': bool(false, 'Export spans: OTEL_EXPORTER_OTLP_ENDPOINT says where to.', {
    aliases: ['experimental-enable-distributed-tracing'],
  }),
  'distributed-tracing-address': text('localhost:4317', 'A collector of OTLP over gRPC.', {
    ...none,
    instead: 'set OTEL_EXPORTER_OTLP_ENDPOINT to a collector of OTLP over HTTP',
    aliases: ['experimental-distributed-tracing-address'],
  }),
  'distributed-tracing-service-name': text('etcd', 'As which service, unless OTEL_SERVICE_NAME says so.', {
    aliases: ['experimental-distributed-tracing-service-name'],
  }),
  'distributed-tracing-instance-id': text('', "As which instance of it. The default is the member's name.", {
    aliases: ['experimental-distributed-tracing-instance-id'],
  }),
  'distributed-tracing-sampling-rate': int(
    0,
    'How many requests of a million, besides those whose client keeps a trace; 0: OTEL_TRACES_SAMPLER says.',
    {
      least: 0,
      aliases: ['experimental-distributed-tracing-sampling-rate'],
    },
  ),
} as const;

/**
 * Flags about the member itself and its limits.
 *
 * @module
 */
import { bool, duration, int, list, text, urls } from './kinds.ts';

export const MEMBER = {
  name: text('default', 'Name of this member, for people.'),
  'data-dir': text('', 'Folder of everything that is kept.', { shown: '<name>.etcd' }),
  'wal-dir': text('', 'Folder of the log, if it is to be another.'),
  'snapshot-count': int(100_000, 'Log entries between two snapshots.', { least: 0 }),
  'snapshot-catchup-entries': int(5_000, 'Log entries that are kept behind a snapshot, for slow followers.', {
    least: 0,
    aliases: ['experimental-snapshot-catchup-entries'],
  }),
  'wal-segment-bytes': int(64_000_000, 'Length at which a file of the log is closed; etcd has no flag for it.', {
    least: 4_096,
  }),
  'heartbeat-interval': int(100, 'Time between two heartbeats, in ms.', { least: 0 }),
  'election-timeout': int(1_000, 'Time without a leader before an election, in ms.', { least: 0 }),
  'initial-election-tick-advance': bool(true, 'Start with the first election nearly due.'),
  'listen-peer-urls': urls('http://localhost:2380', 'Where to listen to other members.'),
  'listen-client-urls': urls(
    'http://localhost:2379',
    'Where to listen to clients: gRPC, and HTTP unless it has its own.',
  ),
  'listen-client-http-urls': urls(
    '',
    'Where to listen to clients that speak HTTP only; the others speak gRPC only then.',
  ),
  'max-snapshots': int(5, 'Snapshot files to keep (0: all). There is one, always.', { effect: 'none', least: 0 }),
  'max-wals': int(5, 'Files of the log to keep (0: all). Those that are not needed are removed.', {
    effect: 'none',
    least: 0,
  }),
  'quota-backend-bytes': int(0, 'Size at which writes are refused (0: 2 GiB; less: no limit).'),
  'backend-bbolt-freelist-type': text('map', 'How bbolt keeps free pages.', { effect: 'none' }),
  'backend-batch-interval': duration('0s', 'Longest time between two commits of bbolt.', { effect: 'none', shown: '' }),
  'backend-batch-limit': int(0, 'Most operations between two commits of bbolt.', { effect: 'none' }),
  'max-txn-ops': int(128, 'Most operations in a transaction.', { least: 0 }),
  'max-request-bytes': int(1_572_864, 'Largest request, in bytes.', { least: 0 }),
  'max-concurrent-streams': int(0xffff_ffff, 'Most streams of one connection.', { least: 0, shown: 'math.MaxUint32' }),
  'enable-grpc-gateway': bool(true, 'Serve JSON over HTTP too.'),
  'grpc-keepalive-min-time': duration('5s', 'How often a client may ping.'),
  'grpc-keepalive-interval': duration('2h', 'How often clients are pinged (0: never).'),
  'grpc-keepalive-timeout': duration('20s', 'How long a ping may stay without an answer.'),
  'socket-reuse-port': bool(false, 'Share ports with other processes.', { effect: 'none' }),
  'socket-reuse-address': bool(false, 'Bind addresses that are in TIME_WAIT; that is so anyway.', { effect: 'none' }),
  'raft-read-timeout': duration('5s', 'Longest silence of a peer.', { effect: 'none' }),
  'raft-write-timeout': duration('5s', 'Longest time of a write to a peer.', { effect: 'none' }),
  'auto-compaction-retention': text(
    '0',
    'What automatic compaction keeps: a duration (hours without a unit), or revisions; 0: off.',
  ),
  'auto-compaction-mode': text('periodic', "What that is: 'periodic' or 'revision'."),
  cors: list(['*'], 'Origins that browsers may ask from.'),
  'host-whitelist': list(['*'], 'Host names that HTTP requests without TLS may name.'),
} as const;

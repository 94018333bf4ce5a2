/**
 * Flags about the other members, and about finding them. Members are found by `initial-cluster` alone: other ways are
 * refused.
 *
 * @module
 */
import { bool, choice, duration, int, list, text, urls } from './kinds.ts';

const refused = { effect: 'refused' } as const;

export const CLUSTERING = {
  'initial-advertise-peer-urls': urls('http://localhost:2380', 'Peer URLs of this member; its id comes from them.'),
  'initial-cluster': text('', 'The members of a new cluster, as name=peerURL,…', {
    shown: 'default=http://localhost:2380',
  }),
  'initial-cluster-state': choice(['new', 'existing'], 'new', 'Whether the cluster is there already.'),
  'initial-cluster-token': text('etcd-cluster', 'Keeps clusters with the same URLs apart.'),
  'advertise-client-urls': urls('http://localhost:2379', 'Client URLs of this member, as clients are told.'),
  discovery: text('', 'URL of a discovery service.', refused),
  'discovery-fallback': choice(['exit', 'proxy'], 'proxy', 'What to do when discovery fails.', { effect: 'none' }),
  'discovery-proxy': text('', 'Proxy for discovery.', { effect: 'none' }),
  'discovery-srv': text('', 'DNS domain whose SRV records name the members.', refused),
  'discovery-srv-name': text('', 'Suffix to the names of those records.', { effect: 'none' }),
  'discovery-endpoints': list([], 'Members of the cluster that serves discovery.', refused),
  'discovery-token': text('', 'Token for it.', refused),
  'discovery-dial-timeout': duration('2s', 'For connecting to it.', { effect: 'none' }),
  'discovery-request-timeout': duration('5s', 'For a request to it.', { effect: 'none' }),
  'discovery-keepalive-time': duration('2s', 'Between two pings of it.', { effect: 'none' }),
  'discovery-keepalive-timeout': duration('6s', 'For the answer to a ping.', { effect: 'none' }),
  'discovery-insecure-transport': bool(true, 'Without TLS.', { effect: 'none' }),
  'discovery-insecure-skip-tls-verify': bool(false, 'Without checking certificates.', { effect: 'none' }),
  'discovery-cert': text('', 'Certificate for it.', { effect: 'none' }),
  'discovery-key': text('', 'Key for it.', { effect: 'none' }),
  'discovery-cacert': text('', 'CA for it.', { effect: 'none' }),
  'discovery-user': text('', 'User for it.', { effect: 'none' }),
  'discovery-password': text('', 'Password for it.', { effect: 'none' }),
  'strict-reconfig-check': bool(true, 'Refuse changes of the members that would cost the quorum.'),
  'pre-vote': bool(true, 'Ask before an election whether it could be won; it is always so.', { effect: 'none' }),
  'max-learners': int(1, 'Most learners; the same on all members.', {
    least: 0,
    aliases: ['experimental-max-learners'],
  }),
  'enable-v2': bool(false, 'The API of etcd 2.', { effect: 'none' }),
  'v2-deprecation': choice(
    ['not-yet', 'write-only', 'write-only-drop-data', 'gone'],
    'not-yet',
    'What becomes of data of etcd 2.',
    { effect: 'none' },
  ),
  proxy: choice(['off', 'readonly', 'on'], 'off', 'Be a proxy of etcd 2.', refused),
  'proxy-failure-wait': int(5_000, 'Of that proxy.', { effect: 'none' }),
  'proxy-refresh-interval': int(30_000, 'Of that proxy.', { effect: 'none' }),
  'proxy-dial-timeout': int(1_000, 'Of that proxy.', { effect: 'none' }),
  'proxy-write-timeout': int(5_000, 'Of that proxy.', { effect: 'none' }),
  'proxy-read-timeout': int(0, 'Of that proxy.', { effect: 'none' }),
} as const;

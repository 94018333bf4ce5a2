/**
 * The side of a server that faces the other members: its peer ports, and what it has to know of the others before it
 * starts.
 *
 * A server that is told of no port for others and of no others is alone, and nothing is opened.
 *
 * @module
 */
import { systemClock } from '../support/clock.ts';
import { silentLog } from './log.ts';
import type { ExistingCluster, InitialMember } from './member/boot.ts';
import { dataDirPaths } from './member/data-dir.ts';
import type { Connect } from './member/peers.ts';
import type { EtcdServerOptions } from './options.ts';
import { Asker } from './peer/ask.ts';
import { type BootstrapOptions, checkNotBootstrapped, joinCluster } from './peer/bootstrap.ts';
import { credentialsOf } from './peer/credentials.ts';
import { PeerDialer } from './peer/dialer.ts';
import { PeerListener } from './peer/listener.ts';
import type { TransportObserver } from './peer/options.ts';
import { PeerTransport } from './peer/transport.ts';
import { nodeDisk } from './storage/node-disk.ts';
import { timeOfDay } from './system.ts';
import { ETCD_VERSION } from './version.ts';

/** The address that a member has for others unless it is told another. */
const DEFAULT_PEER_URL = 'http://localhost:2380';

/** How long one of the others may take to say which cluster there is, in ms. */
const JOIN_MS = 10_000;

/** A server's other members. */
export interface OpenPeers {
  /** Who founds the cluster, this member too. */
  readonly initialCluster: readonly InitialMember[];
  /** The cluster that it joins; undefined: it founds one, or comes back. */
  readonly join: ExistingCluster | undefined;
  /** Undefined: it is alone. */
  readonly connect: Connect | undefined;
  /** Where it listens to them. */
  readonly urls: readonly string[];
  /** Closes the ports. Never rejects. */
  close(): Promise<void>;
}

/**
 * Opens the ports for other members, and asks these what there is to ask.
 *
 * @param observe Hears of the traffic.
 * @throws BootstrapError the cluster cannot be joined, or not be founded.
 * @throws Error a port cannot be opened, or a certificate not be used.
 */
export async function openPeers(options: EtcdServerOptions, observe: TransportObserver): Promise<OpenPeers> {
  const { name = 'default', clock = systemClock, listenPeers = [], peerTls: tls, log = silentLog } = options;
  const listener = await PeerListener.open({ listen: listenPeers, tls, clock });
  const credentials = tls && credentialsOf(tls);
  try {
    const peerUrls = options.peerUrls ?? (listener.urls.length > 0 ? listener.urls : [DEFAULT_PEER_URL]);
    const named = options.initialCluster ?? new Map([[name, peerUrls]]);
    const initialCluster = Array.from(named, ([member, urls]) => ({ name: member, peerUrls: urls }));
    const alone = listenPeers.length === 0 && initialCluster.length === 1;
    const connect: Connect = (host) => {
      const transport = new PeerTransport(host, {
        clock,
        timeOfDayMs: options.timeOfDay ?? timeOfDay,
        log,
        questionTimeoutMs: 5_000 + 2 * (options.electionMs ?? 1_000),
        tls: credentials,
        observe,
      });
      listener.attach(host, transport);
      return transport;
    };
    return {
      initialCluster,
      join: await bootstrap(options, initialCluster, new PeerDialer(credentials)),
      connect: alone ? undefined : connect,
      urls: listener.urls,
      close: () => listener.close(),
    };
  } catch (error) {
    await listener.close();
    throw error;
  }
}

/** Asks the others what has to be known before there is data. */
async function bootstrap(
  options: EtcdServerOptions,
  initialCluster: readonly InitialMember[],
  dialer: PeerDialer,
): Promise<ExistingCluster | undefined> {
  const { name = 'default', clusterToken = 'etcd-cluster', clock = systemClock, electionMs = 1_000 } = options;
  const asker = new Asker(dialer, clock);
  const common = {
    name,
    initialCluster,
    clusterToken,
    asker,
    version: ETCD_VERSION,
  } satisfies Partial<BootstrapOptions>;
  try {
    if (await hasData(options)) return undefined;
    if (options.initialClusterState === 'existing') return await joinCluster({ ...common, timeoutMs: JOIN_MS });
    await checkNotBootstrapped({ ...common, timeoutMs: 1_000 + electionMs });
    return undefined;
  } finally {
    dialer.close();
  }
}

/** Whether there is a log: then it says what the cluster is. */
async function hasData({ dataDir, walDir }: EtcdServerOptions): Promise<boolean> {
  if (dataDir === undefined) return false;
  return ((await nodeDisk.list(dataDirPaths(dataDir, walDir).wal)) ?? []).length > 0;
}

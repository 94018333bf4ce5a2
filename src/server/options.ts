/**
 * The options of an {@link EtcdServer}, and what they are made of.
 *
 * @module
 */
import type { Clock } from '../support/clock.ts';
import type { JwtOptions } from './auth-io/jwt-tokens.ts';
import type { ServerLog } from './log.ts';

/** Certificates, as paths of PEM files: they are read again when they change. */
export interface ServerTls {
  readonly certFile: string;
  readonly keyFile: string;
  /** CA of the clients: each needs a certificate of it then. Default: they need none. */
  readonly caFile?: string | undefined;
  /** Whether the common name of a client's certificate is its user, where it has no token. Default: false. */
  readonly clientCertAuth?: boolean | undefined;
  /** Certificates of clients that are revoked, as the path of a PEM file. Default: none are. */
  readonly crlFile?: string | undefined;
  /** Host names of which a client's certificate must have one. Default: any. */
  readonly allowedHostnames?: readonly string[] | undefined;
  /** Common names of which a client's certificate must have one. Default: any. */
  readonly allowedCommonNames?: readonly string[] | undefined;
  /** Cipher suites of TLS 1.2, by OpenSSL's names. Default: those of Node.js. */
  readonly cipherSuites?: readonly string[] | undefined;
  /** The oldest TLS that is spoken. Default: 1.2. */
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined;
  /** The newest that is spoken. Default: 1.3. */
  readonly maxVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined;
}

/** One address to listen on. */
export interface ServerAddress {
  /** An IP address, or a file for a Unix socket; empty: every address of the machine. */
  readonly at: { readonly host: string; readonly port: number } | { readonly path: string };
  /** Whether connections without TLS are taken, those with, or both. */
  readonly transport: 'plain' | 'tls' | 'both';
  /** What is served: gRPC and HTTP, one of them, or only /metrics and what tells of health. */
  readonly serve: 'all' | 'grpc' | 'http' | 'metrics';
}

/** Where to listen to other members: an IP address (empty: every one of the machine) and a port (0: any), or a file. */
export type PeerAddress = ({ readonly host: string; readonly port: number } | { readonly path: string }) & {
  /** Whether connections are over TLS. */
  readonly secure: boolean;
};

/** Certificates of the connections between members, as paths of PEM files: they are read again when they change. */
export interface PeerTls extends Omit<ServerTls, 'caFile' | 'clientCertAuth'> {
  /** CA of the members: each needs a certificate of it then. Default: none is asked for, and the system's are trusted. */
  readonly caFile?: string | undefined;
  /** Certificate to show where this member connects to others. Default: `certFile`. */
  readonly clientCertFile?: string | undefined;
  /** Its key. Default: `keyFile`. */
  readonly clientKeyFile?: string | undefined;
  /** Common names of which a member's certificate must have one, whoever connects to whom. Default: any. */
  readonly allowedCommonNames?: readonly string[] | undefined;
  /** Whether a member that connects may come from an address that its certificate does not name. Default: false. */
  readonly skipAddressCheck?: boolean | undefined;
  /** Whether members that this one connects to may have any certificate. Default: false. */
  readonly trustAnyServer?: boolean | undefined;
}

/** What is compacted by itself. */
export type AutoCompaction =
  /** Keep what is younger than that. */
  | { readonly mode: 'periodic'; readonly retentionMs: number }
  /** Keep so many revisions. */
  | { readonly mode: 'revision'; readonly revisions: number };

/**
 * What an {@link EtcdServer} can be told. Most defaults are those of etcd; but one that is told nothing keeps everything in
 * memory, and takes any free port.
 */
export interface EtcdServerOptions {
  /** Name of the member, for people. Default: `default`. */
  readonly name?: string | undefined;
  /** Folder to keep everything in; made if it is not there. Default: none, everything is in memory. */
  readonly dataDir?: string | undefined;
  /** Folder of the log, if it is to be another than in {@link dataDir}. */
  readonly walDir?: string | undefined;
  /** Address to listen on. Default: 127.0.0.1. */
  readonly host?: string | undefined;
  /** Port to listen on. Default: 0, any that is free. */
  readonly port?: number | undefined;
  /** All addresses to listen on, in place of {@link host} and {@link port}. */
  readonly listen?: readonly ServerAddress[] | undefined;
  /** URLs that clients are told. Default: that of the first address. */
  readonly advertiseClientUrls?: readonly string[] | undefined;
  /**
   * URLs of this member for others. Its id comes from them, when it is made. Default: those of {@link listenPeers}, or
   * `http://localhost:2380`.
   */
  readonly peerUrls?: readonly string[] | undefined;
  /** Where to listen to other members. Default: nowhere, it is alone. */
  readonly listenPeers?: readonly PeerAddress[] | undefined;
  /** Default: none. */
  readonly peerTls?: PeerTls | undefined;
  /** Members that a new cluster starts with, or that there are as this one joins: peer URLs by name. Default: this one. */
  readonly initialCluster?: ReadonlyMap<string, readonly string[]> | undefined;
  /** Whether the cluster is there already, and this member joins it. Of no meaning once it has data. Default: `new`. */
  readonly initialClusterState?: 'new' | 'existing' | undefined;
  /** Goes into the ids too. Default: `etcd-cluster`. */
  readonly clusterToken?: string | undefined;
  /** Default: none. */
  readonly tls?: ServerTls | undefined;
  /** Kind of the tokens that logins get. Default: `simple`. */
  readonly authToken?: 'simple' | Omit<JwtOptions, 'timeOfDay'> | undefined;
  /** Life of a simple token after its last use, in seconds. Default: 300. */
  readonly authTokenTtlSeconds?: number | undefined;
  /** Logarithm of the work for a password hash, from 4 to 31. Default: 10. */
  readonly bcryptCost?: number | undefined;
  /** Time between two heartbeats, in ms. Default: 100. */
  readonly heartbeatMs?: number | undefined;
  /** Time without a leader before an election, in ms; the smallest TTL of a lease is 1.5 times that. Default: 1000. */
  readonly electionMs?: number | undefined;
  /** Whether a member that starts stands for election soon once it is connected with another. Default: true. */
  readonly initialElectionTickAdvance?: boolean | undefined;
  /** Whether the member compares its keys with the others' before it takes part, and ends if they differ. Default: false. */
  readonly initialCorruptCheck?: boolean | undefined;
  /** How often the leader compares its keys with the others', in ms; those that differ raise an alarm. Default: never. */
  readonly corruptCheckMs?: number | undefined;
  /** How often the leader compares the hashes that compactions leave, in ms; likewise. Default: never. */
  readonly compactHashCheckMs?: number | undefined;
  /** Size at which writes are refused, in bytes; 0: 2 GiB; less: no limit. Default: 0. */
  readonly quotaBytes?: number | undefined;
  /** Log entries between two snapshots. Default: 10,000. */
  readonly snapshotCount?: number | undefined;
  /** Log entries that are kept behind a snapshot. Default: 5000. */
  readonly snapshotCatchUpEntries?: number | undefined;
  /** Length at which a file of the log is closed, in bytes. Default: 64,000,000. */
  readonly walSegmentBytes?: number | undefined;
  /** Default: nothing is compacted but by request. */
  readonly autoCompaction?: AutoCompaction | undefined;
  /** Whether what is left of a lease's time is written down now and then. Default: false. */
  readonly leaseCheckpoints?: boolean | undefined;
  /** Operations in one transaction. Default: 128. */
  readonly maxTxnOps?: number | undefined;
  /** Size of a request, in bytes. Default: 1,572,864. */
  readonly maxRequestBytes?: number | undefined;
  /** Streams of one connection. Default: 2^32 - 1. */
  readonly maxConcurrentStreams?: number | undefined;
  /** How often an idle watch that asked for it hears that nothing happened, in ms. Default: 600,000. */
  readonly watchProgressMs?: number | undefined;
  /** Pings: how often clients may, how often they are pinged (0: never), and how long an answer may take, in ms. */
  readonly keepalive?:
    | {
        /** Default: 5000. */
        readonly minTimeMs?: number | undefined;
        /** Default: two hours. */
        readonly intervalMs?: number | undefined;
        /** Default: 20,000. */
        readonly timeoutMs?: number | undefined;
      }
    | undefined;
  /** Whether JSON is served over HTTP. Default: true. */
  readonly gateway?: boolean | undefined;
  /** Origins that browsers may ask from. Default: any. */
  readonly cors?: readonly string[] | undefined;
  /** Host names that requests by HTTP without TLS may name. Default: any. */
  readonly hostWhitelist?: readonly string[] | undefined;
  /** Whether times of calls are measured. Default: false. */
  readonly extensiveMetrics?: boolean | undefined;
  /**
   * Whether calls, and the work on them, have spans, once the program has set up an SDK of OpenTelemetry. The trace of a
   * call goes on in the members that work on it. Default: true; it costs next to nothing until then.
   */
  readonly tracing?: boolean | undefined;
  /** Applying an entry that takes longer is worth a line in the log, in ms. Default: 100. */
  readonly slowApplyMs?: number | undefined;
  /** Whether gRPC's health service says NOT_SERVING during a defragmentation. Default: false. */
  readonly notServingOnDefragment?: boolean | undefined;
  /** Whether a change of the members that would cost the quorum is refused. Default: true. */
  readonly strictReconfigCheck?: boolean | undefined;
  /** How many learners there may be at a time; all members have to agree. Default: 1. */
  readonly maxLearners?: number | undefined;
  /** Makes a cluster of one of what is in {@link dataDir}: the other members are dropped for good. Default: false. */
  readonly forceNewCluster?: boolean | undefined;
  /** Answers before the disk has written: what was acknowledged may be lost when the machine ends. Default: false. */
  readonly unsafeNoFsync?: boolean | undefined;
  /** Hears what happens. Default: nobody. */
  readonly log?: ServerLog | undefined;
  /** Where the time comes from. Default: the machine's monotonic clock. */
  readonly clock?: Clock | undefined;
  /** The time of day, in ms since 1970: for JWTs, new ids, and nothing that lives by it. Default: the machine's. */
  readonly timeOfDay?: (() => number) | undefined;
  /** Chance, for elections and the like: a whole number from 0 up to but without `bound`. Default: the machine's. */
  readonly random?: ((bound: number) => number) | undefined;
  /** Random bytes: tokens are made of them, so nobody may guess them. Default: the machine's. */
  readonly randomBytes?: ((count: number) => Uint8Array) | undefined;
}

/**
 * Loads a snapshot file into a new data directory, for a server to start from.
 *
 * @module
 */
import { restoreDataDir } from './member/restore.ts';
import { nodeDisk } from './storage/node-disk.ts';
import { nextTurn } from './system.ts';

/** What to restore, and as whom. */
export interface RestoreSnapshotOptions {
  /** What `etcdctl snapshot save` or a server's Snapshot call wrote, of an etcd or of this server. */
  readonly snapshotFile: string;
  /** Data directory to make; it must not be there yet, or be empty. */
  readonly dataDir: string;
  /** Name of the member. Default: `default`. */
  readonly name?: string | undefined;
  /** Where other members would reach it; its id comes from them. Default: `http://localhost:2380`. */
  readonly peerUrls?: readonly string[] | undefined;
  /** All members of the new cluster, by name, if there are to be others; each is restored by a call of its own. */
  readonly initialCluster?: ReadonlyMap<string, readonly string[]> | undefined;
  /** Keeps clusters with the same addresses apart. Default: `etcd-cluster`. */
  readonly clusterToken?: string | undefined;
  /** Take a file without a digest at its end, such as a copy of a stopped member's own. Default: false. */
  readonly skipHashCheck?: boolean | undefined;
}

/** What there is now. */
export interface RestoredSnapshot {
  readonly memberId: bigint;
  readonly clusterId: bigint;
  /** Revision of the keys: where the server goes on. */
  readonly revision: bigint;
}

/**
 * Does what `etcdutl snapshot restore` does: keys with their revisions, leases, users, roles and alarms are kept, and
 * members and cluster get new ids. Start the server with the same name, `peerUrls` and data directory.
 *
 * @throws Error (`DataDirError`) that names what is wrong with the file or the directory; nothing was changed then.
 */
export async function restoreSnapshot(options: RestoreSnapshotOptions): Promise<RestoredSnapshot> {
  const { name = 'default', peerUrls = ['http://localhost:2380'], clusterToken = 'etcd-cluster' } = options;
  const members = options.initialCluster ?? new Map([[name, peerUrls]]);
  const { memberId, clusterId, revision } = await restoreDataDir({
    disk: nodeDisk,
    snapshotFile: options.snapshotFile,
    dataDir: options.dataDir,
    name,
    initialCluster: Array.from(members, ([member, urls]) => ({ name: member, peerUrls: urls })),
    clusterToken,
    skipHashCheck: options.skipHashCheck,
    pause: nextTurn,
  });
  return { memberId, clusterId, revision: BigInt(revision) };
}

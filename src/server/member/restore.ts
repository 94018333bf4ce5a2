/**
 * A new data directory from a snapshot file: what `etcdutl snapshot restore` does.
 *
 * The file is etcd's or ours. Its keys keep their revisions, leases their ids, and users, roles and alarms stay as they
 * were. Who was in the cluster does not: members and cluster get ids of their own, as in a new cluster, so that nobody
 * who knew the old one takes the two for one. The new one decides its version anew, and no downgrade goes on.
 *
 * The log begins behind the image. What would have founded the cluster, an entry for each member, counts as applied, so
 * all members that are restored from one file, each with its own call, agree about every entry that follows.
 *
 * The file is read wholly before anything is written; one that is refused has changed nothing. All is written beside its
 * place and gets there by one rename, so a crash leaves a directory that can be restored into again.
 *
 * Source: etcd's disaster recovery guide, and what `etcdutl` 3.5 writes.
 *
 * @module
 */
import { viewAsBuffer } from '../../protocol/keys.ts';
import { EMPTY_HARD_STATE } from '../raft/index.ts';
import { writeBackend } from '../snapshot/backend-image.ts';
import { type LoadedState, readBackendState, readStore } from '../snapshot/backend-reader.ts';
import type { BackendState } from '../snapshot/backend-state.ts';
import { BoltFile } from '../snapshot/bolt/reader.ts';
import { checkDigest } from '../snapshot/digest.ts';
import type { Disk } from '../storage/disk.ts';
import { parentOf } from '../storage/paths.ts';
import { Wal } from '../wal/index.ts';
import { encodeConfState, type InitialMember } from './boot.ts';
import { DataDirError, dataDirPaths, saveImage } from './data-dir.ts';
import { clusterIdOf, memberIdOf } from './ids.ts';

/** The term of the entries that found a cluster. */
const FIRST_TERM = 1;

/** Where things are until all of them are. */
const TEMPORARY = 'member.restoring';

export interface RestoreOptions {
  readonly disk: Disk;
  /** Path of the file: what `etcdctl snapshot save` wrote, or a member's own `member/snap/db`. */
  readonly snapshotFile: string;
  /** Where to; it must not be there yet, or be empty. */
  readonly dataDir: string;
  /** Name of the member: one of `initialCluster`. */
  readonly name: string;
  /** All members that the new cluster starts with. */
  readonly initialCluster: readonly InitialMember[];
  readonly clusterToken: string;
  /** Take a file as it is. A copy of a member's own file has no digest. Default: false. */
  readonly skipHashCheck?: boolean | undefined;
  /** Is awaited between steps: the event loop's chance. */
  readonly pause: () => Promise<void>;
}

/** What there is now. */
export interface Restored {
  readonly memberId: bigint;
  readonly clusterId: bigint;
  readonly revision: number;
}

/**
 * Does what the head of this file says.
 *
 * @throws DataDirError: the file is none, is damaged or has no digest, or the directory is in use. RangeError: `name` is
 *   none of the members.
 */
export async function restoreDataDir(options: RestoreOptions): Promise<Restored> {
  const { disk, dataDir, name, initialCluster, clusterToken, pause } = options;
  const members = initialCluster.map((member) => ({
    id: memberIdOf(member.peerUrls, clusterToken),
    name: member.name,
    peerUrls: [...member.peerUrls].sort(),
    clientUrls: [],
    isLearner: false,
  }));
  const own = members.find((member) => member.name === name);
  if (own === undefined) throw new RangeError(`the initial cluster has no member of the name ${name}`);
  const clusterId = clusterIdOf(members.map(({ id }) => id));
  const before = await disk.list(dataDir);
  // An earlier attempt may have died.
  const [inTheWay] = (before ?? []).filter((found) => found !== TEMPORARY);
  if (inTheWay !== undefined) throw new DataDirError(dataDir, `it is not empty: it has ${inTheWay}`);
  const { state, store } = await load(options);

  const at = { index: members.length, term: FIRST_TERM };
  const voters = members.map(({ id }) => id);
  const confState = { voters, learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  const founded: BackendState = {
    ...state,
    consistentIndex: BigInt(at.index),
    term: BigInt(at.term),
    confState,
    members,
    removedMembers: [],
    clusterVersion: undefined,
    downgradeTarget: undefined,
  };
  const made = `${dataDir}/${TEMPORARY}`;
  try {
    await disk.remove(made);
    await disk.makeDirectory(made);
    const paths = { ...dataDirPaths(dataDir), snap: `${made}/snap`, image: `${made}/snap/db`, wal: `${made}/wal` };
    await saveImage(disk, paths, await writeBackend(founded, store, { pause }));
    const wal = await Wal.create(disk, paths.wal, { memberId: own.id, clusterId });
    try {
      const hardState = { ...EMPTY_HARD_STATE, term: at.term, commit: at.index };
      await wal.append({ snapshot: { ...at, confState: encodeConfState(confState) }, hardState });
    } finally {
      await wal.close();
    }
    await disk.rename(made, `${dataDir}/member`);
  } catch (error) {
    await disk.remove(before === undefined ? dataDir : made);
    throw error;
  }
  await disk.syncDirectory(dataDir);
  await disk.syncDirectory(parentOf(dataDir));
  return { memberId: own.id, clusterId, revision: store.revision };
}

/** All that is in the file. It is checked first: a damaged value can look sound. */
async function load({ disk, snapshotFile, skipHashCheck = false }: RestoreOptions) {
  const file = await disk.open(snapshotFile);
  try {
    const read = async (at: number, size: number) => viewAsBuffer(await file.read(at, size));
    const source = { sizeBytes: await file.size(), read };
    const digest = skipHashCheck ? 'good' : await checkDigest(source);
    if (digest === 'bad') throw new DataDirError(snapshotFile, 'the digest at its end is not that of what it has');
    if (digest === 'absent')
      throw new DataDirError(snapshotFile, 'it has no digest at its end; the check can be left out on demand');
    const bolt = await BoltFile.open(source);
    const state: LoadedState = await readBackendState(bolt);
    return { state, store: await readStore(bolt) };
  } catch (cause) {
    if (cause instanceof DataDirError) throw cause;
    throw new DataDirError(snapshotFile, cause instanceof Error ? cause.message : 'it can not be read', { cause });
  } finally {
    await file.close();
  }
}

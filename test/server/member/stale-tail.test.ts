/** What a log still has behind an image that came from the leader is not part of the log. */
import { describe, expect, it } from 'vitest';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { boot, encodeConfState } from '../../../src/server/member/boot.ts';
import { dataDirPaths, saveImage } from '../../../src/server/member/data-dir.ts';
import { KvStore } from '../../../src/server/mvcc/store.ts';
import type { Entry } from '../../../src/server/raft/index.ts';
import { writeBackend } from '../../../src/server/snapshot/backend-image.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { Wal } from '../../../src/server/wal/index.ts';
import { DATA_DIR, NAME, PEER_URL } from './support.ts';

const SELF = 1n as MemberId;
const members = [1n, 2n, 3n].map((id) => ({
  id,
  name: `${id}`,
  peerUrls: [`http://${id}:1`],
  clientUrls: [],
  isLearner: false,
}));
const confState = { voters: [1n, 2n, 3n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

function entries(from: number, to: number, term: number): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => ({
    type: 'EntryNormal',
    term,
    index: from + i,
    data: new Uint8Array(),
  }));
}

/** A log with entries up to 20 of term 3, and an image as of 10 in term 5 that has come since. */
async function directory(after: readonly Entry[]) {
  const disk = new MemoryDisk();
  await disk.makeDirectory(`${DATA_DIR}/member`);
  const paths = dataDirPaths(DATA_DIR);
  const wal = await Wal.create(disk, paths.wal, { memberId: SELF, clusterId: 9n as never });
  await wal.append({ entries: entries(1, 20, 3), hardState: { term: 3, vote: SELF, commit: 4 } });
  const rows = {
    consistentIndex: 10n,
    term: 5n,
    confState,
    leases: [],
    alarms: [],
    clusterVersion: '3.5.0',
    downgradeTarget: undefined,
  };
  const auth = { authEnabled: false, authRevision: 1n, users: [], roles: [] };
  const image = await writeBackend({ ...rows, ...auth, members, removedMembers: [] }, new KvStore(), {
    pause: async () => {},
  });
  await saveImage(disk, paths, image);
  const snapshot = { index: 10, term: 5, confState: encodeConfState(confState as never) };
  await wal.append({ snapshot, entries: after, hardState: { term: 5, vote: 0n as MemberId, commit: 10 } });
  await wal.close();
  const options = { name: NAME, initialCluster: [{ name: NAME, peerUrls: [PEER_URL] }], clusterToken: '' };
  const booted = await boot({ ...options, storage: { disk, dataDir: DATA_DIR } });
  await booted.image?.close();
  await booted.journal.close();
  return booted;
}

describe('a log behind an image', () => {
  it('is empty where it ends in entries of a leader that lost', async () => {
    const { log } = await directory([]);
    // With the entry 20 of term 3 it would vote for logs that lack what is committed.
    expect([log.lastIndex(), log.term(log.lastIndex())]).toEqual([10, 5]);
    expect(log.initialState().hardState.commit).toBe(10);
  });

  it('has what came after the image', async () => {
    const { log } = await directory(entries(11, 12, 5));
    expect([log.lastIndex(), log.term(12)]).toEqual([12, 5]);
  });
});

import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { EMPTY } from '../../../src/protocol/wire.ts';
import { DataDirError } from '../../../src/server/member/data-dir.ts';
import { noJournal } from '../../../src/server/member/journal.ts';
import { Member } from '../../../src/server/member/member.ts';
import { restoreDataDir } from '../../../src/server/member/restore.ts';
import { standAlone } from '../../../src/server/member/stand-alone.ts';
import {
  type ConfChangeSingle,
  confChangeEntry,
  EMPTY_CONF_STATE,
  type Entry,
  MemoryStorage,
  NO_LIMIT,
  readConfChange,
} from '../../../src/server/raft/index.ts';
import { withDigest } from '../../../src/server/snapshot/digest.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { Wal } from '../../../src/server/wal/index.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { collect } from '../snapshot/support.ts';
import { WatchedDisk } from '../wal/support.ts';
import { DATA_DIR, optionsOf, put, startMember, valueAt } from './support.ts';

const WAL = `${DATA_DIR}/member/wal`;
const CLUSTER = ['a', 'b', 'c'].map((name) => ({ name, peerUrls: [`http://${name}:2380`] }));
/** The entries that would have founded the cluster count as applied. */
const FIRST_INDEX = CLUSTER.length + 1;

/** The data directory of `a`, one of three members. */
async function ofThree(clock: VirtualClock): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await using before = await startMember(clock);
  await before.propose({ leaseGrant: { ID: 5n, TTL: 100n } });
  await put(before, 'kept', 'as it was', 5n);
  const file = await disk.open('snapshot.db', { mode: 'create' });
  await file.write(0, await collect(withDigest((await before.image()).chunks)));
  await file.close();
  const common = { disk, snapshotFile: 'snapshot.db', clusterToken: 'x', pause: () => turn() };
  await restoreDataDir({ ...common, dataDir: DATA_DIR, name: 'a', initialCluster: CLUSTER });
  return disk;
}

const forced = { name: 'a', initialCluster: CLUSTER, forceNewCluster: true };

describe('a member that is to go on alone', () => {
  it('keeps its keys, its id and its cluster, and drops the others for good', async () => {
    const clock = new VirtualClock();
    const disk = await ofThree(clock);
    const abandoned: bigint[] = [];
    const observe = { abandoned: (ids: readonly bigint[]) => abandoned.push(...ids) };
    const first = await startMember(clock, disk, { ...forced, observe });
    const { id, clusterId } = first;
    expect(first.state.members.list().map(({ name }) => name)).toEqual(['a']);
    expect(abandoned).toHaveLength(2);
    expect(abandoned.every((other) => first.state.members.wasRemoved(other))).toBe(true);
    expect(valueAt(first, 'kept')).toBe('as it was');
    expect((await first.timeToLive(5n)).keys).toEqual([Buffer.from('kept')]);
    await put(first, 'more', '1');
    await first.stop();
    disk.crash('none');
    // The flag is not needed again, and does nothing.
    for (const more of [{}, { forceNewCluster: true, observe }]) {
      await using again = await startMember(clock, disk, { name: 'a', initialCluster: CLUSTER, ...more });
      expect([again.id, again.clusterId]).toEqual([id, clusterId]);
      expect(valueAt(again, 'more')).toBe('1');
      expect(again.state.members.list()).toHaveLength(1);
    }
    expect(abandoned).toHaveLength(2);
  });

  it('without being told so waits for the others', async () => {
    const clock = new VirtualClock();
    const disk = await ofThree(clock);
    const storage = { disk, dataDir: DATA_DIR };
    await using member = await Member.start(optionsOf(clock, { ...forced, forceNewCluster: false, storage }));
    await clock.advance(20_000);
    expect(member.position.leader).toBe(0n);
    expect(member.state.members.list()).toHaveLength(3);
  });

  it('keeps what it does not know to be committed: others may have acknowledged it', async () => {
    const clock = new VirtualClock();
    const disk = await ofThree(clock);
    const request = { header: { ID: 1n }, put: { key: Buffer.from('tail'), value: Buffer.from('there') } };
    const tail: Entry = { type: 'EntryNormal', index: FIRST_INDEX, term: 1, data: InternalRaftRequest.encode(request) };
    const { wal } = await Wal.open(disk, WAL, { from: { index: FIRST_INDEX - 1, term: 1 } });
    await wal.append({ entries: [tail] });
    await wal.close();
    await using member = await startMember(clock, disk, forced);
    expect(valueAt(member, 'tail')).toBe('there');
  });

  it('does so whenever the power fails', async () => {
    const clock = new VirtualClock();
    let done = false;
    for (let step = 0; !done; step++) {
      const disk = await ofThree(clock);
      const failing = new WatchedDisk(disk);
      let left = step;
      failing.before = () => {
        if (left-- === 0) throw Object.assign(new Error('the power is gone'), { code: 'EIO' });
      };
      const storage = { disk: failing, dataDir: DATA_DIR };
      const member = await Member.start(optionsOf(clock, { ...forced, storage })).catch(() => undefined);
      done = left >= 0;
      disk.crash('all');
      await member?.stop();
      await using again = await startMember(clock, disk, forced);
      expect(again.state.members.list()).toHaveLength(1);
      expect(valueAt(again, 'kept')).toBe('as it was');
      expect(step).toBeLessThan(60);
    }
  });
});

function log(...changes: ConfChangeSingle[]): MemoryStorage {
  const storage = new MemoryStorage();
  const entries = changes.map((change, at): Entry => {
    return { ...confChangeEntry({ ...change, id: 0n, context: EMPTY }), term: 3, index: at + 1 };
  });
  storage.append(entries);
  storage.setHardState({ term: 4, vote: 0n as MemberId, commit: 1 });
  return storage;
}

function changesFrom(storage: MemoryStorage, first: number): unknown[] {
  const entries = storage.entries(first, storage.lastIndex() + 1, NO_LIMIT);
  if (typeof entries === 'string') throw new Error(entries);
  return entries.map((entry) => {
    const { type, nodeId } = readConfChange(entry) as ConfChangeSingle;
    return [entry.index, entry.term, type, nodeId];
  });
}

const change = (type: ConfChangeSingle['type'], id: bigint): ConfChangeSingle => ({ type, nodeId: id as MemberId });

describe('the log of one that is to go on alone', () => {
  const options = { id: 1n, applied: 0, journal: noJournal };

  it('tells who is there, without an image too; all of it is committed then', async () => {
    const storage = log(
      change('add-voter', 1n),
      change('add-voter', 3n),
      change('add-learner', 2n),
      change('add-voter', 4n),
      change('remove', 4n),
      change('update', 7n),
    );
    expect(await standAlone({ ...options, log: storage })).toEqual([2n, 3n]);
    expect(changesFrom(storage, 7)).toEqual([
      [7, 4, 'remove', 2n],
      [8, 4, 'remove', 3n],
    ]);
    expect(storage.initialState().hardState).toEqual({ term: 4, vote: 0n, commit: 8 });
  });

  it('makes a voter of a learner before anybody is removed', async () => {
    const storage = log(change('add-voter', 3n), change('add-learner', 1n));
    expect(await standAlone({ ...options, log: storage })).toEqual([3n]);
    expect(changesFrom(storage, 3)).toEqual([
      [3, 4, 'add-voter', 1n],
      [4, 4, 'remove', 3n],
    ]);
  });

  it('stays as it is if nobody else is there, if its member was removed, and between two configurations', async () => {
    const single = log(change('add-voter', 1n));
    expect(await standAlone({ ...options, log: single })).toEqual([]);
    expect(single.lastIndex()).toBe(1);
    const gone = log(change('add-voter', 1n), change('add-voter', 2n), change('remove', 1n));
    await expect(standAlone({ ...options, log: gone })).rejects.toThrow('was removed');
    const joint = new MemoryStorage();
    const voters = [1n as MemberId];
    joint.applySnapshot({
      index: 1,
      term: 1,
      data: EMPTY,
      confState: { ...EMPTY_CONF_STATE, voters, votersOutgoing: voters },
    });
    await expect(standAlone({ ...options, log: joint })).rejects.toThrow('between two configurations');
    expect([gone.lastIndex(), joint.lastIndex()]).toEqual([3, 1]);
  });

  it('of a stranger is refused as any other is', async () => {
    const clock = new VirtualClock();
    const disk = await ofThree(clock);
    const gone = confChangeEntry({ id: 0n, ...change('remove', await idOf(disk)), context: EMPTY });
    const { wal } = await Wal.open(disk, WAL, { from: { index: FIRST_INDEX - 1, term: 1 } });
    await wal.append({ entries: [{ ...gone, index: FIRST_INDEX, term: 1 }] });
    await wal.close();
    const storage = { disk, dataDir: DATA_DIR };
    await expect(Member.start(optionsOf(clock, { ...forced, storage }))).rejects.toThrow(DataDirError);
    // It lets go of it too.
    await expect(Member.start(optionsOf(clock, { ...forced, storage }))).rejects.toThrow('was removed');
  });
});

async function idOf(disk: MemoryDisk): Promise<bigint> {
  const { wal } = await Wal.open(disk, WAL, { from: { index: FIRST_INDEX - 1, term: 1 } });
  await wal.close();
  return wal.metadata.memberId;
}

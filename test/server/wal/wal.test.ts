import { beforeEach, describe, expect, it } from 'vitest';
import type { ClusterId } from '../../../src/protocol/int64.ts';
import { EMPTY } from '../../../src/protocol/wire.ts';
import { EMPTY_HARD_STATE } from '../../../src/server/raft/types.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { readSnapshots, readWal, Wal, WalError } from '../../../src/server/wal/index.ts';
import { DIRECTORY, entries, entry, failureOf, image, OWNER, restore, state, WatchedDisk } from './support.ts';

const FIRST = '0000000000000000-0000000000000000.wal';

let memory: MemoryDisk;
let disk: WatchedDisk;

beforeEach(async () => {
  memory = new MemoryDisk();
  await memory.makeDirectory('member');
  disk = new WatchedDisk(memory);
});

async function contents(from = { term: 0, index: 0 }) {
  return (await readWal(disk, DIRECTORY, from)).contents;
}

describe('a new log', () => {
  it('has an owner and nothing else', async () => {
    await using wal = await Wal.create(disk, DIRECTORY, OWNER);
    expect(wal.metadata).toEqual(OWNER);
    expect(await contents()).toEqual({ metadata: OWNER, hardState: EMPTY_HARD_STATE, entries: [] });
    const files = await image(disk);
    expect([...files.keys()]).toEqual([FIRST]);
    expect(files.get(FIRST)?.length).toBe(64_000_000);
  });

  it.each(['none', 'prefix', 'subset'] as const)('is there after a crash, mode %s', async (mode) => {
    await Wal.create(disk, DIRECTORY, OWNER);
    memory.crash(mode, () => 0.5);
    expect((await Wal.open(disk, DIRECTORY, { owner: OWNER })).contents.metadata).toEqual(OWNER);
  });

  it('takes the place of an empty directory and of a failed attempt', async () => {
    await memory.makeDirectory(DIRECTORY);
    await memory.makeDirectory(`${DIRECTORY}.tmp`);
    await memory.open(`${DIRECTORY}.tmp/left`, { mode: 'create' });
    await Wal.create(disk, DIRECTORY, OWNER);
    expect([...(await image(disk)).keys()]).toEqual([FIRST]);
    expect(await memory.list('member')).toEqual(['wal']);
  });

  it('does not take the place of anything else', async () => {
    await (await Wal.create(disk, DIRECTORY, OWNER)).close();
    expect((await failureOf(Wal.create(disk, DIRECTORY, OWNER))).code).toBe('exists');
    await restore(memory, new Map([['notes', Buffer.from('mine')]]), 'other');
    expect((await failureOf(Wal.create(disk, 'other', OWNER))).code).toBe('foreign');
    expect((await image(memory, 'other')).get('notes')?.toString()).toBe('mine');
  });
});

describe('append', () => {
  it('keeps entries, hard state and snapshots', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    await wal.append({ entries: entries(1, 3), hardState: state(1, 0) });
    await wal.append({ hardState: state(1, 3) });
    await wal.append({ snapshot: { index: 2, term: 1, confState: Uint8Array.of(8, 1) } });
    const change = { type: 'EntryConfChangeV2', term: 2, index: 4, data: EMPTY } as const;
    await wal.append({ entries: [change], hardState: state(2, 3) });
    await wal.close();
    expect(await contents()).toEqual({ metadata: OWNER, hardState: state(2, 3), entries: [...entries(1, 3), change] });
    expect((await contents({ term: 1, index: 2 })).entries).toEqual([entry(3), change]);
    expect(await readSnapshots(disk, DIRECTORY)).toEqual([
      { index: 0, term: 0, confState: EMPTY },
      { index: 2, term: 1, confState: Uint8Array.of(8, 1) },
    ]);
  });

  it('replaces entries from the first one on', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    await wal.append({ entries: entries(1, 9), hardState: state(1, 4) });
    await wal.append({ entries: entries(5, 6, 2), hardState: state(2, 4) });
    expect((await contents()).entries).toEqual([...entries(1, 4), ...entries(5, 6, 2)]);
    expect((await failureOf(wal.append({ entries: [entry(9, 2)] }))).code).toBe('gap');
  });

  it('goes on after a snapshot that is ahead of the log', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    await wal.append({ entries: entries(1, 3), hardState: state(1, 3) });
    const snapshot = { index: 50, term: 4, confState: EMPTY };
    await wal.append({ snapshot, entries: entries(51, 52, 4), hardState: state(4, 50) });
    expect((await contents(snapshot)).entries).toEqual(entries(51, 52, 4));
    expect((await failureOf(contents())).code).toBe('gap');
  });

  it('refuses what does not follow, and appends nothing of it', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    for (const wrong of [[entry(2)], [entry(0)], [entry(1), entry(3)], [entry(1), entry(1)]]) {
      expect(await failureOf(wal.append({ entries: wrong, hardState: state(1, 0) }))).toMatchObject({ code: 'gap' });
    }
    await wal.close();
    expect(await contents()).toMatchObject({ entries: [], hardState: EMPTY_HARD_STATE });
  });

  it('writes and syncs once for all who wait', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    disk.before = (call) => (call === 'sync' ? gate : undefined);
    disk.writes = 0;
    disk.syncs = 0;
    const done: number[] = [];
    const append = (index: number) => wal.append({ entries: [entry(index)] }).then(() => done.push(index));
    const first = append(1);
    // The first one is in its sync; all others come meanwhile.
    while (disk.syncs === 0) await Promise.resolve();
    const others = Array.from({ length: 99 }, (_, i) => append(i + 2));
    expect([done.length, disk.writes, disk.syncs]).toEqual([0, 1, 1]);
    release();
    await Promise.all([first, ...others]);
    expect([done.length, disk.writes, disk.syncs]).toEqual([100, 2, 2]);
    expect(done).toEqual(entries(1, 100).map(({ index }) => index));
  });

  it('shares a round between those who append in one go', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    disk.syncs = 0;
    await Promise.all(entries(1, 64).map((one) => wal.append({ entries: [one] })));
    expect(disk.syncs).toBe(1);
  });

  it('syncs for a term or a vote, and not for a commit', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    const syncsOf = async (append: Promise<void>) => {
      disk.syncs = 0;
      await append;
      return disk.syncs;
    };
    expect(await syncsOf(wal.append({ entries: entries(1, 2), hardState: state(1, 0) }))).toBe(1);
    expect(await syncsOf(wal.append({ hardState: state(1, 1) }))).toBe(0);
    expect(await syncsOf(wal.append({ hardState: state(2, 1) }))).toBe(1);
    expect(await syncsOf(wal.append({ hardState: { ...state(2, 1), vote: 7n as typeof OWNER.memberId } }))).toBe(1);
    await wal.append({ hardState: { ...state(2, 2), vote: 7n as typeof OWNER.memberId } });
    await wal.close();
    expect((await contents()).hardState.commit).toBe(2);
  });

  it('takes a commit along with the next write', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    await wal.append({ entries: [entry(1)], hardState: state(1, 0) });
    await wal.append({ hardState: state(1, 1) });
    disk.writes = 0;
    await wal.append({ entries: [entry(2)] });
    expect(disk.writes).toBe(1);
    memory.crash('none');
    expect((await contents()).hardState).toEqual(state(1, 1));
  });
});

describe('files', () => {
  const segmentBytes = 2048;

  it('are begun when one has its length, and chained', async () => {
    let wal = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes });
    for (let i = 1; i <= 100; i++) await wal.append({ entries: [entry(i)], hardState: state(1, i - 1) });
    const names = [...(await image(disk)).keys()];
    expect(names.length).toBeGreaterThan(4);
    for (const [number, name] of names.entries())
      expect(name.slice(0, 17)).toBe(`${number.toString(16).padStart(16, '0')}-`);
    await wal.close();
    const opened = await Wal.open(disk, DIRECTORY, { segmentBytes });
    wal = opened.wal;
    expect(opened.contents.entries).toEqual(entries(1, 100));
    await wal.append({ entries: entries(101, 200) });
    expect((await contents()).entries).toEqual(entries(1, 200));
  });

  it('are begun by many appends that wait together', async () => {
    await using wal = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes });
    await Promise.all(entries(1, 200).map((one) => wal.append({ entries: [one] })));
    expect((await image(disk)).size).toBeGreaterThan(4);
    expect((await contents()).entries).toEqual(entries(1, 200));
  });

  it('have the hard state at their head, so that older ones can go', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes });
    await wal.append({ entries: [entry(1)], hardState: state(3, 0) });
    await wal.append({ hardState: state(3, 1) });
    for (let i = 2; i <= 100; i++) await wal.append({ entries: [entry(i, 3)] });
    await wal.append({ snapshot: { index: 90, term: 3, confState: EMPTY } });
    const before = [...(await image(disk)).keys()];
    await wal.release(90);
    const after = [...(await image(disk)).keys()];
    expect(after.length).toBeLessThan(before.length);
    expect(after).toEqual(before.slice(-after.length));
    expect(await contents({ term: 3, index: 90 })).toEqual({
      metadata: OWNER,
      hardState: state(3, 1),
      entries: entries(91, 100, 3),
    });
    memory.crash('none');
    expect([...(await image(disk)).keys()]).toEqual(after);
  });

  it('keeps what a snapshot does not cover', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes });
    for (let i = 1; i <= 100; i++) await wal.append({ entries: [entry(i)] });
    await wal.append({ snapshot: { index: 60, term: 1, confState: EMPTY } });
    await wal.release(60);
    expect((await contents({ term: 1, index: 60 })).entries).toEqual(entries(61, 100));
    await wal.release(10);
    await wal.release(1_000_000);
    expect((await image(disk)).size).toBe(1);
    await wal.append({ entries: [entry(101)] });
  });

  it('never lets a crash find the new file without all of the old one', async () => {
    // The name of the new file is durable as soon as it has it, and the last sync of the old one never comes.
    const wal = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes });
    await wal.append({ entries: entries(1, 30) });
    let order = '';
    disk.before = (call) => {
      order += call[0];
    };
    await wal.append({ entries: entries(31, 60) });
    // write, sync the old file, write and sync the new one, rename it, sync.
    expect(order).toBe('wswsrs');
  });
});

describe('failures', () => {
  it.each(['write', 'sync'] as const)('a failed %s is the last one', async (broken) => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    await wal.append({ entries: [entry(1)] });
    const cause = Object.assign(new Error('EIO'), { code: 'EIO' });
    let calls = 0;
    disk.before = (call) => {
      calls++;
      if (call === broken) throw cause;
    };
    const appends = [2, 3].map((index) => failureOf(wal.append({ entries: [entry(index)] })));
    await Promise.resolve();
    await Promise.resolve();
    appends.push(failureOf(wal.append({ entries: [entry(4)] })));
    for (const failure of await Promise.all(appends)) expect(failure).toMatchObject({ code: 'failed', cause });
    const before = calls;
    disk.before = () => {
      calls++;
    };
    expect(await failureOf(wal.append({ entries: [entry(4)] }))).toMatchObject({ code: 'failed', cause });
    expect(await failureOf(wal.append({ hardState: state(1, 1) }))).toMatchObject({ code: 'failed' });
    expect(await failureOf(wal.close())).toMatchObject({ code: 'failed' });
    expect(calls).toBe(before);
  });

  it('lets go of the directory even then', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    disk.before = () => {
      throw new Error('EIO');
    };
    await failureOf(wal.append({ entries: [entry(1)] }));
    await failureOf(wal.close());
    disk.before = () => {};
    await (await Wal.open(disk, DIRECTORY)).wal.close();
  });

  it('a closed log takes nothing', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    const last = wal.append({ entries: [entry(1)] });
    await wal.close();
    await last;
    await wal.close();
    expect((await failureOf(wal.append({ entries: [entry(2)] }))).code).toBe('closed');
    expect((await contents()).entries).toEqual([entry(1)]);
  });

  it('a locked log stays as it is', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    expect((await failureOf(Wal.open(disk, DIRECTORY))).code).toBe('locked');
    await wal.append({ entries: [entry(1)] });
    await wal.close();
    await (await Wal.open(disk, DIRECTORY)).wal.close();
  });

  it('stays locked in the files that come later', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes: 1024 });
    await wal.append({ entries: entries(1, 100) });
    expect((await image(disk)).size).toBe(2);
    expect((await failureOf(Wal.open(disk, DIRECTORY))).code).toBe('locked');
    await wal.close();
  });

  it('says what it did not find', async () => {
    const code = async (promise: Promise<unknown>) => (await failureOf(promise)).code;
    expect(await code(Wal.open(disk, DIRECTORY))).toBe('missing');
    await restore(memory, new Map([['notes', EMPTY]]), 'notes');
    expect(await code(Wal.open(disk, 'notes'))).toBe('foreign');
    await restore(memory, new Map([['a.wal', EMPTY]]), 'named');
    expect(await code(Wal.open(disk, 'named'))).toBe('foreign');

    const wal = await Wal.create(disk, DIRECTORY, OWNER, { segmentBytes: 512 });
    for (let i = 1; i <= 50; i++) await wal.append({ entries: [entry(i)] });
    await wal.append({ snapshot: { index: 40, term: 1, confState: EMPTY } });
    await wal.close();
    const stranger = { ...OWNER, clusterId: 9n as ClusterId };
    expect(await code(Wal.open(disk, DIRECTORY, { owner: stranger }))).toBe('foreign');
    expect(await code(Wal.open(disk, DIRECTORY, { from: { term: 1, index: 41 } }))).toBe('no-snapshot');
    expect(await code(Wal.open(disk, DIRECTORY, { from: { term: 2, index: 40 } }))).toBe('no-snapshot');
    const [, second] = [...(await image(disk)).keys()];
    await memory.remove(`${DIRECTORY}/${second}`);
    expect(await code(Wal.open(disk, DIRECTORY))).toBe('foreign');
  });

  it('never tells what was written', async () => {
    const wal = await Wal.create(disk, DIRECTORY, OWNER);
    disk.before = () => {
      throw new Error('EIO');
    };
    const secret = Buffer.from('hunter2');
    const failure = await failureOf(wal.append({ entries: [{ ...entry(1), data: secret }] }));
    expect(failure).toBeInstanceOf(WalError);
    expect(JSON.stringify([failure.message, failure])).not.toContain('hunter2');
  });
});

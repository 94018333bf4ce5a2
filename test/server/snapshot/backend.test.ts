import { describe, expect, it } from 'vitest';
import { PermissionType } from '../../../src/protocol/generated/authpb.ts';
import { hashKv } from '../../../src/server/mvcc/hash.ts';
import { KvStore } from '../../../src/server/mvcc/store.ts';
import { writeBackend } from '../../../src/server/snapshot/backend-image.ts';
import { BackendFileError, readBackendState, readStore } from '../../../src/server/snapshot/backend-reader.ts';
import type { BackendState } from '../../../src/server/snapshot/backend-state.ts';
import { commit, put } from '../mvcc/support.ts';
import { boltBytes, bucket, entriesOf, imageBytes, noPause, open } from './support.ts';

const MAX_ID = 2n ** 64n - 1n;

const EMPTY = {
  consistentIndex: 0n,
  term: 0n,
  confState: undefined,
  leases: [],
  alarms: [],
  clusterVersion: undefined,
  downgradeTarget: undefined,
  members: [],
  removedMembers: [],
  authEnabled: false,
  authRevision: 0n,
  users: [],
  roles: [],
} as const satisfies BackendState;

const FULL = {
  consistentIndex: MAX_ID,
  term: 3n,
  confState: { voters: [MAX_ID, 2n], learners: [3n], votersOutgoing: [4n], learnersNext: [5n], autoLeave: true },
  leases: [
    { ID: 1n, TTL: 60n, RemainingTTL: 0n },
    { ID: 256n, TTL: 60n, RemainingTTL: 7n },
  ],
  alarms: [{ memberID: 1n, alarm: 2 }],
  clusterVersion: '3.5.0',
  downgradeTarget: '3.4.0',
  members: [
    { id: 0xan, name: '', peerUrls: ['http://a:1'], clientUrls: [], isLearner: true },
    {
      id: MAX_ID,
      name: 'a "name"',
      peerUrls: ['http://b:1', 'http://b:2'],
      clientUrls: ['http://b:3'],
      isLearner: false,
    },
  ],
  removedMembers: [0xbn, 0xccn],
  authEnabled: true,
  authRevision: 9n,
  users: [
    { name: Buffer.from('ann'), password: Buffer.from('hash'), roles: ['r'], options: { noPassword: false } },
    { name: Buffer.from('bob'), password: new Uint8Array(), roles: [], options: { noPassword: true } },
  ],
  roles: [
    {
      name: Buffer.from('r'),
      keyPermission: [{ permType: PermissionType.READWRITE, key: Buffer.from('a'), rangeEnd: Buffer.from('b') }],
    },
  ],
} as const satisfies BackendState;

function bytesOf(state: BackendState, store = new KvStore()): Promise<Buffer> {
  return writeBackend(state, store, { pause: noPause }).then(imageBytes);
}

/** Byte arrays of whatever class as text, so that they compare. */
function plain(state: BackendState): unknown {
  return JSON.parse(
    JSON.stringify(state, (_name, value: unknown) => {
      if (typeof value === 'bigint') return `${value}n`;
      const bytes = (value as { type?: string; data?: number[] } | null)?.type === 'Buffer';
      if (bytes) return Buffer.from((value as { data: number[] }).data).toString('hex');
      return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
    }),
  );
}

describe('a backend image', () => {
  it.each([
    ['nothing', EMPTY],
    ['everything', FULL],
  ])('of %s reads back as it was', async (_name, state) => {
    expect(plain(await readBackendState(await open(await bytesOf(state))))).toEqual(plain(state));
  });

  it('has all of etcd’s buckets, also empty ones, and rows as etcd writes them', async () => {
    const store = new KvStore();
    commit(store, (txn) => put(txn, 'a', '1'));
    commit(store, (txn) => txn.deleteRange({ key: 'a', end: '' }));
    commit(store, (txn) => put(txn, 'b'));
    store.compact(2);
    const file = await open(await bytesOf(FULL, store));
    const names = 'alarm auth authRoles authUsers cluster key lease members members_removed meta'.split(' ');
    expect(await file.bucketNames()).toEqual(names);
    expect((await entriesOf(file, 'key')).map(([key]) => Buffer.from(key, 'latin1').toString('hex'))).toEqual([
      '00000000000000025f0000000000000000',
      '00000000000000035f000000000000000074',
      '00000000000000045f0000000000000000',
    ]);
    const compacted = '\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0';
    expect(await entriesOf(file, 'meta')).toEqual([
      [
        'confState',
        `{"voters":[${MAX_ID},2],"learners":[3],"voters_outgoing":[4],"learners_next":[5],"auto_leave":true}`,
      ],
      ['consistent_index', '\xff'.repeat(8)],
      ['finishedCompactRev', compacted],
      ['scheduledCompactRev', compacted],
      ['term', '\0\0\0\0\0\0\0\x03'],
    ]);
    expect(await entriesOf(file, 'members')).toEqual([
      ['a', '{"id":10,"peerURLs":["http://a:1"],"isLearner":true}'],
      [
        'f'.repeat(16),
        `{"id":${MAX_ID},"peerURLs":["http://b:1","http://b:2"],"name":"a \\"name\\"","clientURLs":["http://b:3"]}`,
      ],
    ]);
    expect(await entriesOf(file, 'cluster')).toEqual([
      ['clusterVersion', '3.5.0'],
      ['downgrade', '{"target-version":"3.4.0","enabled":true}'],
    ]);
    expect(await entriesOf(file, 'members_removed')).toEqual([
      ['b', 'removed'],
      ['cc', 'removed'],
    ]);
    expect(await entriesOf(file, 'alarm')).toEqual([['\x08\x01\x10\x02', '']]);
    expect((await entriesOf(file, 'lease')).map(([key]) => key)).toEqual(['\0\0\0\0\0\0\0\x01', '\0\0\0\0\0\0\x01\0']);
    expect((await entriesOf(file, 'authUsers'))[1]).toEqual(['bob', '\n\x03bob"\x02\x08\x01']);
  });

  it('is of the moment of the call, whatever is written while it goes out', async () => {
    const store = new KvStore();
    for (let i = 0; i < 2000; i += 1) commit(store, (txn) => put(txn, `k${i % 100}`, 'v'.repeat(100)));
    const hash = hashKv(store, store.revision);
    const { revision } = store;
    const leases = [{ ID: 1n, TTL: 60n, RemainingTTL: 0n }];
    const change = async (): Promise<void> => {
      leases.push({ ID: BigInt(leases.length + 1), TTL: 1n, RemainingTTL: 0n });
      commit(store, (txn) => txn.deleteRange({ key: `k${leases.length}`, end: '' }));
      store.compact(store.revision);
      store.sweep(500);
    };
    const image = await writeBackend({ ...EMPTY, leases }, store, { pause: change });
    const file = await open(await imageBytes(image));
    expect(leases.length).toBeGreaterThan(10);
    const copy = await readStore(file);
    expect([copy.revision, copy.compactRevision, hashKv(copy, revision)]).toEqual([revision, -1, hash]);
    expect((await readBackendState(file)).leases).toHaveLength(1);
  });

  it('takes the compaction that was begun for the store’s, whether it was finished or not', async () => {
    const rev = (main: number): string => `\0\0\0\0\0\0\0${String.fromCharCode(main)}_\0\0\0\0\0\0\0\0`;
    const load = async (...meta: [string, string][]): Promise<number[]> => {
      const store = await readStore(await open(await boltBytes([bucket('key', []), bucket('meta', meta)])));
      return [store.compactRevision, store.revision];
    };
    expect(await load()).toEqual([-1, 1]);
    expect(await load(['finishedCompactRev', rev(3)], ['scheduledCompactRev', rev(5)])).toEqual([5, 5]);
    expect(await load(['finishedCompactRev', rev(5)], ['scheduledCompactRev', rev(5)])).toEqual([5, 5]);
  });

  it('refuses what is no etcd’s, and tells nothing of what it has read', async () => {
    const read = async (...buckets: Parameters<typeof boltBytes>[0]): Promise<unknown> => {
      const file = await open(await boltBytes(buckets));
      return readBackendState(file).then(
        () => 'read',
        (error: unknown) => (error instanceof BackendFileError ? error.message : error),
      );
    };
    const etcds = [bucket('key', []), bucket('meta', [])];
    expect(await read(...etcds)).toBe('read');
    expect(await read(bucket('key', []))).toBe("a bbolt file without etcd's bucket meta");
    await expect(readStore(await open(await boltBytes([bucket('meta', [])])))).rejects.toThrow('bucket key');
    const broken: Record<string, [string, string]> = {
      alarm: ['secret', ''],
      auth: ['authRevision', 'secret'],
      authRoles: ['secret', 'secret'],
      authUsers: ['secret', 'secret'],
      cluster: ['downgrade', '{"secret'],
      lease: ['secret', 'secret'],
      members: ['a', '{"name":7}'],
      members_removed: ['secret', 'removed'],
    };
    for (const [name, row] of Object.entries(broken)) {
      const buckets = [...etcds, bucket(name, [row])].sort((a, b) => (a.name < b.name ? -1 : 1));
      expect(await read(...buckets)).toBe(`a row of etcd's bucket ${name} that can't be decoded`);
    }
    expect(await read(bucket('key', []), bucket('meta', [['confState', '{"voters":["secret"]}']]))).toContain(
      'bucket meta',
    );
  });
});

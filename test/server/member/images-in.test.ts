/** What is taken from a snapshot of etcd's besides the image. */
import { describe, expect, it } from 'vitest';
import { StateMachine } from '../../../src/server/apply/machine.ts';
import { SimpleTokens } from '../../../src/server/auth/simple-tokens.ts';
import { ImagesIn } from '../../../src/server/member/images-in.ts';
import type { Snapshots } from '../../../src/server/member/snapshots.ts';
import { KvStore } from '../../../src/server/mvcc/store.ts';
import { message, type Snapshot } from '../../../src/server/raft/index.ts';
import { writeBackend } from '../../../src/server/snapshot/backend-image.ts';
import { encodeV2Store } from '../../../src/server/snapshot/v2-store.ts';

const pause = async (): Promise<void> => {};
const said = { id: 1n, name: 'a', peerUrls: ['http://a:2380'], clientUrls: ['http://a:2379'], isLearner: false };
const confState = { voters: [1n, 2n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

/** Takes in an image whose rows of members lack what members say of themselves, with this beside it. */
async function taken(data: Uint8Array, imageHas: boolean) {
  const tokens = new SimpleTokens({
    now: () => 0,
    actor: () => undefined as never,
    appliedIndex: () => 0n,
    resumedAt: 0n,
    waitApplied: pause,
    randomBytes: (count) => new Uint8Array(count),
  });
  const state = new StateMachine({ tokens, minTtlSeconds: 2, quotaBytes: 0 });
  const lacking: boolean[] = [];
  const snapshots = {
    suspend: async () => () => {},
    installed: (_index: number, lacks: boolean) => lacking.push(lacks),
  };
  const images = new ImagesIn({
    state,
    journal: { append: () => undefined, writtenBytes: 0, release: pause, close: pause },
    files: undefined,
    snapshots: snapshots as unknown as Snapshots,
    pause,
    take: () => true,
    installed: () => {},
  });
  const store = new KvStore();
  const txn = store.write();
  txn.put(Buffer.from('k'), 'k', Buffer.alloc(600_000), 0n);
  txn.end();
  const rows = {
    ...state.rows(),
    consistentIndex: 7n,
    term: 2n,
    members: [imageHas ? said : { ...said, clientUrls: [] }],
  };
  const image = await writeBackend(rows, store, { pause });
  const snapshot = { index: 7, term: 2, confState, data } as unknown as Snapshot;
  await images.receive(message('MsgSnap', { snapshot }), image.chunks);
  const swap = await images.install(snapshot, {});
  expect(state.index).toBe(0);
  swap();
  expect([state.index, state.term, state.store.revision]).toEqual([7, 2, 2]);
  return { members: state.members.list(), lacking };
}

describe('an image', () => {
  it('is completed by what a server 3.5 keeps beside it, and that is soon in an own one', async () => {
    const data = encodeV2Store({ members: [said], removedMembers: [], clusterVersion: undefined });
    expect(await taken(data, false)).toEqual({ members: [said], lacking: [true] });
    expect(await taken(data, true)).toEqual({ members: [said], lacking: [false] });
    const bare = { ...said, clientUrls: [] };
    expect(await taken(new Uint8Array(), false)).toEqual({ members: [bare], lacking: [false] });
  });
});

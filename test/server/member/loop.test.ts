import { describe, expect, it } from 'vitest';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { APPLY_SLICE, Loop, type LoopTasks } from '../../../src/server/member/loop.ts';
import { type Entry, MemoryStorage, type Message, message, RawNode } from '../../../src/server/raft/index.ts';
import { type Deferred, deferred } from '../../../src/support/signals.ts';

const SELF = 0x8e9e_05c5_2164_694dn as MemberId;
const LEADER = 0x1b2c_3d4e_5f60_7182n as MemberId;

function entry(index: number): Entry {
  return { type: 'EntryNormal', term: 1, index, data: Uint8Array.of(index % 256) };
}

/** A follower whose journal writes when it is told to; what is not to be synced is done at once, as with the real one. */
function follower() {
  const confState = { voters: [LEADER, SELF], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  const storage = new MemoryStorage();
  storage.applySnapshot({ index: 1, term: 1, confState, data: new Uint8Array() });
  storage.setHardState({ term: 1, vote: LEADER, commit: 1 });
  const common = { id: SELF, storage, random: () => 0, electionTicks: 10, heartbeatTicks: 1 };
  const node = new RawNode({ ...common, asyncStorageWrites: true });
  const writes: Deferred<void>[] = [];
  const sent: Message[] = [];
  const applied: number[] = [];
  const pauses: Deferred<void>[] = [];
  const installs: { index: number; done: Deferred<() => void> }[] = [];
  let failure: unknown;
  const nothing = (): void => {};
  const tasks: LoopTasks = {
    gather: nothing,
    settled: nothing,
    applied: nothing,
    softState: nothing,
    readStates: nothing,
    sendSnapshot: nothing,
    install: (snapshot) => {
      const done = deferred<() => void>();
      installs.push({ index: snapshot.index, done });
      return done.promise;
    },
    written: nothing,
    apply: ({ index }) => applied.push(index),
    failed: (error) => {
      failure = error;
    },
  };
  const loop = new Loop({
    node,
    storage,
    journal: {
      append({ entries = [] }) {
        if (entries.length === 0) return Promise.resolve();
        const write = deferred<void>();
        writes.push(write);
        return write.promise;
      },
      writtenBytes: 0,
      async release() {},
      async close() {},
    },
    peers: {
      send(messages) {
        sent.push(...messages);
      },
    },
    pause: () => {
      const pause = deferred<void>();
      pauses.push(pause);
      return pause.promise;
    },
    now: () => 0,
    tasks,
  });
  const step = async (m: Message): Promise<void> => {
    loop.with((raw) => raw.step(m));
    await settle();
  };
  return { loop, step, storage, writes, sent, applied, pauses, installs, failure: () => failure };
}

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

function append(first: number, last: number, commit: number): Message {
  const entries = Array.from({ length: last - first + 1 }, (_, i) => entry(first + i));
  const fields = { from: LEADER, to: SELF, term: 1, logTerm: 1, index: first - 1 };
  return message('MsgApp', { ...fields, entries, commit });
}

describe('the loop', () => {
  it('answers for no write before the writes that came before it are done', async () => {
    const { step, writes, sent, applied } = follower();
    await step(append(2, 3, 1));
    // Only the commit index is new: nothing of this waits for the disk, but what is committed does.
    await step(message('MsgApp', { from: LEADER, to: SELF, term: 1, logTerm: 1, index: 3, commit: 3 }));
    expect([applied, sent.filter(({ type }) => type === 'MsgAppResp')]).toEqual([[], []]);
    writes[0]?.resolve();
    await settle();
    expect(applied).toEqual([2, 3]);
    expect(sent.filter(({ type }) => type === 'MsgAppResp').map(({ index }) => index)).toEqual([3, 3]);
  });

  it('lets others have their turn while it applies a backlog, and keeps the order', async () => {
    const { step, writes, applied, pauses } = follower();
    const last = 2 * APPLY_SLICE + 100;
    await step(append(2, last, last));
    writes[0]?.resolve();
    await settle();
    expect(applied.length).toBe(APPLY_SLICE);
    pauses[0]?.resolve();
    await settle();
    expect(applied.length).toBe(2 * APPLY_SLICE);
    pauses[1]?.resolve();
    await settle();
    expect(applied).toEqual(Array.from({ length: last - 1 }, (_, i) => i + 2));
  });

  it('puts an image in place when all before it is applied, and does nothing after it sooner', async () => {
    const { step, storage, writes, sent, applied, pauses, installs } = follower();
    const last = APPLY_SLICE + 100;
    await step(append(2, last, last));
    writes[0]?.resolve();
    await settle();
    const { confState } = storage.initialState();
    const snapshot = { index: 2_000, term: 1, confState, data: new Uint8Array() };
    await step(message('MsgSnap', { from: LEADER, to: SELF, term: 1, snapshot }));
    expect([applied.length, installs.length]).toEqual([APPLY_SLICE, 0]);
    pauses[0]?.resolve();
    await settle();
    expect([applied.length, installs.map(({ index }) => index)]).toEqual([last - 1, [2_000]]);
    // What follows the image comes meanwhile.
    sent.length = 0;
    await step(append(2_001, 2_002, 2_002));
    expect([writes.length, applied.length, sent, storage.lastIndex()]).toEqual([1, last - 1, [], last]);
    const swapped: number[] = [];
    installs[0]?.done.resolve(() => swapped.push(applied.length));
    await settle();
    expect([swapped, storage.lastIndex(), writes.length]).toEqual([[last - 1], 2_000, 2]);
    expect(sent.map(({ type, index }) => [type, index])).toEqual([['MsgAppResp', 2_000]]);
    writes[1]?.resolve();
    await settle();
    expect(applied.slice(last - 1)).toEqual([2_001, 2_002]);
    expect(sent.at(-1)).toMatchObject({ type: 'MsgAppResp', index: 2_002 });
  });

  it('ends at a write that fails: nothing is applied or sent any more', async () => {
    const { loop, step, writes, sent, applied, failure } = follower();
    await step(append(2, 3, 3));
    const error = new Error('no');
    writes[0]?.reject(error);
    await settle();
    expect(failure()).toBe(error);
    sent.length = 0;
    await step(append(4, 4, 4));
    loop.wake();
    await settle();
    expect([sent, applied, writes.length]).toEqual([[], [], 1]);
  });
});

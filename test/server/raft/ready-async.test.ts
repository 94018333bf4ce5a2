/** Storage work as messages: what goes to which thread, what waits for it, and which of its answers count. */
import { describe, expect, it } from 'vitest';
import { RaftInvariantError } from '../../../src/server/raft/errors.ts';
import type { RaftEvent } from '../../../src/server/raft/events.ts';
import type { MemoryStorage } from '../../../src/server/raft/log/storage.ts';
import { RawNode } from '../../../src/server/raft/raw-node.ts';
import {
  APPEND_THREAD,
  APPLY_THREAD,
  type Entry,
  type Message,
  message,
  NONE,
} from '../../../src/server/raft/types.ts';
import { bytes, entry, id, type MemberOptions, msg, newConfig, newStorage, snapshot } from './support.ts';

/** A member whose threads do nothing by themselves. */
class Slow {
  readonly node: RawNode;
  readonly storage: MemoryStorage;

  constructor(options: MemberOptions) {
    this.storage = newStorage(options);
    this.node = new RawNode({ ...newConfig(1, options, this.storage), asyncStorageWrites: true });
  }

  /** The messages of the next Ready. */
  take(): readonly Message[] {
    return this.node.hasReady() ? this.node.ready().messages : [];
  }

  /** The write among them; there has to be one. */
  write(): Message {
    return this.take().find(({ to }) => to === APPEND_THREAD)!;
  }

  /** The append thread does a write, and its answers come: those to others are returned. */
  written(work: Message): Message[] {
    if (work.snapshot) this.storage.applySnapshot(work.snapshot);
    this.storage.append(work.entries);
    return this.answered(work);
  }

  answered({ responses }: Message): Message[] {
    for (const m of responses) if (m.to === this.node.id) this.node.step(m);
    return responses.filter(({ to }) => to !== this.node.id);
  }

  settle(): void {
    for (const m of this.take()) {
      if (m.to === APPEND_THREAD) this.written(m);
      else if (m.to === APPLY_THREAD) this.answered(m);
    }
    if (this.node.hasReady()) this.settle();
  }
}

const append = (from: number, term: number, after: Entry | undefined, entries: Entry[], commit = 0): Message => {
  return msg(from, 1, 'MsgApp', { term, logTerm: after?.term ?? 0, index: after?.index ?? 0, entries, commit });
};

describe('with asyncStorageWrites', () => {
  it('a write says what to write, and holds back what it makes true: promises first, then its own report', () => {
    const member = new Slow({ voters: [1, 2, 3] });
    member.node.step(append(2, 1, undefined, [entry(1, 1), entry(1, 2)], 1));
    expect(member.take()).toEqual([
      message('MsgStorageAppend', {
        to: APPEND_THREAD,
        from: id(1),
        term: 1,
        commit: 1,
        entries: [entry(1, 1), entry(1, 2)],
        responses: [
          msg(1, 2, 'MsgAppResp', { term: 1, index: 2 }),
          message('MsgStorageAppendResp', { to: id(1), from: APPEND_THREAD, term: 1, logTerm: 1, index: 2 }),
        ],
      }),
    ]);
    expect(member.node.hasReady()).toBe(false);
  });

  it('a vote leaves after it is written, and then nobody has to hear of the disk', () => {
    const member = new Slow({ voters: [1, 2, 3] });
    member.node.step(msg(2, 1, 'MsgVote', { term: 4, logTerm: 3, index: 3 }));
    const [write, ...others] = member.take();
    expect(others).toEqual([]);
    expect(write).toMatchObject({ to: APPEND_THREAD, term: 4, vote: id(2), entries: [] });
    expect(write!.responses).toEqual([msg(1, 2, 'MsgVoteResp', { term: 4 })]);
  });

  it('an acknowledgement waits behind the write that it is about, though nothing more is to be written', () => {
    const member = new Slow({ voters: [1, 2, 3] });
    const repeated = append(2, 1, undefined, [entry(1, 1)]);
    member.node.step(repeated);
    member.write();
    // The leader asks again before the disk has done it.
    member.node.step(repeated);
    expect(member.take()).toMatchObject([
      {
        to: APPEND_THREAD,
        entries: [],
        responses: [msg(1, 2, 'MsgAppResp', { term: 1, index: 1 }), { from: APPEND_THREAD }],
      },
    ]);
  });

  it('a commit index is written too, though nothing waits for it', () => {
    const member = new Slow({
      voters: [1, 2, 3],
      entries: [entry(1, 1)],
      hardState: { term: 1, vote: NONE, commit: 0 },
    });
    member.node.step(msg(2, 1, 'MsgHeartbeat', { term: 1, commit: 1 }));
    const [answer, write, apply, ...more] = member.take();
    expect(answer).toEqual(msg(1, 2, 'MsgHeartbeatResp', { term: 1 }));
    expect(write).toEqual(message('MsgStorageAppend', { to: APPEND_THREAD, from: id(1), term: 1, commit: 1 }));
    expect(apply).toMatchObject({ to: APPLY_THREAD, entries: [entry(1, 1)] });
    expect(more).toEqual([]);
  });

  it('term, vote and commit are left out if they did not change', () => {
    const member = new Slow({ voters: [1, 2, 3] });
    member.node.step(append(2, 1, undefined, [entry(1, 1)]));
    member.take();
    member.node.step(append(2, 1, entry(1, 1), [entry(1, 2)]));
    expect(member.write()).toMatchObject({ term: 0, vote: NONE, commit: 0, entries: [entry(1, 2)] });
  });

  it('a snapshot goes with the write, and its report with the answer', () => {
    const member = new Slow({ voters: [1, 2, 3] });
    const sent = snapshot(9, 2, [1, 2, 3]);
    member.node.step(msg(2, 1, 'MsgSnap', { term: 2, snapshot: sent }));
    const write = member.write();
    expect(write).toMatchObject({ snapshot: sent, entries: [] });
    expect(write.responses).toEqual([
      msg(1, 2, 'MsgAppResp', { term: 2, index: 9 }),
      message('MsgStorageAppendResp', { to: id(1), from: APPEND_THREAD, term: 2, snapshot: sent }),
    ]);
    expect(member.node.basicStatus().applied).toBe(0);
    member.written(write);
    expect(member.node.basicStatus().applied).toBe(9);
  });

  it('a snapshot that was written in an earlier term is written all the same', () => {
    const member = new Slow({ voters: [1, 2, 3] });
    member.node.step(msg(2, 1, 'MsgSnap', { term: 2, snapshot: snapshot(9, 2, [1, 2, 3]) }));
    const write = member.write();
    member.node.step(msg(3, 1, 'MsgHeartbeat', { term: 3 }));
    member.written(write);
    expect(member.node.basicStatus().applied).toBe(9);
    expect(member.node.raft.log.unstable.snapshot).toBeUndefined();
  });

  it('a member votes for itself, and counts its own entry, once that is written', () => {
    const member = new Slow({ voters: [1] });
    const { node } = member;
    node.campaign();
    const vote = member.write();
    expect(node.basicStatus().softState.role).toBe('StateCandidate');
    member.written(vote);
    expect(node.basicStatus().softState.role).toBe('StateLeader');
    const first = member.write();
    expect(node.basicStatus().hardState.commit).toBe(0);
    member.written(first);
    expect(node.basicStatus().hardState.commit).toBe(1);
  });

  it('what a quorum of others has is committed, and applied only once the own disk has it too', () => {
    const member = new Slow({ voters: [1, 2, 3] });
    const { node } = member;
    node.campaign();
    member.written(member.write());
    node.step(msg(2, 1, 'MsgVoteResp', { term: 1 }));
    const write = member.write();
    for (const n of [2, 3]) node.step(msg(n, 1, 'MsgAppResp', { term: 1, index: 1 }));
    expect(node.basicStatus().hardState.commit).toBe(1);
    expect(member.take().filter(({ to }) => to === APPLY_THREAD)).toEqual([]);
    member.written(write);
    expect(member.take().filter(({ to }) => to === APPLY_THREAD)).toMatchObject([{ entries: [entry(1, 1)] }]);
  });

  it('entries are handed to each thread once, though neither answers', () => {
    const member = new Slow({
      voters: [1, 2, 3],
      entries: [entry(1, 1)],
      hardState: { term: 1, vote: NONE, commit: 0 },
    });
    const { node } = member;
    node.step(append(2, 1, entry(1, 1), [entry(1, 2)], 1));
    expect(member.take().map(({ to, entries }) => [to, entries])).toEqual([
      [APPEND_THREAD, [entry(1, 2)]],
      [APPLY_THREAD, [entry(1, 1)]],
    ]);
    node.step(append(2, 1, entry(1, 2), [entry(1, 3)], 1));
    expect(member.take().map(({ to, entries }) => [to, entries])).toEqual([[APPEND_THREAD, [entry(1, 3)]]]);
    expect(node.hasReady()).toBe(false);
  });

  it('a report of the disk counts for what it was asked to write, not for the same entry after it was replaced (ABA)', () => {
    const stale: RaftEvent[] = [];
    const observe = (event: RaftEvent) => event.type.startsWith('stale') && stale.push(event);
    const member = new Slow({ voters: [1, 2, 3, 4], observe });
    const { unstable } = member.node.raft.log;
    // Entry 1 of term 1, then another one in its place, then the first one again, all on their way to the disk.
    const writes = [
      append(2, 1, undefined, [entry(1, 1, 'a')]),
      append(3, 2, undefined, [entry(2, 1, 'b')]),
      append(4, 3, undefined, [entry(1, 1, 'a')], 1),
    ].map((m) => {
      member.node.step(m);
      return member.write();
    });
    expect(unstable.entries).toEqual([entry(1, 1, 'a')]);
    // The disk has a; b is on its way and will replace it.
    member.written(writes[0]!);
    expect(unstable.offset).toBe(1);
    expect(member.take()).toEqual([]);
    member.written(writes[1]!);
    expect(unstable.offset).toBe(1);
    expect(stale).toEqual([
      { type: 'stale-append-response', term: 1, entry: { term: 1, index: 1 } },
      { type: 'stale-append-response', term: 2, entry: { term: 2, index: 1 } },
    ]);
    member.written(writes[2]!);
    expect(unstable).toMatchObject({ offset: 2, entries: [] });
    expect(member.take()).toMatchObject([{ to: APPLY_THREAD, entries: [entry(1, 1, 'a')] }]);
  });

  it('a report of the own term about an entry that was replaced since does not count either', () => {
    const events: RaftEvent[] = [];
    const member = new Slow({ voters: [1, 2, 3], observe: (event) => events.push(event) });
    member.node.step(append(2, 2, undefined, [entry(1, 1)]));
    member.write();
    const report = message('MsgStorageAppendResp', { to: id(1), from: APPEND_THREAD, term: 2, logTerm: 9, index: 1 });
    member.node.step(report);
    expect(member.node.raft.log.unstable.offset).toBe(1);
    expect(events.at(-1)).toEqual({ type: 'stable-ignored', reason: 'mismatched', entry: { term: 9, index: 1 } });
  });

  it('pages wait for each other: no more is out than the limit, though it is written and committed (CommitPaginationWithAsyncStorageWrites)', () => {
    const member = new Slow({ voters: [1], maxCommittedSizePerReady: 2_048 });
    const { node } = member;
    node.campaign();
    member.settle();
    for (let nth = 0; nth < 3; nth += 1) node.propose(bytes('a'.repeat(1_000)));
    member.written(member.write());
    const pages = () => member.take().filter(({ to }) => to === APPLY_THREAD);
    const [first] = pages();
    expect(first?.entries.map(({ index }) => index)).toEqual([2, 3]);
    // One more comes and is committed: it waits behind the third.
    node.propose(bytes('a'));
    member.written(member.write());
    expect(pages()).toEqual([]);
    expect(node.basicStatus().hardState.commit).toBe(5);
    expect(node.hasReady()).toBe(false);
    member.answered(first!);
    expect(node.basicStatus().applied).toBe(3);
    expect(pages().map(({ entries }) => entries.map(({ index }) => index))).toEqual([[4, 5]]);
  });

  it('there is nothing to advance', () => {
    const member = new Slow({ voters: [1] });
    member.node.campaign();
    member.node.ready();
    expect(() => member.node.advance()).toThrow(RaftInvariantError);
  });
});

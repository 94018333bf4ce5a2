/** A member from outside: what `Ready` says from founding on, after restarts, and which messages it takes. */
import { describe, expect, it } from 'vitest';
import { asV2, type ConfChange, confChangeEntry, readConfChange } from '../../../src/server/raft/conf-change.ts';
import { RaftInvariantError } from '../../../src/server/raft/errors.ts';
import { MemoryStorage } from '../../../src/server/raft/log/storage.ts';
import { RawNode } from '../../../src/server/raft/raw-node.ts';
import type { Ready } from '../../../src/server/raft/ready.ts';
import {
  APPEND_THREAD,
  APPLY_THREAD,
  isLocal,
  isResponse,
  type MessageType,
  message,
  NONE,
} from '../../../src/server/raft/types.ts';
import {
  bytes,
  confState,
  entry,
  id,
  ids,
  type MemberOptions,
  msg,
  NodeMember,
  newConfig,
  newStorage,
  snapshot,
} from './support.ts';

interface Made {
  readonly node: RawNode;
  readonly storage: MemoryStorage;
}

function newNode(options: MemberOptions = {}): Made {
  const storage = newStorage(options);
  return { node: new RawNode(newConfig(1, options, storage)), storage };
}

/** A member that has founded its cluster and done all that was to do. */
function founded(...members: number[]): NodeMember {
  const member = new NodeMember(1, { storage: new MemoryStorage() }, 'ready');
  member.node.bootstrap(members.map((n) => ({ id: id(n), context: bytes('') })));
  member.work();
  return member;
}

/** What is in it, without what is not. */
function told(ready: Ready): Partial<Ready> {
  const filled = Object.entries(ready).filter(
    ([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0),
  );
  return Object.fromEntries(filled);
}

/** Does what `Ready` asks for, and tells what that was. */
function next({ node, storage }: Made): Partial<Ready> {
  expect(node.hasReady()).toBe(true);
  const ready = node.ready();
  if (ready.snapshot) storage.applySnapshot(ready.snapshot);
  storage.append(ready.entries);
  if (ready.hardState) storage.setHardState(ready.hardState);
  for (const one of ready.committedEntries) if (one.type !== 'EntryNormal') node.applyConfChange(readConfChange(one));
  node.advance();
  return told(ready);
}

describe('a cluster of one', () => {
  it('says all that it does, from founding to the first proposal (RawNodeStart)', () => {
    const made = newNode({ storage: new MemoryStorage() });
    const { node } = made;
    expect(node.hasReady()).toBe(false);

    const founder: ConfChange = { type: 'add-voter', nodeId: id(1), id: 0n, context: bytes('url') };
    const first = { ...confChangeEntry(founder), term: 1, index: 1 };
    node.bootstrap([{ id: id(1), context: bytes('url') }]);
    expect(next(made)).toEqual({
      hardState: { term: 1, vote: NONE, commit: 1 },
      entries: [first],
      committedEntries: [first],
      mustSync: true,
    });
    expect(node.hasReady()).toBe(false);

    // Its own vote counts once it is on disk: it does not lead yet.
    node.campaign();
    expect(next(made)).toEqual({
      softState: { lead: NONE, role: 'StateCandidate' },
      hardState: { term: 2, vote: id(1), commit: 1 },
      mustSync: true,
    });
    // Its own entry counts once it is on disk: it is not committed yet.
    expect(next(made)).toEqual({
      softState: { lead: id(1), role: 'StateLeader' },
      entries: [entry(2, 2)],
      mustSync: true,
    });
    expect(next(made)).toEqual({
      hardState: { term: 2, vote: id(1), commit: 2 },
      committedEntries: [entry(2, 2)],
      mustSync: false,
    });
    expect(node.hasReady()).toBe(false);

    expect(node.propose(bytes('foo'))).toBeUndefined();
    expect(next(made)).toEqual({ entries: [entry(2, 3, 'foo')], mustSync: true });
    expect(next(made)).toEqual({
      hardState: { term: 2, vote: id(1), commit: 3 },
      committedEntries: [entry(2, 3, 'foo')],
      mustSync: false,
    });
    expect(node.hasReady()).toBe(false);
  });

  it('adds a member once, however often it is asked to (RawNodeProposeAddDuplicateNode)', () => {
    const member = founded(1);
    member.node.campaign();
    member.work();
    const before = member.applied.length;
    const add = (n: number): ConfChange => ({ type: 'add-voter', nodeId: id(n), id: 0n, context: bytes('') });
    for (const n of [1, 1]) {
      member.node.proposeConfChange(add(n));
      member.work();
    }
    expect(member.node.proposeConfChange(add(2))).toBeUndefined();
    member.work();
    expect(member.applied.slice(before).map(readConfChange)).toEqual([add(1), add(1), add(2)]);
    expect(member.configurations.slice(-3).map(({ voters }) => voters)).toEqual([ids(1), ids(1), ids(1, 2)]);
  });

  it('answers reads in the next Ready, once (RawNodeReadIndex)', () => {
    const made = newNode({ voters: [1] });
    const { node } = made;
    node.campaign();
    next(made);
    next(made);
    // It leads, and its first entry is committed as soon as the disk has it; here that is so and nobody has heard of it.
    node.readIndex(bytes('one'));
    expect(node.hasReady()).toBe(true);
    expect(next(made)).toMatchObject({ readStates: [{ index: 1, context: bytes('one') }] });
    expect(node.hasReady()).toBe(false);
    node.readIndex(bytes('two'));
    expect(next(made)).toEqual({ readStates: [{ index: 1, context: bytes('two') }], mustSync: false });
    expect(node.hasReady()).toBe(false);
  });

  it('lets reads wait until an entry of its own term is committed: before, it may be behind what it answered for', () => {
    const made = newNode({
      voters: [1],
      entries: [entry(1, 1, 'a'), entry(1, 2, 'b')],
      hardState: { term: 1, vote: id(1), commit: 1 },
    });
    const { node } = made;
    next(made);
    node.campaign();
    next(made);
    node.readIndex(bytes('x'));
    expect(next(made)).not.toHaveProperty('readStates');
    expect(next(made)).toMatchObject({
      hardState: { commit: 3 },
      readStates: [{ index: 3, context: bytes('x') }],
    });
  });
});

describe('bootstrap', () => {
  it('founds a cluster of several: changes of term 1, committed and in force before anybody applies them', () => {
    const made = newNode({ storage: new MemoryStorage() });
    const { node } = made;
    node.bootstrap([3, 1, 2].map((n) => ({ id: id(n), context: bytes(`url${n}`) })));
    expect(node.status().configuration.voters).toEqual({ incoming: ids(1, 2, 3), outgoing: [] });
    const { committedEntries, ...rest } = next(made);
    expect(rest).toMatchObject({
      hardState: { term: 1, vote: NONE, commit: 3 },
      entries: committedEntries,
      mustSync: true,
    });
    expect(committedEntries?.map((one) => [one.term, one.index, readConfChange(one)])).toEqual(
      [3, 1, 2].map((n, at) => [1, at + 1, { type: 'add-voter', nodeId: id(n), id: 0n, context: bytes(`url${n}`) }]),
    );
    // Applied again by the loop: nothing changed.
    expect(node.status().configuration.voters.incoming).toEqual(ids(1, 2, 3));
    expect(node.basicStatus()).toMatchObject({ applied: 3, hardState: { term: 1 } });
  });

  it('lets nobody found a cluster of none, or one that is there', () => {
    expect(() => newNode().node.bootstrap([])).toThrow(RaftInvariantError);
    const { node } = newNode({ entries: [entry(1, 1)] });
    expect(() => node.bootstrap([{ id: id(1), context: bytes('') }])).toThrow(RaftInvariantError);
  });
});

describe('a member that comes back', () => {
  it('applies again what was committed, and has nothing to write (RawNodeRestart)', () => {
    const made = newNode({
      voters: [1, 2],
      entries: [entry(1, 1), entry(1, 2, 'foo')],
      hardState: { term: 1, vote: NONE, commit: 1 },
    });
    expect(next(made)).toEqual({ committedEntries: [entry(1, 1)], mustSync: false });
    expect(made.node.hasReady()).toBe(false);
  });

  it('goes on behind its snapshot (RawNodeRestartFromSnapshot)', () => {
    const storage = new MemoryStorage();
    storage.applySnapshot(snapshot(2, 1, [1, 2]));
    storage.append([entry(1, 3, 'foo')]);
    storage.setHardState({ term: 1, vote: NONE, commit: 3 });
    const made = newNode({ storage });
    expect(next(made)).toEqual({ committedEntries: [entry(1, 3, 'foo')], mustSync: false });
    expect(made.node.hasReady()).toBe(false);
    expect(made.node.status().configuration.voters.incoming).toEqual(ids(1, 2));
  });

  it('goes on where the application says that it is', () => {
    const entries = [entry(1, 1), entry(1, 2, 'foo')];
    const made = newNode({ voters: [1, 2], entries, hardState: { term: 1, vote: NONE, commit: 2 }, applied: 1 });
    expect(next(made)).toEqual({ committedEntries: [entry(1, 2, 'foo')], mustSync: false });
  });

  it('votes for nobody else in the term in which it has voted', () => {
    const { node } = newNode({ voters: [1, 2, 3], hardState: { term: 3, vote: id(2), commit: 0 } });
    for (const from of [3, 2]) node.step(msg(from, 1, 'MsgVote', { term: 3 }));
    expect(node.ready().messages).toEqual([
      msg(1, 3, 'MsgVoteResp', { term: 3, reject: true }),
      msg(1, 2, 'MsgVoteResp', { term: 3 }),
    ]);
  });

  it('does not start from what can not be', () => {
    const start = (options: MemberOptions) => () => newNode({ voters: [1], entries: [entry(1, 1)], ...options });
    expect(start({ hardState: { term: 1, vote: NONE, commit: 2 } })).toThrow(RaftInvariantError);
    expect(start({ hardState: { term: 1, vote: NONE, commit: 0 }, applied: 1 })).toThrow(RaftInvariantError);
    const storage = new MemoryStorage();
    storage.applySnapshot(snapshot(5, 1, [1]));
    expect(start({ storage, applied: 4 })).toThrow(RaftInvariantError);
    storage.setHardState({ term: 1, vote: NONE, commit: 4 });
    expect(start({ storage })).toThrow(RaftInvariantError);
  });
});

describe('step', () => {
  const types = [
    ...(['MsgHup', 'MsgBeat', 'MsgProp', 'MsgApp', 'MsgAppResp', 'MsgVote', 'MsgVoteResp', 'MsgSnap'] as const),
    ...(['MsgHeartbeat', 'MsgHeartbeatResp', 'MsgUnreachable', 'MsgSnapStatus', 'MsgCheckQuorum'] as const),
    ...(['MsgTransferLeader', 'MsgTimeoutNow', 'MsgReadIndex', 'MsgReadIndexResp', 'MsgPreVote'] as const),
    ...(['MsgPreVoteResp', 'MsgStorageAppend', 'MsgStorageAppendResp', 'MsgStorageApply'] as const),
    ...(['MsgStorageApplyResp', 'MsgForgetLeader'] as const),
  ] satisfies readonly MessageType[];
  const local = ['MsgHup', 'MsgBeat', 'MsgUnreachable', 'MsgSnapStatus', 'MsgCheckQuorum'];
  const storage = ['MsgStorageAppend', 'MsgStorageAppendResp', 'MsgStorageApply', 'MsgStorageApplyResp'];
  const answers = ['MsgAppResp', 'MsgVoteResp', 'MsgHeartbeatResp', 'MsgReadIndexResp', 'MsgPreVoteResp'];

  it.each(types)('takes %s from members, strangers and threads as its kind allows (RawNodeStep)', (type) => {
    const refusals = [id(2), id(9), APPEND_THREAD, APPLY_THREAD].map((from) => {
      // With an entry, so that it refuses its vote: who asks here has no term.
      const started = { entries: [entry(1, 1)], hardState: { term: 1, vote: NONE, commit: 1 } };
      const { node } = newNode({ voters: [1, 2], ...started });
      const content = type === 'MsgSnap' ? { snapshot: snapshot(2, 1, [1, 2]) } : {};
      return node.step(
        message(type, { ...content, to: id(1), from, term: 0, entries: type === 'MsgProp' ? [entry(0, 0)] : [] }),
      );
    });
    // Without a leader, a proposal goes nowhere.
    const taken = type === 'MsgProp' ? 'proposal-dropped' : undefined;
    if (local.includes(type) || storage.includes(type)) {
      expect(refusals).toEqual(['local-message', 'local-message', undefined, undefined]);
    } else if (answers.includes(type)) expect(refusals).toEqual([undefined, 'unknown-peer', undefined, undefined]);
    else expect(refusals).toEqual([taken, taken, taken, taken]);
  });

  it('knows of each kind whether it is local, and whether it answers', () => {
    expect(types.filter(isLocal)).toEqual(types.filter((type) => local.includes(type) || storage.includes(type)));
    const unreachable = ['MsgUnreachable', 'MsgStorageAppendResp', 'MsgStorageApplyResp'];
    expect(types.filter(isResponse)).toEqual(types.filter((type) => [...answers, ...unreachable].includes(type)));
  });

  it('a local message that is refused does nothing', () => {
    const { node } = newNode({ voters: [1] });
    expect(node.step(msg(2, 1, 'MsgHup'))).toBe('local-message');
    expect(node.hasReady()).toBe(false);
  });
});

describe('Ready', () => {
  it('stays until it is taken, and then brings only what is new (RawNodeConsumeReady)', () => {
    const { node } = newNode({ voters: [1, 2, 3] });
    const heartbeat = (commit: number) => node.step(msg(2, 1, 'MsgHeartbeat', { term: 1, commit }));
    heartbeat(0);
    const peeked = node.peek();
    expect(peeked.messages).toHaveLength(1);
    expect(node.peek()).toEqual(peeked);
    expect(node.ready()).toEqual(peeked);
    heartbeat(0);
    node.advance();
    expect(told(node.ready())).toEqual({ messages: [msg(1, 2, 'MsgHeartbeatResp', { term: 1 })], mustSync: false });
    node.advance();
    expect(node.hasReady()).toBe(false);
  });

  it('is taken one at a time', () => {
    const { node } = newNode({ voters: [1] });
    node.campaign();
    node.ready();
    expect(() => node.ready()).toThrow(RaftInvariantError);
    node.advance();
    expect(node.ready().entries).toEqual([entry(1, 1)]);
  });

  it('a second advance does nothing', () => {
    const made = newNode({ voters: [1] });
    made.node.campaign();
    next(made);
    made.node.advance();
    expect(made.node.basicStatus().softState.role).toBe('StateLeader');
    expect(next(made)).toMatchObject({ entries: [entry(1, 1)] });
  });

  it('messages that promise something come after the others, those to the member itself not at all', () => {
    const { node } = newNode({ voters: [1, 2, 3] });
    node.campaign();
    const { messages } = node.ready();
    expect(messages.map(({ type, to }) => [type, Number(to)])).toEqual([
      ['MsgVote', 2],
      ['MsgVote', 3],
    ]);
    node.advance();
    // The answer to the append was made first: it leaves last.
    node.step(msg(2, 1, 'MsgApp', { term: 1, entries: [entry(1, 1)] }));
    node.step(msg(2, 1, 'MsgHeartbeat', { term: 1 }));
    const answers = node.ready();
    expect(answers.entries).toEqual([entry(1, 1)]);
    expect(answers.messages.map(({ type }) => type)).toEqual(['MsgHeartbeatResp', 'MsgAppResp']);
  });

  it('is there for a change of the leader alone, and for an answer alone', () => {
    const { node } = newNode({ voters: [1, 2, 3] });
    node.step(msg(2, 1, 'MsgApp', { term: 1, entries: [entry(1, 1)], commit: 1 }));
    node.ready();
    node.advance();
    node.ready();
    node.advance();
    expect(node.hasReady()).toBe(false);
    node.forgetLeader();
    expect(node.hasReady()).toBe(true);
    expect(told(node.ready())).toEqual({ softState: { lead: NONE, role: 'StateFollower' }, mustSync: false });
    node.advance();
    node.step(msg(2, 1, 'MsgApp', { term: 1 }));
    expect(node.ready().softState?.lead).toBe(id(2));
    node.advance();
    node.step(msg(2, 1, 'MsgApp', { term: 1 }));
    expect(node.hasReady()).toBe(true);
    expect(told(node.ready())).toEqual({ messages: [msg(1, 2, 'MsgAppResp', { term: 1, index: 1 })], mustSync: false });
  });

  it('brings a snapshot alone, and what follows once that is stored', () => {
    const made = newNode({ voters: [1, 2] });
    const { node } = made;
    const sent = { ...snapshot(11, 1, [1, 2, 3]), data: bytes('state') };
    node.step(msg(2, 1, 'MsgSnap', { term: 1, snapshot: sent }));
    node.step(msg(2, 1, 'MsgApp', { term: 1, logTerm: 1, index: 11, entries: [entry(1, 12, 'x')], commit: 12 }));
    expect(next(made)).toMatchObject({ snapshot: sent, entries: [entry(1, 12, 'x')], hardState: { commit: 12 } });
    expect(node.basicStatus().applied).toBe(11);
    expect(next(made)).toEqual({ committedEntries: [entry(1, 12, 'x')], mustSync: false });
    expect(node.status().configuration.voters.incoming).toEqual(ids(1, 2, 3));
  });

  it.each<[what: string, m: ReturnType<typeof msg>, mustSync: boolean]>([
    ['a commit', msg(2, 1, 'MsgHeartbeat', { term: 3, commit: 2 }), false],
    ['a vote, in the term that it is', msg(2, 1, 'MsgVote', { term: 3, logTerm: 3, index: 2 }), true],
    ['a term', msg(2, 1, 'MsgHeartbeat', { term: 4 }), true],
    ['an entry', msg(2, 1, 'MsgApp', { term: 3, logTerm: 3, index: 2, entries: [entry(3, 3)] }), true],
    ['the leader', msg(2, 1, 'MsgHeartbeat', { term: 3 }), false],
  ])('has to be synced if %s is new: row %#', (_, m, mustSync) => {
    const { node } = newNode({
      voters: [1, 2],
      entries: [entry(3, 1), entry(3, 2)],
      hardState: { term: 3, vote: NONE, commit: 0 },
    });
    node.step(m);
    expect(node.ready().mustSync).toBe(mustSync);
  });
});

describe('applyConfChange', () => {
  it('with nobody voids a change', () => {
    const member = founded(1);
    const state = member.node.applyConfChange({ type: 'remove', nodeId: NONE, id: 0n, context: bytes('') });
    expect(state).toEqual(confState({ voters: ids(1) }));
  });

  it('takes both forms of a change', () => {
    const change: ConfChange = { type: 'add-learner', nodeId: id(2), id: 0n, context: bytes('') };
    expect(founded(1).node.applyConfChange(change)).toEqual(founded(1).node.applyConfChange(asV2(change)));
  });
});

describe('a follower', () => {
  it.each<[MemberOptions, forwards: boolean]>([
    [{}, true],
    [{ disableProposalForwarding: true }, false],
  ])('with %j hands proposals to the leader: %s (DisableProposalForwarding)', (config, forwards) => {
    const { node } = newNode({ voters: [1, 2, 3], ...config });
    node.step(msg(2, 1, 'MsgHeartbeat', { term: 1 }));
    node.ready();
    node.advance();
    expect(node.propose(bytes('x'))).toBe(forwards ? undefined : 'proposal-dropped');
    const sent = node.hasReady() ? node.ready().messages : [];
    expect(sent).toEqual(forwards ? [msg(1, 2, 'MsgProp', { entries: [entry(0, 0, 'x')] })] : []);
  });
});

import { describe, expect, it } from 'vitest';
import { WatchResponse } from '../../../src/protocol/generated/etcdserverpb.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import { addUser, newUser } from '../auth/support.ts';
import { ALL, watchSetUp } from './watch-calls.ts';

const A = { key: toBytes('a') };
const START_REFUSED = 'etcdserver: mvcc: required revision has been compacted';

describe('creating a watcher', () => {
  it('numbers them from 0, forward only, past those in use', async () => {
    const { open } = watchSetUp();
    const call = open();
    for (const watchId of [1n, 5n, 0n, 0n, 0n, -7n]) await call.create({ ...A, watchId });
    expect(call.take()).toEqual([1, 5, 0, 2, 3, -7].map((id) => `#${id}@1 created`));
    await call.cancelWatch(2n);
    await call.create(A);
    await call.create({ ...A, watchId: 2n });
    await call.create(A);
    await call.create(A);
    expect(call.take()).toEqual(['#2@1 canceled', '#4@1 created', '#2@1 created', '#6@1 created', '#7@1 created']);
    await call.cancel();
  });

  it.each<[string, object, string]>([
    ['an id that is taken', { ...A, watchId: 5n }, 'mvcc: duplicate watch ID provided on the WatchStream'],
    ['an empty range', { key: toBytes('z'), rangeEnd: toBytes('a') }, 'mvcc: watcher range is empty'],
    ['a range of nothing', { key: toBytes('a'), rangeEnd: toBytes('a') }, 'mvcc: watcher range is empty'],
    [
      'an empty range before a taken id',
      { key: toBytes('b'), rangeEnd: toBytes('a'), watchId: 5n },
      'mvcc: watcher range is empty',
    ],
    ['a start before all time', { ...A, startRevision: -1n }, START_REFUSED],
  ])('%s is answered with a watcher that is over', async (_, request, reason) => {
    const { open, put } = watchSetUp();
    const call = open();
    await call.create({ ...A, watchId: 5n });
    await call.create(request);
    await call.create(A);
    expect(call.take()).toEqual(['#5@1 created', `#-1@1 created canceled ${reason}`, '#0@1 created']);
    await put('a', '1');
    expect(call.take()).toEqual(['#5@2 a=1@2', '#0@2 a=1@2']);
    await call.cancel();
  });

  it('without a key starts at the lowest one', async () => {
    const { open, put } = watchSetUp();
    const call = open();
    await call.create({ rangeEnd: toBytes('b') });
    await call.create({ key: toBytes('b'), rangeEnd: toBytes('\0') });
    await call.create({});
    call.take();
    for (const key of ['a', 'b', 'c', '\0']) await put(key);
    // The last one watches that key alone.
    expect(call.take().sort()).toEqual(['#0@2 a=@2', '#0@5 \0=@5', '#1@3 b=@3', '#1@4 c=@4', '#2@5 \0=@5']);
    await call.cancel();
  });

  it('is refused with the words of a client in Go, and the stream goes on', async () => {
    const { open, member, put } = watchSetUp();
    member.auth.userAdd(newUser('root'));
    member.auth.userGrantRole({ user: 'root', role: 'root' });
    addUser(member.auth, 'ann', [['r', 'a']]);
    member.auth.enable();
    const nobody = open();
    await nobody.create(A);
    expect(nobody.take()).toEqual([
      '#-1@1 created canceled rpc error: code = InvalidArgument desc = etcdserver: user name is empty',
    ]);
    const ann = open({ user: 'ann' });
    await ann.create(ALL);
    await ann.create(A);
    expect(ann.take()).toEqual([
      '#-1@1 created canceled rpc error: code = PermissionDenied desc = etcdserver: permission denied',
      '#0@1 created',
    ]);
    // What was allowed once stays.
    member.auth.userRevokeRole({ name: 'ann', role: 'ann' });
    await put('a', '1');
    await ann.request({ progressRequest: {} });
    await ann.cancelWatch(0n);
    expect(ann.take()).toEqual(['#0@2 a=1@2', '#-1@2', '#0@2 canceled']);
    await nobody.cancel();
    await ann.cancel();
  });
});

describe('events', () => {
  it('are what the generated codec would make of them', async () => {
    const { open, put, del } = watchSetUp();
    const call = open();
    await call.create({ ...A, prevKv: true });
    await put('a', '1');
    await put('a', '2');
    await del('a');
    const [, created, changed, deleted] = call.out.sent;
    for (const response of call.out.sent) {
      expect(WatchResponse.decode(new Uint8Array(WatchResponse.encode(response)))).toEqual(response);
    }
    expect(created?.events[0]).toMatchObject({ type: 0, prevKv: undefined, kv: { version: 1n, createRevision: 2n } });
    expect(changed?.events[0]).toMatchObject({ kv: { version: 2n }, prevKv: { version: 1n, modRevision: 2n } });
    const none = { createRevision: 0n, version: 0n, lease: 0n };
    expect(deleted?.events[0]?.kv).toMatchObject({ ...none, modRevision: 4n });
    expect(deleted?.events[0]?.kv?.value).toHaveLength(0);
    expect(deleted?.events[0]).toMatchObject({ type: 1, prevKv: { version: 2n, modRevision: 3n } });
    await call.cancel();
  });

  it('of one revision are in one response, from any start', async () => {
    const { open, put, del } = watchSetUp();
    const call = open();
    await put('a', '1');
    await put('b', '2');
    await call.create({ ...ALL, startRevision: 5n });
    await call.create({ ...ALL, startRevision: 2n, prevKv: true });
    await del('a', 'c');
    await put('a', '3');
    const taken = call.take();
    // Which watcher of a stream hears of a revision first is open.
    const of = (id: string): string[] => taken.filter((line) => line.startsWith(id));
    expect(of('#0')).toEqual(['#0@3 created', '#0@5 a=3@5']);
    expect(of('#1')).toEqual(['#1@3 created', '#1@3 a=1@2 b=2@3', '#1@4 -a(1)@4 -b(2)@4', '#1@5 a=3@5']);
    await call.cancel();
  });

  it('that a watcher does not want are not sent, nor is an empty response', async () => {
    const { open, put, del } = watchSetUp();
    const call = open();
    await call.create({ ...A, filters: [0] });
    await call.create({ ...A, filters: [1] });
    await call.create({ ...A, filters: [0, 1] });
    call.take();
    await put('a', '1');
    await del('a');
    expect(call.take()).toEqual(['#1@2 a=1@2', '#0@3 -a@3']);
    await call.cancel();
  });

  it('have what was before a transaction, also of a key that is written twice in it', async () => {
    const { open, put, member } = watchSetUp();
    const call = open();
    await put('k', 'old');
    await call.create({ ...ALL, prevKv: true });
    const remove = { requestDeleteRange: { key: toBytes('a'), rangeEnd: toBytes('\0') } };
    const write = { requestPut: { key: toBytes('k'), value: toBytes('new') } };
    await member.propose({ txn: { success: [write, remove] } });
    await put('k', 'old');
    await member.propose({ txn: { success: [remove, write] } });
    expect(call.take().slice(1)).toEqual(['#0@3 k=new(old)@3 -k(old)@3', '#0@4 k=old@4', '#0@5 -k(old)@5 k=new@5']);
    await call.cancel();
  });

  it('have nothing of what is compacted before them', async () => {
    const { open, put, del, compact } = watchSetUp();
    for (const value of ['1', '2', '3']) await put('a', value);
    await del('a');
    await compact(3);
    const call = open();
    await call.create({ ...A, startRevision: 3n, prevKv: true });
    expect(call.take().slice(1)).toEqual(['#0@5 a=2@3 a=3(2)@4 -a(3)@5']);
    await call.cancel();
  });
});

describe('a start that is compacted', () => {
  it('is told after the creation; the id stays taken until it is canceled', async () => {
    const { open, put, compact } = watchSetUp();
    for (const value of ['1', '2', '3']) await put('a', value);
    await compact(4);
    const call = open();
    await call.create({ ...A, startRevision: 2n, watchId: 9n });
    expect(call.take()).toEqual(['#9@4 created', '#9@0 canceled compacted=4']);
    await call.create({ ...A, watchId: 9n });
    expect(call.take()).toEqual(['#-1@4 created canceled mvcc: duplicate watch ID provided on the WatchStream']);
    await call.request({ progressRequest: {} });
    await call.cancelWatch(9n);
    await call.create({ ...A, startRevision: 4n, watchId: 9n });
    expect(call.take()).toEqual(['#-1@4', '#9@4 canceled', '#9@4 created', '#9@4 a=3@4']);
    await call.cancel();
  });
});

describe('canceling', () => {
  it('is answered, if there is such a watcher; the id is free then', async () => {
    const { open, put, member } = watchSetUp();
    const call = open();
    await call.create({ ...A, watchId: 3n });
    await call.cancelWatch(4n);
    await call.request({});
    await call.cancelWatch(3n);
    await call.cancelWatch(3n);
    await put('a');
    await call.create({ ...A, watchId: 3n });
    expect(call.take()).toEqual(['#3@1 created', '#3@1 canceled', '#3@2 created']);
    expect(member.watches.counts).toEqual({ upToDate: 1, behind: 0 });
    await call.cancel();
  });

  it('the call ends all its watchers; that the client asks no more does not', async () => {
    const { open, put, member } = watchSetUp();
    const call = open();
    const other = open();
    await call.create({ ...A, progressNotify: true });
    await call.create({ ...A, startRevision: 9n });
    await other.create(A);
    call.requests.end();
    await member.clock.settle();
    await put('a', '1');
    expect(call.outcome).toBeUndefined();
    expect(call.take()).toContain('#0@2 a=1@2');
    await call.cancel();
    expect(call.outcome).toBe('well');
    expect(member.watches.counts).toEqual({ upToDate: 1, behind: 0 });
    expect(member.clock.pending.all).toBe(0);
    await other.cancel();
    expect(member.watches.counts).toEqual({ upToDate: 0, behind: 0 });
  });
});

describe('fragments', () => {
  const LARGE = 'x'.repeat(400 * 1024);

  it('split events at the size of a message, five and one of 400 KiB', async () => {
    const { open, put } = watchSetUp();
    for (let i = 0; i < 6; i += 1) await put('a', LARGE);
    const call = open();
    await call.create({ ...A, startRevision: 1n, fragment: true });
    await call.create({ ...A, startRevision: 1n });
    const parts = call.out.sent.filter(({ created }) => !created);
    expect(parts.map(({ watchId, events, fragment }) => [watchId, events.length, fragment])).toEqual([
      [0n, 5, true],
      [0n, 1, false],
      [1n, 6, false],
    ]);
    await call.cancel();
  });

  it('are smaller than the limit, to the byte, and lose nothing', async () => {
    const { open, put } = watchSetUp({ maxRequestBytes: 1 });
    const limit = 1 + 512 * 1024;
    const sizes = [100_000, 200_000, 224_100, 524_288, 524_000, 1, 2, 600_000, 3];
    for (const size of sizes) await put('a', 'x'.repeat(size));
    const call = open();
    await call.create({ ...A, startRevision: 1n, fragment: true });
    const parts = call.out.sent.slice(1);
    expect(parts.flatMap(({ events }) => events.map(({ kv }) => kv?.value.length))).toEqual(sizes);
    expect(parts.map(({ fragment }) => fragment)).toEqual(parts.map((_, i) => i < parts.length - 1));
    for (const [i, part] of parts.entries()) {
      const size = WatchResponse.encode(part).length;
      if (part.events.length > 1) expect(size).toBeLessThan(limit);
      // The first event of the next part would have been too much.
      const next = parts[i + 1]?.events[0];
      if (next)
        expect(WatchResponse.encode({ ...part, events: [...part.events, next] }).length).toBeGreaterThanOrEqual(limit);
    }
    await call.cancel();
  });

  it('are not made of less', async () => {
    const { open, put } = watchSetUp();
    const call = open();
    await call.create({ ...A, fragment: true });
    await put('a', LARGE);
    expect(call.out.sent[1]?.fragment).toBe(false);
    await call.cancel();
  });
});

describe('progress', () => {
  it('is told when all watchers know everything, and not before', async () => {
    const { open, put, member } = watchSetUp();
    const call = open();
    const progress = async () => {
      await call.request({ progressRequest: {} });
      return call.take();
    };
    // Nor is there any of no watchers.
    expect(await progress()).toEqual([]);
    await call.create(A);
    await put('b');
    expect((await progress()).at(-1)).toBe('#-1@2');
    member.wakes = false;
    await call.create({ ...A, startRevision: 1n });
    expect(await progress()).toEqual(['#1@2 created']);
    member.catchUp();
    expect(await progress()).toEqual(['#-1@2']);
    await call.create({ ...A, startRevision: 9n });
    expect(await progress()).toEqual(['#2@2 created']);
    await call.cancelWatch(2n);
    expect(await progress()).toEqual(['#2@2 canceled', '#-1@2']);
    await call.cancel();
  });

  it('comes by itself to who asked, but not after events', async () => {
    const { open, put, member } = watchSetUp({ watchProgressMs: 1000 });
    const call = open();
    await call.create({ ...A, progressNotify: true });
    await call.create({ ...A });
    await call.create({ key: toBytes('b'), progressNotify: true });
    await call.create({ ...A, progressNotify: true, startRevision: 9n });
    call.take();
    // The jitter is half of a tenth here.
    await member.clock.advance(1049);
    expect(call.take()).toEqual([]);
    await member.clock.advance(1);
    expect(call.take()).toEqual(['#0@1', '#2@1']);
    await put('a', '1');
    call.take();
    await member.clock.advance(1050);
    expect(call.take()).toEqual(['#2@2']);
    await member.clock.advance(1050);
    expect(call.take()).toEqual(['#0@2', '#2@2']);
    for (const id of [0n, 2n, 3n]) await call.cancelWatch(id);
    expect(member.clock.pending.all).toBe(0);
    await call.cancel();
  });

  it('comes no more often than ten times a second', async () => {
    const { open, member } = watchSetUp({ watchProgressMs: 1 });
    const call = open();
    await call.create({ ...A, progressNotify: true });
    call.take();
    await member.clock.advance(104);
    expect(call.take()).toEqual([]);
    await member.clock.advance(1);
    expect(call.take()).toEqual(['#0@1']);
    await call.cancel();
  });
});

describe('a reader that does not read', () => {
  it('costs one response, and gets everything later', async () => {
    const { open, put, member } = watchSetUp();
    const call = open({ room: 1 });
    const quick = open();
    await call.create(A);
    call.out.read();
    await quick.create(A);
    for (let i = 0; i < 100; i += 1) await put('a', String(i));
    expect(call.out.mostUnread).toBe(1);
    expect(quick.take()).toHaveLength(101);
    expect(member.watches.counts).toEqual({ upToDate: 1, behind: 1 });
    call.out.read();
    await member.clock.settle();
    expect(call.out.sent.flatMap(({ events }) => events).map(({ kv }) => kv?.modRevision)).toEqual(
      Array.from({ length: 100 }, (_, i) => BigInt(i + 2)),
    );
    await call.cancel();
    await quick.cancel();
  });

  it('is not listened to either', async () => {
    const { open, member } = watchSetUp();
    const call = open({ room: 1 });
    for (let i = 0; i < 50; i += 1) call.write({ createRequest: A });
    await member.clock.settle();
    expect(call.out.sent).toHaveLength(1);
    call.out.read();
    await member.clock.settle();
    expect(call.out.sent).toHaveLength(2);
    await call.cancel();
  });

  it('hears nothing of progress that it has not seen', async () => {
    const { open, put, member } = watchSetUp({ watchProgressMs: 1000 });
    const call = open({ room: 1 });
    await call.create({ ...A, progressNotify: true });
    await put('b');
    await member.clock.advance(5000);
    expect(call.take()).toEqual(['#0@1 created']);
    await call.cancel();
  });

  it('does not keep another from reading history', async () => {
    const { open, put, member } = watchSetUp();
    for (let i = 0; i < 50; i += 1) await put('a', String(i));
    member.wakes = false;
    const stuck = open({ room: 1 });
    const other = open();
    await stuck.create({ ...A, startRevision: 2n });
    await other.create({ ...A, startRevision: 30n });
    for (let i = 0; i < 20; i += 1) member.watches.catchUp({ watchers: 9, revisions: 3 });
    expect(other.out.sent.flatMap(({ events }) => events)).toHaveLength(22);
    // And nobody turns round and round for it.
    expect(member.watches.catchUp()).toBe(false);
    await stuck.cancel();
    await other.cancel();
  });
});

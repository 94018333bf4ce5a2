import { describe, expect, it } from 'vitest';
import {
  KV,
  type RangeRequest,
  RangeResponse,
  type RangeStreamResponse,
  TxnResponse,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { KeyValue } from '../../../src/protocol/generated/mvccpb.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import type { ApiOptions } from '../../../src/server/api/guard.ts';
import { kvMethods } from '../../../src/server/api/kv.ts';
import { Refusals } from '../../../src/server/refusals.ts';
import { addUser, newUser } from '../auth/support.ts';
import { ask, MemoryOutlet, refusalOf, stream } from './calls.ts';
import { FakeGuard, FakeMember, OPTIONS } from './fake-member.ts';

function setUp(options: Partial<ApiOptions> = {}) {
  const member = new FakeMember();
  const methods = kvMethods(member, new FakeGuard(member), { ...OPTIONS, ...options });
  const put = (key: string, value = '') => ask(methods, KV.put, { key: toBytes(key), value: toBytes(value) });
  const range = (request: Init<RangeRequest>, user?: string) => ask(methods, KV.range, request, { user });
  return { member, methods, put, range };
}

const ALL = { key: toBytes('\0'), rangeEnd: toBytes('\0') };
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const keys = ({ kvs }: { readonly kvs: readonly KeyValue[] }): string[] => kvs.map(({ key }) => text(key));

describe('the header', () => {
  it('says who, the term of what was applied, and the revision of now', async () => {
    const { member, put, range } = setUp();
    await put('a');
    await put('b');
    const { header } = await range({ key: toBytes('a'), revision: 2n });
    expect(header).toEqual({ clusterId: member.clusterId, memberId: member.id, revision: 3n, raftTerm: 2n });
  });

  it('of a write is of that write', async () => {
    const { member, put } = setUp();
    member.position = { ...member.position, term: 7 };
    expect((await put('a')).header).toMatchObject({ revision: 2n, raftTerm: 7n });
  });

  it('of an operation has a revision alone, and that of a transaction inside nothing', async () => {
    const { methods, put } = setUp();
    await put('a', '1');
    const get = { requestRange: { key: toBytes('a') } };
    const write = { requestPut: { key: toBytes('a'), value: toBytes('2'), prevKv: true } };
    const remove = { requestDeleteRange: { key: toBytes('a'), prevKv: true } };
    const inside = { requestTxn: { failure: [get], compare: [{ key: toBytes('x'), version: 1n }] } };
    const done = await ask(methods, KV.txn, { success: [get, write, get, inside] });
    const none = { clusterId: 0n, memberId: 0n, raftTerm: 0n };
    expect(done.succeeded).toBe(true);
    expect(done.header).toMatchObject({ revision: 3n, raftTerm: 2n });
    const [before, written, after, nested] = done.responses;
    expect(before?.responseRange?.header).toEqual({ ...none, revision: 2n });
    expect(text(before?.responseRange?.kvs[0]?.value as Uint8Array)).toBe('1');
    expect(written?.responsePut?.header).toEqual({ ...none, revision: 3n });
    expect(text(written?.responsePut?.prevKv?.value as Uint8Array)).toBe('1');
    expect(after?.responseRange?.header).toEqual({ ...none, revision: 3n });
    expect(nested?.responseTxn?.header).toEqual({ ...none, revision: 0n });
    expect(nested?.responseTxn?.succeeded).toBe(false);
    expect(text(nested?.responseTxn?.responses[0]?.responseRange?.kvs[0]?.value as Uint8Array)).toBe('2');
    const gone = await ask(methods, KV.txn, { success: [remove, { requestDeleteRange: { key: toBytes('a') } }] });
    expect(gone.responses[0]?.responseDeleteRange).toMatchObject({ deleted: 1n, header: { ...none, revision: 4n } });
    expect(gone.responses[0]?.responseDeleteRange?.prevKvs).toHaveLength(1);
    expect(gone.responses[1]?.responseDeleteRange).toMatchObject({ deleted: 0n, prevKvs: [] });
  });

  it('of a transaction inside is there, though it is empty', async () => {
    const { methods } = setUp();
    const done = await ask(methods, KV.txn, { success: [{ requestTxn: {} }] });
    expect(done.responses[0]?.responseTxn?.header).toBeDefined();
    expect(done).toEqual(TxnResponse.decode(new Uint8Array(TxnResponse.encode(done))));
  });
});

describe('a range', () => {
  it('gives what the generated codec would', async () => {
    const { put, range, member } = setUp();
    for (const key of ['a', 'b', 'c']) await put(key, `value of ${key}`);
    const found = await range({ ...ALL, limit: 2n });
    expect(keys(found)).toEqual(['a', 'b']);
    expect(found).toMatchObject({ more: true, count: 3n });
    expect(found.kvs[1]).toEqual(KeyValue.decode(member.store.get('b')?.bytes as Uint8Array));
    expect(RangeResponse.decode(new Uint8Array(RangeResponse.encode(found)))).toEqual(found);
  });

  it('of keys only has everything but the value', async () => {
    const { put, range } = setUp();
    await put('a', 'x');
    await put('a', 'y');
    const { kvs } = await range({ ...ALL, keysOnly: true });
    expect(kvs.map(({ key, ...rest }) => ({ key: text(key), ...rest, value: text(rest.value) }))).toEqual([
      { key: 'a', value: '', createRevision: 2n, modRevision: 3n, version: 2n, lease: 0n },
    ]);
  });

  it('that only counts has no keys', async () => {
    const { put, range } = setUp();
    for (const key of ['a', 'b', 'c']) await put(key);
    expect(await range({ ...ALL, countOnly: true, limit: 1n })).toMatchObject({ kvs: [], count: 3n, more: false });
  });

  it('waits for what is known elsewhere, unless it is serializable', async () => {
    const { range, put, member } = setUp();
    member.whileWaiting = () => void put('a');
    await range({ key: toBytes('a'), serializable: true });
    expect(member.asked).toEqual([]);
    await range({ key: toBytes('a') });
    expect(member.asked[0]).toBe('linearize');
  });

  it('sees what came while it waited', async () => {
    const { range, member } = setUp();
    member.whileWaiting = () => {
      const txn = member.store.write();
      txn.put(toBytes('late'), 'late', toBytes(''), 0n);
      txn.end();
    };
    const found = await range({ key: toBytes('late') });
    expect(found).toMatchObject({ count: 1n, header: { revision: 2n } });
  });

  it.each<[string, Init<RangeRequest>, string]>([
    ['without a key', { revision: 99n, sortTarget: 9 as 0 }, Refusals.EmptyKey.text],
    ['sorted by nothing known', { key: toBytes('a'), sortTarget: 9 as 0 }, Refusals.InvalidSortOption.text],
    ['of the future', { key: toBytes('a'), revision: 9n }, Refusals.FutureRevision.text],
    [
      'of the future, serializable',
      { key: toBytes('a'), revision: 9n, serializable: true },
      Refusals.FutureRevision.text,
    ],
    ['of before the compaction', { key: toBytes('a'), revision: 2n }, Refusals.Compacted.text],
    ['of the compaction', { key: toBytes('a'), revision: 3n }, 'not refused'],
    ['of a revision below 0', { key: toBytes('a'), revision: -5n }, 'not refused'],
    ['in an order that is none', { key: toBytes('a'), sortOrder: 7 as 0 }, 'not refused'],
  ])('%s', async (_, request, refusal) => {
    const { put, methods, range } = setUp();
    for (const key of ['a', 'b', 'c']) await put(key);
    await ask(methods, KV.compact, { revision: 3n });
    expect(await refusalOf(range(request))).toBe(refusal);
  });

  it('is checked before the rights of who asks', async () => {
    const { member, range } = setUp();
    member.auth.userAdd(newUser('root'));
    member.auth.userGrantRole({ user: 'root', role: 'root' });
    member.auth.enable();
    expect(await refusalOf(range({}))).toBe(Refusals.EmptyKey.text);
    expect(await refusalOf(range({ key: toBytes('a') }))).toBe('etcdserver: user name is empty');
  });

  it('is refused if rights have changed while it waited', async () => {
    const { member, range } = setUp();
    member.auth.userAdd(newUser('root'));
    member.auth.userGrantRole({ user: 'root', role: 'root' });
    addUser(member.auth, 'ann', [['r', 'a']]);
    member.auth.enable();
    expect(await refusalOf(range({ key: toBytes('a') }, 'ann'))).toBe('not refused');
    expect(await refusalOf(range({ key: toBytes('b') }, 'ann'))).toBe('etcdserver: permission denied');
    member.whileWaiting = () => void member.auth.userRevokeRole({ name: 'ann', role: 'ann' });
    expect(await refusalOf(range({ key: toBytes('a') }, 'ann'))).toBe('etcdserver: revision of auth store is old');
  });
});

describe('a range in pieces', () => {
  async function pieces(request: Init<RangeRequest>, options: Partial<ApiOptions> = {}, count = 100) {
    const { put, methods, range, member } = setUp(options);
    for (let i = 0; i < count; i += 1) await put(`k${String(i).padStart(3, '0')}`, 'v'.repeat(50));
    const out = new MemoryOutlet<RangeStreamResponse>(KV.rangeStream.response);
    await stream(methods, KV.rangeStream, request, out);
    const whole = await range(request);
    return { sent: out.sent.map(({ rangeResponse }) => rangeResponse as RangeResponse), whole, member };
  }

  it('is the range, once put together; only the last piece has header, count and more', async () => {
    for (const request of [
      ALL,
      { ...ALL, limit: 55n },
      { ...ALL, keysOnly: true },
      { ...ALL, countOnly: true },
      { key: toBytes('x') },
    ]) {
      const { sent, whole } = await pieces(request);
      expect(sent.flatMap(({ kvs }) => kvs)).toEqual(whole.kvs);
      const last = sent.pop();
      expect(last).toMatchObject({ header: whole.header, count: whole.count, more: whole.more });
      for (const piece of sent) expect(piece).toMatchObject({ header: undefined, count: 0n, more: false });
    }
  });

  it('begins small and grows, as far as a piece may', async () => {
    const { sent } = await pieces(ALL);
    expect(sent.map(({ kvs }) => kvs.length)).toEqual([10, 20, 40, 30]);
    const bounded = await pieces(ALL, { maxRequestBytes: 1000 });
    const sizes = bounded.sent.map(({ kvs }) => kvs.length);
    expect(Math.max(...sizes)).toBeLessThan(20);
    const tiny = await pieces(ALL, { maxRequestBytes: 1 }, 12);
    expect(tiny.sent.map(({ kvs }) => kvs.length)).toEqual(Array.from({ length: 12 }, () => 1));
  });

  it('is of one revision, and waits for its reader', async () => {
    const { put, methods } = setUp();
    for (let i = 0; i < 40; i += 1) await put(`k${i}`, 'old');
    const out = new MemoryOutlet<RangeStreamResponse>(KV.rangeStream.response, 1);
    const done = stream(methods, KV.rangeStream, ALL, out);
    await out.count(1);
    for (let i = 0; i < 50; i += 1) await put(`k${i}`, 'new');
    await ask(methods, KV.compact, { revision: 60n });
    expect(out.sent).toHaveLength(1);
    out.read(Number.POSITIVE_INFINITY);
    await done;
    const kvs = out.sent.flatMap(({ rangeResponse }) => rangeResponse?.kvs ?? []);
    expect(kvs).toHaveLength(40);
    expect(new Set(kvs.map(({ value }) => text(value)))).toEqual(new Set(['old']));
    expect(out.sent.at(-1)?.rangeResponse).toMatchObject({ count: 40n, header: { revision: 41n } });
  });

  it.each<[string, Init<RangeRequest>, string]>([
    ['sorted', { ...ALL, sortOrder: 2 }, Refusals.NoCustomSort.text],
    ['sorted by value', { ...ALL, sortOrder: 1, sortTarget: 4 }, Refusals.NoCustomSort.text],
    ['sorted by the key', { ...ALL, sortOrder: 1 }, 'not refused'],
    ['filtered', { ...ALL, minModRevision: 1n }, Refusals.NoRevisionFilters.text],
    ['without a key', {}, Refusals.EmptyKey.text],
    ['of the future', { ...ALL, revision: 9n }, Refusals.FutureRevision.text],
  ])('%s', async (_, request, refusal) => {
    const { methods } = setUp();
    const out = new MemoryOutlet<RangeStreamResponse>(KV.rangeStream.response);
    expect(await refusalOf(stream(methods, KV.rangeStream, request, out))).toBe(refusal);
  });
});

describe('a write', () => {
  it('tells what was before, if asked', async () => {
    const { methods, put } = setUp();
    const again = (prevKv: boolean) => ask(methods, KV.put, { key: toBytes('a'), value: toBytes('2'), prevKv });
    expect((await again(true)).prevKv).toBeUndefined();
    await put('a', '1');
    expect((await again(true)).prevKv).toMatchObject({ version: 2n, modRevision: 3n });
    expect((await again(false)).prevKv).toBeUndefined();
    const gone = await ask(methods, KV.deleteRange, { ...ALL, prevKv: true });
    expect(gone).toMatchObject({ deleted: 1n, header: { revision: 6n } });
    expect(gone.prevKvs).toHaveLength(1);
    expect(await ask(methods, KV.deleteRange, ALL)).toMatchObject({
      deleted: 0n,
      prevKvs: [],
      header: { revision: 6n },
    });
  });

  it('is looked at before it goes into the log', async () => {
    const { member, methods } = setUp();
    const put = (request: object) => refusalOf(ask(methods, KV.put, request));
    expect(await put({ ignoreValue: true, value: toBytes('v') })).toBe(Refusals.EmptyKey.text);
    const both = { key: toBytes('a'), ignoreLease: true, lease: 5n };
    expect(await put({ ...both, ignoreValue: true, value: toBytes('v') })).toBe(Refusals.ValueProvided.text);
    expect(await put(both)).toBe(Refusals.LeaseProvided.text);
    expect(await refusalOf(ask(methods, KV.deleteRange, {}))).toBe(Refusals.EmptyKey.text);
    const twice = { requestPut: { key: toBytes('a') } };
    expect(await refusalOf(ask(methods, KV.txn, { success: [twice, twice] }))).toBe(Refusals.DuplicateKey.text);
    expect(member.asked).toEqual([]);
  });

  it('is refused with what came out of the log', async () => {
    const { methods } = setUp();
    expect(await refusalOf(ask(methods, KV.put, { key: toBytes('a'), lease: 5n }))).toBe(Refusals.LeaseNotFound.text);
    expect(await refusalOf(ask(methods, KV.put, { key: toBytes('a'), ignoreLease: true }))).toBe(
      Refusals.KeyNotFound.text,
    );
  });
});

describe('a transaction that only reads', () => {
  const get = (serializable: boolean, revision = 0n) => ({
    requestRange: { key: toBytes('a'), serializable, revision },
  });

  it('does not go into the log; it waits if one of its ranges does', async () => {
    const { member, methods } = setUp();
    const done = await ask(methods, KV.txn, { success: [get(true)], failure: [get(false)] });
    expect(done).toMatchObject({ succeeded: true, header: { revision: 1n } });
    expect(member.asked).toEqual(['linearize']);
    await ask(methods, KV.txn, { success: [get(true)], failure: [get(true)] });
    expect(member.asked).toEqual(['linearize']);
    // With conditions alone it is a question about now.
    await ask(methods, KV.txn, {});
    expect(member.asked).toEqual(['linearize', 'linearize']);
  });

  it('goes into the log with one inside, and with a write in the other branch', async () => {
    const { member, methods } = setUp();
    await ask(methods, KV.txn, { success: [{ requestTxn: { success: [get(true)] } }] });
    await ask(methods, KV.txn, { success: [get(true)], failure: [{ requestPut: { key: toBytes('a') } }] });
    expect(member.asked).toEqual(['propose txn', 'propose txn']);
  });

  it('is refused for a revision that is not there', async () => {
    const { methods, put } = setUp();
    await put('a');
    expect(await refusalOf(ask(methods, KV.txn, { success: [get(true, 9n)] }))).toBe(Refusals.FutureRevision.text);
    // Nothing was compacted: that was revision -1, and this is before it.
    expect(await refusalOf(ask(methods, KV.txn, { success: [get(true, -2n)] }))).toBe(Refusals.Compacted.text);
    expect(await refusalOf(ask(methods, KV.txn, { failure: [get(true, 9n)] }))).toBe('not refused');
  });
});

describe('a compaction', () => {
  it('answers with the revision of now', async () => {
    const { methods, put } = setUp();
    for (const key of ['a', 'b', 'c']) await put(key);
    expect((await ask(methods, KV.compact, { revision: 2n })).header?.revision).toBe(4n);
    expect(await refusalOf(ask(methods, KV.compact, { revision: 2n }))).toBe(Refusals.Compacted.text);
    expect(await refusalOf(ask(methods, KV.compact, { revision: 5n }))).toBe(Refusals.FutureRevision.text);
  });

  it('waits until all is freed, if asked', async () => {
    const { member, methods, put } = setUp();
    for (let i = 0; i < 5; i += 1) await put('a');
    await ask(methods, KV.compact, { revision: 4n });
    expect(member.store.sweeping).toBe(true);
    await ask(methods, KV.compact, { revision: 5n, physical: true });
    expect(member.store.sweeping).toBe(false);
  });
});

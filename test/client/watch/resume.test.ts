import { describe, expect, it } from 'vitest';
import { UnauthenticatedError } from '../../../src/client/errors.ts';
import { KV } from '../../../src/protocol/generated/etcdserverpb.ts';
import { revision } from '../../../src/protocol/int64.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { CUT, FakeEtcd, failure, put, record } from './fake-etcd.ts';

/** A server that answers only what the test says. */
function manual(): FakeEtcd {
  const etcd = new FakeEtcd();
  etcd.auto = false;
  return etcd;
}

async function afterCut(etcd: FakeEtcd): Promise<bigint | undefined> {
  etcd.stream.cut();
  await etcd.clock.advance(5_000);
  return etcd.stream.creates[0]?.startRevision;
}

describe('resuming a watch', () => {
  it('T1: goes on from the revision that was asked for when it is cut before any event', async () => {
    const etcd = manual();
    const seen = record(etcd.watch('k', { from: revision(5) }));
    await etcd.settle();
    etcd.stream.respond({ header: { revision: 1000n }, watchId: 0n, created: true });
    await etcd.settle();
    expect(await afterCut(etcd)).toBe(5n);
    expect(seen.entries).toEqual([]);
  });

  it("T2: goes on from the last event's revision, not from the header of the response it came in", async () => {
    const etcd = manual();
    record(etcd.watch('k', { from: revision(5) }));
    await etcd.settle();
    etcd.stream.respond({ header: { revision: 5000n }, watchId: 0n, created: true });
    etcd.stream.respond({ header: { revision: 5000n }, watchId: 0n, events: [put('k', 5n), put('k', 7n)] });
    await etcd.settle();
    expect(await afterCut(etcd)).toBe(8n);
  });

  it('goes on behind the revision it was created at when it had no start and is cut before any event', async () => {
    const etcd = manual();
    record(etcd.watch('k'));
    await etcd.settle();
    expect(etcd.stream.creates[0]?.startRevision).toBe(0n);
    etcd.stream.respond({ header: { revision: 41n }, watchId: 0n, created: true });
    await etcd.settle();
    expect(await afterCut(etcd)).toBe(42n);
  });

  it('asks for progress reports always, hides them, and goes on behind them', async () => {
    const etcd = manual();
    const seen = record(etcd.watch('k'));
    await etcd.settle();
    expect(etcd.stream.creates[0]).toMatchObject({ progressNotify: true, fragment: true });
    etcd.stream.respond({ header: { revision: 41n }, watchId: 0n, created: true });
    etcd.stream.respond({ header: { revision: 90n }, watchId: 0n });
    await etcd.settle();
    expect(await afterCut(etcd)).toBe(91n);
    expect(seen.entries).toEqual([]);
  });

  it('sends all creates at once, and matches the answers by their order', async () => {
    const etcd = manual();
    const keys = Array.from({ length: 100 }, (_, index) => `k${index}`);
    const seen = keys.map((key) => record(etcd.watch(key)));
    await etcd.settle();
    const first = etcd.stream;
    expect(first.creates.map(({ key }) => Buffer.from(key).toString())).toEqual(keys);
    for (const index of keys.keys()) first.respond({ header: { revision: 9n }, watchId: BigInt(index), created: true });
    await etcd.settle();
    first.cut();
    await etcd.clock.advance(5_000);
    expect(etcd.stream.creates).toHaveLength(100);
    expect(etcd.stream.creates.every(({ startRevision }) => startRevision === 10n)).toBe(true);
    for (const index of keys.keys())
      etcd.stream.respond({ header: { revision: 9n }, watchId: BigInt(index), created: true });
    etcd.stream.respond({ header: { revision: 10n }, watchId: 57n, events: [put('k57', 10n)] });
    await etcd.settle();
    expect(seen.map(({ entries }) => entries.length)).toEqual(keys.map((key) => (key === 'k57' ? 1 : 0)));
  });

  it('drops what it has already when a server sends it again', async () => {
    const etcd = manual();
    const seen = record(etcd.watch('k', { from: revision(2) }));
    await etcd.settle();
    etcd.stream.respond({ header: { revision: 5n }, watchId: 0n, created: true });
    etcd.stream.respond({ header: { revision: 5n }, watchId: 0n, events: [put('k', 2n), put('k', 4n)] });
    await etcd.settle();
    expect(await afterCut(etcd)).toBe(5n);
    etcd.stream.respond({ header: { revision: 6n }, watchId: 0n, created: true });
    etcd.stream.respond({ header: { revision: 6n }, watchId: 0n, events: [put('k', 3n), put('k', 4n), put('k', 6n)] });
    etcd.stream.respond({ header: { revision: 6n }, watchId: 0n, events: [put('k', 6n)] });
    await etcd.settle();
    expect(seen.entries).toEqual(['+k@2', '+k@4', '+k@6']);
  });

  it.each([
    ['a cut', CUT],
    ['a graceful end', undefined],
    ['a reset by the server', failure(GrpcCode.INTERNAL, 'Received RST_STREAM with code 2')],
    ['a server that stops', failure(GrpcCode.CANCELLED, 'etcdserver: watch canceled')],
    ['a server that is too busy', failure(GrpcCode.RESOURCE_EXHAUSTED, 'too many pings')],
    ['an error without a name', failure(GrpcCode.UNKNOWN, 'who knows')],
  ])('survives %s, however often it happens', async (_, reason) => {
    const etcd = new FakeEtcd();
    const seen = record(etcd.watch('k'));
    for (let round = 0; round < 8; round++) {
      await etcd.clock.advance(5_000);
      etcd.commit(['k', 'v']);
      await etcd.settle();
      etcd.stream.end(reason);
    }
    await etcd.clock.advance(5_000);
    expect(seen.entries).toEqual(Array.from({ length: 8 }, (_, index) => `+k@${index + 2}`));
    expect(seen.done).toBe(false);
  });

  it('goes to another member at once when its own has lost the leader', async () => {
    const etcd = new FakeEtcd({ members: 3 });
    record(etcd.watch('k'));
    await etcd.clock.advance(10);
    const { member } = etcd.stream;
    etcd.stream.end(failure(GrpcCode.UNAVAILABLE, 'etcdserver: no leader'));
    await etcd.settle();
    expect(etcd.stream.member).not.toBe(member);
  });

  it('prefers another member to the one that ended the stream', async () => {
    const etcd = new FakeEtcd({ members: 2 });
    record(etcd.watch('k'));
    await etcd.clock.advance(10);
    const { member } = etcd.stream;
    // Calls go round: this one makes the member with the stream the next in turn.
    await etcd.caller.unary(KV.range, { key: Buffer.from('k') }, { kind: 'read' });
    etcd.stream.end();
    await etcd.settle();
    expect(etcd.stream.member).not.toBe(member);
  });

  it('waits longer and longer between attempts, up to two seconds', async () => {
    const etcd = new FakeEtcd({ random: () => 1 });
    record(etcd.watch('k'));
    await etcd.clock.advance(10);
    const waits: number[] = [];
    for (let round = 0; round < 8; round++) {
      const at = etcd.clock.now();
      etcd.stream.cut();
      while (etcd.open.length === 0) await etcd.clock.advance(1);
      waits.push(Math.round(etcd.clock.now() - at));
    }
    expect(waits.every((wait, index) => wait >= Math.min(2_000, 50 * 2 ** index))).toBe(true);
    expect(Math.max(...waits)).toBeLessThan(6_000);
  });
});

describe('a token that is refused', () => {
  const credentials = { username: 'u', password: 'p' };
  const REFUSED = 'rpc error: code = Unauthenticated desc = etcdserver: invalid auth token';

  it('T5: logs in again, opens a new stream and moves all watchers there', async () => {
    const etcd = new FakeEtcd({ credentials });
    const [a, b] = [record(etcd.watch('a')), record(etcd.watch('b'))];
    await etcd.clock.advance(10);
    const first = etcd.stream;
    // The token has run out meanwhile: what is new on the old stream is refused.
    etcd.refuse = (_, { metadata }) => (metadata['token'] === 'token-1' ? REFUSED : undefined);
    const c = record(etcd.watch('c'));
    await etcd.clock.advance(10);
    expect(first.closed).toBe(true);
    expect(etcd.stream.metadata['token']).toBe('token-2');
    etcd.commit(['a', '1'], ['b', '1'], ['c', '1']);
    await etcd.settle();
    expect([a.entries, b.entries, c.entries]).toEqual([['+a@2'], ['+b@2'], ['+c@2']]);
    expect(etcd.logins).toBe(2);
  });

  it('gives up with an UnauthenticatedError, after few logins, when every token is refused', async () => {
    const etcd = new FakeEtcd({ credentials });
    etcd.refuse = () => REFUSED;
    const seen = Array.from({ length: 50 }, (_, index) => record(etcd.watch(`k${index}`)));
    await etcd.clock.advance(10_000);
    for (const { error } of seen) expect(error).toBeInstanceOf(UnauthenticatedError);
    expect(etcd.logins).toBeLessThan(5);
    expect(etcd.open).toEqual([]);
  });

  it('logs in again when the stream itself is refused', async () => {
    const etcd = new FakeEtcd({ credentials });
    const seen = record(etcd.watch('a'));
    await etcd.clock.advance(10);
    etcd.stream.end(failure(GrpcCode.UNAUTHENTICATED, 'etcdserver: invalid auth token'));
    await etcd.clock.advance(1_000);
    expect(etcd.stream.metadata['token']).toBe('token-2');
    etcd.commit(['a', '1']);
    await etcd.settle();
    expect(seen.entries).toEqual(['+a@2']);
  });

  it('ends only the refused watcher of a client that cannot log in', async () => {
    const etcd = new FakeEtcd();
    const a = record(etcd.watch('a'));
    await etcd.clock.advance(10);
    etcd.refuse = () => 'rpc error: code = InvalidArgument desc = etcdserver: user name is empty';
    const b = record(etcd.watch('b'));
    await etcd.settle();
    expect(b.error).toBeInstanceOf(UnauthenticatedError);
    etcd.commit(['a', '1']);
    await etcd.settle();
    expect(a.entries).toEqual(['+a@2']);
    expect(etcd.streams).toHaveLength(1);
  });
});

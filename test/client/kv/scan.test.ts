import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { AbortError, CompactedError, DeadlineError } from '../../../src/client/errors.ts';
import type { Etcd } from '../../../src/client/etcd.ts';
import type { ScanOptions } from '../../../src/client/kv/scan.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { FakeMembers, rangesOf, refusal, wireKv } from './fake-member.ts';

const name = (i: number): string => `k${String(i).padStart(4, '0')}`;
const keys = (count: number, valueBytes = 1) =>
  Array.from({ length: count }, (_, i) => wireKv(name(i), 'x'.repeat(valueBytes)));

async function scanned(etcd: Etcd, options: ScanOptions = {}): Promise<string[]> {
  const seen: string[] = [];
  for await (const kv of etcd.scan({ all: true }, options)) seen.push(kv.key);
  return seen;
}

/** Members that hold these keys at revision 9. */
function holding(kvs: ReturnType<typeof keys>): FakeMembers {
  const ranges = rangesOf(kvs);
  return new FakeMembers(({ method, request }) => {
    if (method !== 'Range') throw new Error(method);
    return ranges(request);
  });
}

describe('a scan by pages', () => {
  it('reads all keys once, in order, at the revision of the first page', async () => {
    const kvs = keys(1_000);
    const members = holding(kvs);
    await using etcd = members.client();
    expect(await scanned(etcd)).toEqual(kvs.map(({ key }) => Buffer.from(key).toString()));
    const requests = members.of('Range').map(({ request }) => request);
    expect(requests.map(({ revision }) => revision)).toEqual([0n, 9n]);
    expect(requests.map(({ limit }) => limit)).toEqual([100n, 1_000n]);
  });

  it('takes one page when the first holds all, also of one key', async () => {
    const members = holding(keys(100));
    await using etcd = members.client();
    expect(await scanned(etcd)).toHaveLength(100);
    const found: string[] = [];
    for await (const kv of etcd.scan('k0007')) found.push(kv.key);
    expect(found).toEqual(['k0007']);
    expect(members.calls).toHaveLength(2);
  });

  it('lets pages grow and shrink towards 1 MiB, by at most ten times', async () => {
    const large = keys(400, 100 * 1024);
    const members = holding([...keys(2_000), ...large.map((kv, i) => ({ ...kv, key: Buffer.from(`z${name(i)}`) }))]);
    await using etcd = members.client();
    expect(await scanned(etcd)).toHaveLength(2_400);
    const limits = members.of('Range').map(({ request }) => Number(request.limit));
    expect(limits.slice(0, 3)).toEqual([100, 1_000, 1_000]);
    expect(limits.at(-1)).toBe(10);
    const shrinking = holding(large);
    await using other = shrinking.client();
    await scanned(other);
    const [first, ...rest] = shrinking.of('Range').map(({ request }) => Number(request.limit));
    expect(first).toBe(100);
    expect(new Set(rest)).toEqual(new Set([10]));
  });

  it('never asks for less than one key, however large the values', async () => {
    const members = holding(keys(3, 3 * 1024 * 1024));
    await using etcd = members.client();
    expect(await scanned(etcd, { pageSize: 1 })).toHaveLength(3);
    expect(members.of('Range').map(({ request }) => request.limit)).toEqual([1n, 1n, 1n]);
  });

  it('reads at the revision it is given', async () => {
    const members = holding(keys(150));
    await using etcd = members.client();
    await scanned(etcd, { revision: 4n as never });
    expect(members.of('Range').map(({ request }) => request.revision)).toEqual([4n, 4n]);
  });

  it('passes on keysOnly and serializable', async () => {
    const members = holding(keys(150));
    await using etcd = members.client();
    await scanned(etcd, { keysOnly: true, serializable: true });
    for (const { request } of members.of('Range'))
      expect(request).toMatchObject({ keysOnly: true, serializable: true });
  });

  it('asks the others when a member has not got to the revision of the first page yet', async () => {
    const ranges = rangesOf(keys(150));
    const members = new FakeMembers((call) => {
      if (call.method !== 'Range') throw new Error(call.method);
      const { revision, serializable } = call.request;
      if (serializable && revision > 0n)
        throw refusal(GrpcCode.OUT_OF_RANGE, 'etcdserver: mvcc: required revision is a future revision');
      return ranges(call.request);
    });
    await using etcd = members.client();
    expect(await scanned(etcd, { serializable: true })).toHaveLength(150);
    expect(members.of('Range').map(({ request }) => request.serializable)).toEqual([true, true, false]);
    // A revision that nobody was seen to have is another matter.
    await expect(scanned(etcd, { serializable: true, revision: 1_000n as never })).rejects.toMatchObject({
      code: 'future-revision',
    });
  });

  it('throws a CompactedError when its revision is compacted on the way', async () => {
    const ranges = rangesOf(keys(150));
    const members = new FakeMembers(({ method, request }) => {
      if (method === 'Range' && request.revision > 0n)
        throw refusal(GrpcCode.OUT_OF_RANGE, 'etcdserver: mvcc: required revision has been compacted');
      return ranges(request as never);
    });
    await using etcd = members.client();
    await expect(scanned(etcd)).rejects.toThrow(CompactedError);
  });

  it('asks for nothing more once its loop was left', async () => {
    const members = holding(keys(1_000));
    await using etcd = members.client();
    for await (const kv of etcd.scan({ all: true }, { pageSize: 10 })) if (kv.key === name(5)) break;
    expect(members.calls).toHaveLength(1);
  });
});

describe('a scan of servers with RangeStream', () => {
  function streaming(count: number): FakeMembers {
    const members = holding(keys(count));
    members.version = '3.7.0';
    return members;
  }
  const chunk = (from: number, to: number): object => ({ rangeResponse: { kvs: keys(to).slice(from) } });
  const all = (count: number): string[] => keys(count).map((_, i) => name(i));

  it('takes the rest as one stream at the same revision', async () => {
    const members = streaming(500);
    members.rangeStream = () => ({
      messages: [chunk(100, 300), { rangeResponse: { header: { revision: 9n } } }, chunk(300, 500)],
    });
    await using etcd = members.client();
    expect(await scanned(etcd)).toEqual(all(500));
    expect(members.of('Range')).toHaveLength(1);
    expect(
      members
        .of('RangeStream')
        .map(({ request }) => [Buffer.from(request.key).toString(), request.revision, request.limit]),
    ).toEqual([[`${name(99)}\0`, 9n, 0n]]);
    expect(members.streams).toEqual({ opened: 1, cancelled: 0 });
  });

  it('opens no stream for what fits a page', async () => {
    const members = streaming(100);
    await using etcd = members.client();
    expect(await scanned(etcd)).toEqual(all(100));
    expect(members.streams.opened).toBe(0);
  });

  it.each<[string, ReturnType<typeof refusal>]>([
    ['a broken connection', refusal(GrpcCode.UNAVAILABLE, 'gone')],
    ['a server without the method after all', refusal(GrpcCode.UNIMPLEMENTED, 'unknown method RangeStream')],
    ['a token that ran out', refusal(GrpcCode.UNAUTHENTICATED, 'etcdserver: invalid auth token')],
    ['a leader that changed', refusal(GrpcCode.UNAVAILABLE, 'etcdserver: leader changed')],
  ])('goes on by pages where it broke off, at the same revision: %s', async (_, end) => {
    const members = streaming(3_000);
    members.rangeStream = () => ({ messages: [chunk(100, 150)], end });
    await using etcd = members.client();
    expect(await scanned(etcd)).toEqual(all(3_000));
    // What follows are several pages, and no second try.
    expect(members.of('RangeStream')).toHaveLength(1);
    expect(members.of('Range').length).toBeGreaterThan(3);
    const [, second] = members.of('Range').map(({ request }) => request);
    expect(second).toMatchObject({ revision: 9n });
    expect(Buffer.from(second?.key ?? []).toString()).toBe(`${name(149)}\0`);
  });

  it('goes on by pages when the stream falls silent', async () => {
    const clock = new VirtualClock();
    const members = streaming(300);
    members.rangeStream = () => ({ messages: [chunk(100, 150)], end: 'hang' });
    const etcd = members.client({ clock });
    const result = scanned(etcd, { timeoutMs: 2_000 });
    await clock.settle();
    expect(members.of('Range')).toHaveLength(1);
    await clock.advance(2_001);
    expect(await result).toEqual(all(300));
    expect(members.streams).toEqual({ opened: 1, cancelled: 1 });
    expect(clock.pending.foreground).toBe(0);
    await etcd.close();
  });

  it('reports the error of the page when that fails too', async () => {
    const members = streaming(300);
    const ranges = members.answer;
    members.answer = (call, signal) => {
      if (call.method === 'Range' && call.request.revision > 0n)
        throw refusal(GrpcCode.OUT_OF_RANGE, 'etcdserver: mvcc: required revision has been compacted');
      return ranges(call, signal);
    };
    members.rangeStream = () => ({
      messages: [],
      end: refusal(GrpcCode.OUT_OF_RANGE, 'etcdserver: mvcc: required revision has been compacted'),
    });
    await using etcd = members.client();
    await expect(scanned(etcd)).rejects.toThrow(CompactedError);
  });

  it('cancels the stream when its loop is left', async () => {
    const members = streaming(500);
    members.rangeStream = () => ({ messages: [chunk(100, 300), chunk(300, 500)], end: 'hang' });
    await using etcd = members.client();
    for await (const kv of etcd.scan({ all: true })) if (kv.key === name(250)) break;
    expect(members.streams).toEqual({ opened: 1, cancelled: 1 });
  });

  it('ends with an AbortError when its signal fires in the stream', async () => {
    const clock = new VirtualClock();
    const members = streaming(500);
    members.rangeStream = () => ({ messages: [], end: 'hang' });
    const etcd = members.client({ clock });
    const abort = new AbortController();
    const outcome = scanned(etcd, { signal: abort.signal }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    await clock.settle();
    abort.abort('why');
    await clock.settle();
    expect(await outcome).toBeInstanceOf(AbortError);
    expect(await outcome).toMatchObject({ cause: 'why' });
    expect(members.streams).toEqual({ opened: 1, cancelled: 1 });
    expect(clock.pending.foreground).toBe(0);
    await etcd.close();
  });

  it('takes its listener off the signal', async () => {
    const members = streaming(300);
    members.rangeStream = () => ({ messages: [chunk(100, 300)] });
    await using etcd = members.client();
    const { signal } = new AbortController();
    expect(await scanned(etcd, { signal })).toEqual(all(300));
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('does not stream while any member is too old', async () => {
    const members = streaming(300);
    members.version = '3.6.12';
    await using etcd = members.client();
    expect(await scanned(etcd)).toEqual(all(300));
    expect(members.streams.opened).toBe(0);
  });

  it('bounds each page by timeoutMs', async () => {
    const clock = new VirtualClock();
    const members = holding(keys(300));
    members.answer = () => {
      throw refusal(GrpcCode.UNAVAILABLE, 'gone');
    };
    const etcd = members.client({ clock });
    const outcome = scanned(etcd, { timeoutMs: 300 }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    await clock.advance(60_000);
    expect(await outcome).toSatisfy(
      (error) => error instanceof DeadlineError || (error as { code: string }).code === 'unavailable',
    );
    await etcd.close();
  });
});

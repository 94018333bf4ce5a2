import { describe, expect, it } from 'vitest';
import { KV, Lease } from '../../../src/protocol/generated/etcdserverpb.ts';
import { Election, type LeaderResponse } from '../../../src/protocol/generated/v3electionpb.ts';
import type { CallOptions } from './machine-member.ts';
import { bytes, refusalOf, Served, text } from './served.ts';

const NAME = bytes('e');

async function withLeases(...ids: readonly bigint[]): Promise<Served> {
  const served = new Served();
  for (const ID of ids) await served.call(Lease.leaseGrant, { TTL: 60n, ID });
  return served;
}

function campaign(served: Served, lease: bigint, value: string, options: CallOptions = {}) {
  return served.call(Election.campaign, { name: NAME, lease, value: bytes(value) }, options);
}

function line({ kv, header }: LeaderResponse): string {
  return `${text(kv?.key)}=${text(kv?.value)}@${header?.revision}`;
}

describe('Campaign', () => {
  it('names the key, its revision and its lease', async () => {
    const served = await withLeases(0xabn);
    const { header, leader } = await campaign(served, 0xabn, 'one');
    expect(header?.revision).toBe(2n);
    expect(leader).toMatchObject({ rev: 2n, lease: 0xabn });
    expect([text(leader?.name), text(leader?.key)]).toEqual(['e', 'e/ab']);
    expect(line(await served.call(Election.leader, { name: NAME }))).toBe('e/ab=one@2');
  });

  it('replaces the value when the same lease campaigns again', async () => {
    const served = await withLeases(1n);
    await campaign(served, 1n, 'one');
    const again = await campaign(served, 1n, 'two');
    expect(again.leader?.rev).toBe(2n);
    expect(line(await served.call(Election.leader, { name: NAME }))).toBe('e/1=two@3');
    const { length } = served.member.proposed;
    await campaign(served, 1n, 'two');
    expect(served.member.proposed).toHaveLength(length + 1);
  });

  it('waits for its turn, and answers with the revision of its own write', async () => {
    const served = await withLeases(1n, 2n);
    const first = await campaign(served, 1n, 'one');
    const second = campaign(served, 2n, 'two');
    await served.settle();
    await served.call(Election.resign, { leader: first.leader });
    const won = await second;
    expect([won.leader?.rev, won.header?.revision]).toEqual([3n, 3n]);
  });

  it('leaves no key of who stops waiting', async () => {
    const served = await withLeases(1n, 2n);
    await campaign(served, 1n, 'one');
    const abort = new AbortController();
    const gone = campaign(served, 2n, 'two', { signal: abort.signal });
    await served.settle();
    abort.abort();
    expect(await refusalOf(gone)).toBe('1 context canceled');
    await served.settle();
    expect(served.member.state.store.get('e/2')).toBeUndefined();
  });

  it('does not lead without its key', async () => {
    const served = await withLeases(1n, 2n);
    await campaign(served, 1n, 'one');
    const waiting = campaign(served, 2n, 'two');
    await served.settle();
    await served.call(Lease.leaseRevoke, { ID: 2n });
    expect(await refusalOf(waiting)).toBe('2 election: not leader');
    expect(await refusalOf(campaign(served, 9n, 'x'))).toBe('2 etcdserver: requested lease not found');
  });
});

describe('Proclaim and Resign', () => {
  it('are for the leader alone', async () => {
    const served = await withLeases(1n);
    const { leader } = await campaign(served, 1n, 'one');
    expect((await served.call(Election.proclaim, { leader, value: bytes('two') })).header?.revision).toBe(3n);
    expect(line(await served.call(Election.leader, { name: NAME }))).toBe('e/1=two@3');
    const wrong = { ...leader, rev: 1n };
    expect(await refusalOf(served.call(Election.proclaim, { leader: wrong, value: bytes('x') }))).toBe(
      '2 election: not leader',
    );
    await served.call(Election.resign, { leader: wrong });
    expect(line(await served.call(Election.leader, { name: NAME }))).toBe('e/1=two@3');
  });

  it('keep the key on its lease when none is named', async () => {
    const served = await withLeases(1n);
    const { leader } = await campaign(served, 1n, 'one');
    await served.call(Election.proclaim, { leader: { ...leader, lease: 0n }, value: bytes('two') });
    const { kv } = await served.call(Election.leader, { name: NAME });
    expect([kv?.lease, text(kv?.value)]).toEqual([1n, 'two']);
    expect(served.member.state.lessor.size).toBe(1);
  });

  it('want the leader’s key', async () => {
    const served = await withLeases();
    const missing = '2 "leader" field must be provided';
    expect(await refusalOf(served.call(Election.proclaim, { value: bytes('x') }))).toBe(missing);
    expect(await refusalOf(served.call(Election.resign))).toBe(missing);
    expect(await refusalOf(served.call(Election.resign, { leader: {} }))).toBe('2 etcdserver: key is not provided');
    expect(await refusalOf(served.call(Election.leader, { name: NAME }))).toBe('2 election: no leader');
  });

  it('may be told twice to resign', async () => {
    const served = await withLeases(1n);
    const { leader } = await campaign(served, 1n, 'one');
    expect((await served.call(Election.resign, { leader })).header?.revision).toBe(3n);
    expect((await served.call(Election.resign, { leader })).header?.revision).toBe(3n);
  });
});

describe('Observe', () => {
  it('tells of the leader, of what it proclaims, and of each that follows', async () => {
    const served = await withLeases(1n, 2n);
    const first = await campaign(served, 1n, 'one');
    const second = campaign(served, 2n, 'two');
    await served.settle();
    const abort = new AbortController();
    const stream = served.stream(Election.observe, { name: NAME }, { signal: abort.signal });
    await served.settle();
    await served.call(Election.proclaim, { leader: first.leader, value: bytes('uno') });
    await served.settle();
    await served.call(Election.resign, { leader: first.leader });
    await second;
    await served.settle();
    expect(stream.received.map(line)).toEqual(['e/1=one@3', 'e/1=uno@4', 'e/2=two@5']);
    abort.abort();
    await stream.ended;
    expect(served.member.state.watches.counts).toEqual({ upToDate: 0, behind: 0 });
  });

  it('waits for the first leader, and misses nothing that comes between the read and the watch', async () => {
    const served = await withLeases(1n);
    const stream = served.stream(Election.observe, { name: NAME });
    await served.settle();
    expect(stream.received).toEqual([]);
    stream.room = false;
    const { leader } = await campaign(served, 1n, 'one');
    await served.settle();
    for (const value of ['two', 'three']) await served.call(Election.proclaim, { leader, value: bytes(value) });
    await served.settle();
    expect(stream.received.map(line)).toEqual(['e/1=one@2']);
    stream.read();
    await served.member.clock.advance(0);
    expect(stream.received.map(line)).toEqual(['e/1=one@2', 'e/1=two@3', 'e/1=three@4']);
  });

  it('starts over where what it needs is compacted', async () => {
    const served = await withLeases(1n);
    const { leader } = await campaign(served, 1n, 'one');
    const stream = served.stream(Election.observe, { name: NAME });
    stream.room = false;
    await served.settle();
    await served.call(Election.proclaim, { leader, value: bytes('two') });
    const { header } = await served.call(Election.proclaim, { leader, value: bytes('three') });
    await served.call(KV.compact, { revision: header?.revision });
    stream.read();
    await served.member.clock.advance(0);
    expect(stream.received.map(line)).toEqual(['e/1=one@2', 'e/1=three@4']);
  });

  it('is for those who may read the keys', async () => {
    const served = new Served();
    const { user } = await served.enableAuth('ann', 'f/');
    const stream = served.stream(Election.observe, { name: NAME }, user);
    expect(await refusalOf(stream.ended)).toBe('2 etcdserver: permission denied');
  });
});

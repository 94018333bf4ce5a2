import { describe, expect, it } from 'vitest';
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import { ApplyError } from '../../../src/server/apply/errors.ts';
import { StateMachine } from '../../../src/server/apply/machine.ts';
import type { KvRecord } from '../../../src/server/mvcc/record.ts';
import { lines } from '../mvcc/support.ts';
import { Bench, compact, put, raise, reborn, remove, saidOf, sharedState, TokenLog } from './support.ts';

const EVERYTHING = { key: '\0', end: '\0' };

function watcher(bench: Bench, startRevision = 0): string[] {
  const seen: string[] = [];
  bench.machine.watches.watch({
    range: EVERYTHING,
    startRevision,
    sink: {
      offer: (records: readonly KvRecord[]) => {
        seen.push(lines(records).join(' '));
        return true;
      },
      compacted: (revision) => seen.push(`compacted ${revision}`),
    },
  });
  return seen;
}

describe('an entry', () => {
  it('gives the number that its proposer waits for: the one of its header, or else its own', () => {
    const bench = new Bench();
    expect(bench.entry({ ID: 3n, header: { ID: 5n }, ...put('a') }).requestId).toBe(5n);
    expect(bench.entry({ ID: 3n, ...put('a') }).requestId).toBe(3n);
    expect(bench.entry(put('a')).requestId).toBe(0n);
  });

  it('of a new term has nothing in it, and counts', () => {
    const bench = new Bench();
    const nothing = bench.machine.apply({ term: 4, index: 1, type: 'EntryNormal', data: new Uint8Array() }, 0);
    expect(nothing).toEqual({ requestId: 0n, outcome: undefined });
    expect([bench.machine.index, bench.machine.term]).toEqual([1, 4]);
  });

  it('that was applied is passed over', () => {
    const bench = new Bench();
    const data = new Uint8Array(InternalRaftRequest.encode({ ID: 1n, ...put('a') }));
    const entry = { term: 1, index: 1, type: 'EntryNormal' as const, data };
    expect(saidOf(bench.machine.apply(entry, 0).outcome)).toBe('put');
    expect(bench.machine.apply(entry, 0)).toEqual({ requestId: 0n, outcome: undefined });
    expect(bench.machine.store.revision).toBe(2);
  });

  it('after a gap stops the member', () => {
    const bench = new Bench();
    const apply = () => bench.machine.apply({ term: 1, index: 2, type: 'EntryNormal', data: new Uint8Array() }, 0);
    expect(apply).toThrow(ApplyError);
    expect(bench.machine.index).toBe(0);
  });

  it('that is no request is refused, and nobody waits for it', () => {
    const bench = new Bench();
    const { requestId, outcome } = bench.raw(Buffer.from([0x08, 0x07, 0xff, 0xff]));
    expect([requestId, saidOf(outcome)]).toEqual([0n, 'etcdserver: an entry of the log that is no request']);
    expect(bench.machine.index).toBe(1);
  });

  it('of an unknown kind, of none or of two stops the member, and changes nothing', () => {
    const bench = new Bench();
    // Field 2000, empty.
    expect(() => bench.raw(Buffer.from([0x08, 0x01, 0x82, 0x7d, 0x00]))).toThrow(/does not know/);
    expect(() => bench.entry({ ID: 1n })).toThrow(ApplyError);
    expect(() => bench.entry({ ...put('a'), ...remove('a') })).toThrow(/more than one/);
    expect([bench.machine.index, bench.machine.store.revision]).toEqual([0, 1]);
  });

  it('of version 2 tells the version of the cluster, and what a member says of itself', () => {
    const bench = new Bench();
    bench.change('add-voter', { id: 0xabn, peerUrls: ['p'] });
    const v2 = (path: string, value: string, method = 'PUT') => {
      const field = (tag: number, text: string) => [tag, Buffer.byteLength(text), ...Buffer.from(text)];
      const data = [0x08, 0x01, ...field(0x12, method), ...field(0x1a, path), ...field(0x22, value), 0x28, 0x00];
      return saidOf(bench.raw(Uint8Array.from(data)).outcome);
    };
    expect(v2('/0/version', '3.5.0')).toBe('cluster-change');
    expect(v2('/0/members/ab/attributes', '{"name":"m","clientURLs":["c"]}')).toBe('cluster-change');
    v2('/0/members/ab/attributes', 'no JSON');
    v2('/0/version', '3.3.0', 'GET');
    expect(bench.machine.members.clusterVersion).toBe('3.5.0');
    expect(bench.machine.members.get(0xabn)).toMatchObject({ name: 'm', clientUrls: ['c'], peerUrls: ['p'] });
  });
});

describe('watchers', () => {
  it('hear of an entry when it is applied, of each revision in one piece', () => {
    const bench = new Bench();
    const seen = watcher(bench);
    bench.put('a', '1');
    bench.do({ txn: { success: [{ requestPut: put('b').put }, { requestDeleteRange: remove('a').deleteRange }] } });
    bench.do({ leaseGrant: { ID: 9n, TTL: 60n } });
    bench.put('z', '', 9n);
    bench.put('y', '', 9n);
    bench.do({ leaseRevoke: { ID: 9n } });
    bench.do(remove('a', 'c'));
    expect(seen).toEqual(['a=1@2', 'b=@3 a!@3', 'z=@4', 'y=@5', 'y!@6 z!@6', 'b!@7']);
  });

  it('read on from the image that a machine becomes', async () => {
    const source = new Bench();
    for (const key of ['a', 'b', 'c']) source.put(key);
    const bench = new Bench();
    bench.put('old');
    const seen = watcher(bench);
    const fresh = await reborn(source.machine);
    await bench.machine.restore(source.machine.rows(), () => fresh.machine.store);
    expect(seen).toEqual([]);
    bench.machine.watches.catchUp();
    expect(seen).toEqual(['b=@3 c=@4']);
    bench.put('d');
    expect(seen.at(-1)).toBe('d=@5');
  });
});

describe('restoring', () => {
  it('takes all there is, and leaves nothing of before', async () => {
    const source = new Bench();
    source.change('add-voter', { id: 1n, peerUrls: ['p1'] });
    source.change('add-learner', { id: 2n, peerUrls: ['p2'] });
    source.change('add-voter', { id: 3n, peerUrls: ['p3'] });
    source.change('remove', { id: 3n });
    source.do({ clusterVersionSet: { ver: '3.5.0' } });
    source.do({ downgradeInfoSet: { enabled: true, ver: '3.4.0' } });
    source.do({ leaseGrant: { ID: 4n, TTL: 60n } });
    source.put('a', 'x', 4n);
    source.put('b', 'y', 4n);
    source.do(compact(3));
    source.do({ authUserAdd: { name: 'root', hashedPassword: 'aGFzaA==' } });
    source.do({ authUserGrantRole: { user: 'root', role: 'root' } });
    source.do({ authEnable: {} });
    source.do(raise(1));
    const target = await reborn(source.machine);
    expect(sharedState(target.machine)).toEqual(sharedState(source.machine));
    expect(target.machine.auth.revision).toBe(source.machine.auth.revision);
    expect(target.tokens.voided).toEqual(['*']);
    expect([...target.machine.lessor.keysOf(4n)].sort()).toEqual(['a', 'b']);
    // What is deleted later comes off its lease here too.
    target.do({ authDisable: {}, header: { username: 'root', authRevision: 9n } });
    target.do(remove('a'));
    expect([...target.machine.lessor.keysOf(4n)]).toEqual(['b']);
    const empty = new Bench().machine;
    await target.machine.restore(empty.rows(), () => empty.store);
    expect(sharedState(target.machine)).toEqual(sharedState(empty));
  });

  it('changes nothing if the keys can not be read', async () => {
    const bench = new Bench();
    bench.do({ leaseGrant: { ID: 4n, TTL: 60n } });
    bench.put('a', 'x', 4n);
    const before = sharedState(bench.machine);
    const failing = bench.machine.restore(new Bench().machine.rows(), async (leases) => {
      leases.attach(4n, 'other');
      throw new Error('torn');
    });
    await expect(failing).rejects.toThrow('torn');
    expect(sharedState(bench.machine)).toEqual(before);
  });

  it('knows who votes from the configuration, as etcd 3.5 may not have written it to the members', async () => {
    const bench = new Bench();
    bench.change('add-voter', { id: 1n, peerUrls: ['p1'] });
    bench.change('add-learner', { id: 2n, peerUrls: ['p2'] });
    const rows = bench.machine.rows();
    expect(rows.confState).toMatchObject({ voters: [1n], learners: [2n] });
    const confState = { ...rows.confState!, voters: [1n, 2n], learners: [] };
    const { machine } = new Bench();
    await machine.restore({ ...rows, confState }, () => machine.store);
    expect(machine.members.get(2n)?.isLearner).toBe(false);
    await machine.restore({ ...rows, confState: undefined }, () => machine.store);
    expect(machine.members.get(2n)?.isLearner).toBe(true);
  });
});

describe('leases and their time', () => {
  it('are counted by the clock that comes with each entry', () => {
    const machine = new StateMachine({ tokens: new TokenLog(), minTtlSeconds: 2, quotaBytes: 0, checkpointMs: 5_000 });
    machine.lessor.promote(0, 0);
    const data = new Uint8Array(InternalRaftRequest.encode({ leaseGrant: { ID: 1n, TTL: 10n } }));
    machine.apply({ term: 1, index: 1, type: 'EntryNormal', data }, 70_000);
    expect(machine.lessor.timeToLive(1n, 75_000)).toEqual({ remainingSeconds: 5, grantedSeconds: 10 });
    expect(machine.lessor.dueCheckpoints(75_000)).toEqual([{ ID: 1n, remainingTTL: 5n }]);
  });
});

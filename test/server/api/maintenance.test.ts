import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  AlarmType,
  Cluster,
  type DowngradeRequestDowngradeAction,
  KV,
  Lease,
  Maintenance,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { bytes, refusalOf, Served } from './served.ts';

const NOSPACE = { action: 1, memberID: 0x11n, alarm: AlarmType.NOSPACE } as const;

async function downgradable(): Promise<Served> {
  const served = new Served();
  await served.member.propose({ clusterVersionSet: { ver: '3.5.0' } });
  return served;
}

describe('Status', () => {
  it('says where the member is', async () => {
    const served = new Served();
    await served.call(KV.put, { key: bytes('a'), value: bytes('b') });
    served.member.position = { ...served.member.position, committed: 9 };
    const status = await served.call(Maintenance.status);
    expect(status).toMatchObject({
      header: { clusterId: 0xc1n, memberId: 0x11n, revision: 2n, raftTerm: 2n },
      version: '3.5.30',
      leader: 0x11n,
      raftIndex: 9n,
      raftTerm: 2n,
      raftAppliedIndex: 1n,
      isLearner: false,
      errors: [],
    });
    expect(status.dbSize).toBe(BigInt(served.member.state.sizeBytes));
    expect(status.dbSizeInUse).toBe(BigInt(served.member.state.sizeInUseBytes));
    expect(status.dbSizeInUse).toBeGreaterThan(0n);
  });

  it('names what is wrong, as etcd prints it', async () => {
    const served = new Served();
    served.member.lead(0n);
    await served.call(Maintenance.alarm, NOSPACE);
    await served.call(Maintenance.alarm, { action: 1, alarm: AlarmType.CORRUPT });
    const { errors, leader } = await served.call(Maintenance.status);
    expect(leader).toBe(0n);
    expect(errors[0]).toBe('etcdserver: no leader');
    expect(errors.slice(1).sort()).toEqual(['alarm:CORRUPT ', 'memberID:17 alarm:NOSPACE ']);
  });
});

describe('Alarm', () => {
  it('is raised, listed and put out through the log', async () => {
    const served = new Served();
    const alarm = { memberID: 0x11n, alarm: AlarmType.NOSPACE };
    expect((await served.call(Maintenance.alarm, NOSPACE)).alarms).toEqual([alarm]);
    const { alarms, header } = await served.call(Maintenance.alarm, { action: 0 });
    expect(alarms).toEqual([alarm]);
    expect(header?.revision).toBe(1n);
    expect((await served.call(Maintenance.alarm, { ...NOSPACE, action: 2, memberID: 5n })).alarms).toEqual([]);
    expect((await served.call(Maintenance.alarm, { ...NOSPACE, action: 2 })).alarms).toEqual([alarm]);
    expect((await served.call(Maintenance.alarm, { action: 0 })).alarms).toEqual([]);
    expect(served.member.proposed).toHaveLength(5);
  });
});

describe('Hash and HashKV', () => {
  it('hash what members have in common, wherever their logs are', async () => {
    const hashOf = async (...alarms: 0[]) => {
      const served = new Served();
      await served.call(KV.put, { key: bytes('a'), value: bytes('1') });
      for (const action of alarms) await served.call(Maintenance.alarm, { action });
      const hash = served.call(Maintenance.hash);
      await served.member.clock.advance(0);
      return (await hash).hash;
    };
    expect(await hashOf()).toBe(await hashOf(0, 0));
    const served = new Served();
    await served.call(KV.put, { key: bytes('a'), value: bytes('1') });
    await served.call(Lease.leaseGrant, { TTL: 60n, ID: 1n });
    const other = served.call(Maintenance.hash);
    await served.member.clock.advance(0);
    expect((await other).hash).not.toBe(await hashOf());
  });

  it('HashKV is etcd’s, of now or of a revision', async () => {
    const served = new Served();
    expect(await served.call(Maintenance.hashKV)).toMatchObject({ hash: 1084519789, compactRevision: -1n });
    for (const key of ['a', 'b', 'c']) await served.call(KV.put, { key: bytes(key) });
    const then = await served.call(Maintenance.hashKV, { revision: 3n });
    expect(then.header?.revision).toBe(4n);
    expect(then.hash).not.toBe((await served.call(Maintenance.hashKV)).hash);
    expect(await refusalOf(served.call(Maintenance.hashKV, { revision: 5n }))).toBe(
      '11 etcdserver: mvcc: required revision is a future revision',
    );
    await served.call(KV.compact, { revision: 4n });
    expect(await refusalOf(served.call(Maintenance.hashKV, { revision: 2n }))).toBe(
      '11 etcdserver: mvcc: required revision has been compacted',
    );
    expect((await served.call(Maintenance.hashKV)).compactRevision).toBe(4n);
  });
});

describe('Snapshot', () => {
  it('is the image in chunks, what is left of it, and its digest', async () => {
    const served = new Served();
    for (let i = 0; i < 20; i += 1) await served.call(KV.put, { key: bytes(`k${i}`), value: Buffer.alloc(5_000, i) });
    const stream = served.stream(Maintenance.snapshot, {});
    await stream.ended;
    const chunks = stream.received.slice(0, -1);
    const digest = stream.received.at(-1);
    const image = Buffer.concat(chunks.map(({ blob }) => blob));
    expect(image.length).toBe((await served.member.image()).sizeBytes);
    expect(chunks.slice(0, -1).every(({ blob }) => blob.length === 32_768)).toBe(true);
    let left = image.length;
    for (const { blob, remainingBytes, header } of chunks) {
      left -= blob.length;
      expect([remainingBytes, header]).toEqual([BigInt(left), undefined]);
    }
    expect(left).toBe(0);
    expect(digest?.remainingBytes).toBe(0n);
    expect(Buffer.from(digest?.blob ?? [])).toEqual(createHash('sha256').update(image).digest());
  });

  it('is sent no faster than it is read, and not to who is gone', async () => {
    const served = new Served();
    for (let i = 0; i < 20; i += 1) await served.call(KV.put, { key: bytes(`k${i}`), value: Buffer.alloc(5_000, i) });
    const abort = new AbortController();
    const stream = served.stream(Maintenance.snapshot, {}, { signal: abort.signal });
    stream.room = false;
    await served.settle();
    expect(stream.received).toHaveLength(1);
    stream.read();
    stream.room = false;
    await served.settle();
    expect(stream.received).toHaveLength(2);
    abort.abort();
    stream.read();
    await stream.ended;
    expect(stream.received).toHaveLength(2);
  });
});

describe('MoveLeader', () => {
  it('checks who is to lead, and answers with nothing', async () => {
    const served = new Served();
    const { member: voter } = await served.call(Cluster.memberAdd, { peerURLs: ['http://a:1'] });
    const { member: learner } = await served.call(Cluster.memberAdd, { peerURLs: ['http://b:1'], isLearner: true });
    const move = (targetID: bigint | undefined) => refusalOf(served.call(Maintenance.moveLeader, { targetID }));
    for (const targetID of [0n, 99n, learner?.ID])
      expect(await move(targetID)).toBe('9 etcdserver: bad leader transferee');
    expect(await served.call(Maintenance.moveLeader, { targetID: voter?.ID })).toEqual({ header: undefined });
    expect(served.member.position.leader).toBe(voter?.ID);
    expect(await move(voter?.ID)).toBe('9 etcdserver: not leader');
  });
});

describe('Downgrade', () => {
  const downgrade = (served: Served, action: DowngradeRequestDowngradeAction, version = '') =>
    refusalOf(served.call(Maintenance.downgrade, { action, version }));

  it('validates the version one minor below', async () => {
    const served = await downgradable();
    const { version, header } = await served.call(Maintenance.downgrade, { action: 0, version: '3.4' });
    expect([version, header?.revision]).toEqual(['3.5.0', 1n]);
    expect(await downgrade(served, 0, '3.4.0')).toBe('not refused');
    for (const version of ['3.3', '3.5.0', '3.6', '2.4']) {
      expect(await downgrade(served, 0, version)).toBe('3 etcdserver: invalid downgrade target version');
    }
    for (const version of ['', '3', 'v3.4', '3.4.x', '3.4.0.1']) {
      expect(await downgrade(served, 0, version)).toBe('3 etcdserver: wrong downgrade target version format');
    }
    expect(await downgrade(new Served(), 0, '3.4')).toBe('14 etcdserver: cluster version not found during downgrade');
    expect(await downgrade(served, 7 as 0)).toBe('2 etcdserver: unknown method');
  });

  it('is begun, is one at a time, and is called off', async () => {
    const served = await downgradable();
    expect(await downgrade(served, 2)).toBe('9 etcdserver: no inflight downgrade job');
    expect((await served.call(Maintenance.downgrade, { action: 1, version: '3.4.7' })).version).toBe('3.5.0');
    expect(served.member.state.members.downgradeTarget).toBe('3.4.0');
    expect(await downgrade(served, 1, '3.4')).toBe('9 etcdserver: cluster has a downgrade job in progress');
    expect(await downgrade(served, 0, '3.4')).toBe('9 etcdserver: cluster has a downgrade job in progress');
    expect((await served.call(Maintenance.downgrade, { action: 2 })).version).toBe('3.5.0');
    expect(served.member.state.members.downgradeTarget).toBeUndefined();
  });
});

describe('Defragment', () => {
  it('is done here, and answers with nothing', async () => {
    const served = new Served();
    expect(await served.call(Maintenance.defragment)).toEqual({ header: undefined });
    expect(served.member.defragmented).toBe(1);
  });
});

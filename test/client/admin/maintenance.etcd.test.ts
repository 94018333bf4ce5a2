import { afterAll, beforeAll, expect, it } from 'vitest';
import type { DefragmentStep } from '../../../src/client/admin/defragment-all.ts';
import { KV } from '../../../src/protocol/generated/etcdserverpb.ts';
import { memberId, revision } from '../../../src/protocol/int64.ts';
import { describeOnEtcd } from '../../support/fixtures.ts';
import { type AdminClient, adminClient, put } from './callers.ts';

describeOnEtcd(
  'maintenance',
  (suite) => {
    let etcd: AdminClient;
    beforeAll(() => {
      etcd = adminClient(suite.cluster);
    });
    afterAll(() => etcd[Symbol.dispose]());

    it('tells the status of the member asked for', async () => {
      for (const member of suite.cluster.members) {
        const status = await etcd.maintenance.status({ endpoint: member.clientUrl });
        const own = await member.status();
        expect(status.header.memberId).toBe(BigInt(own.memberId));
        expect(status.version).toBe(suite.cluster.binaries.version);
        expect(status.isLeader).toBe(own.memberId === own.leaderId);
        expect(status.leaderId).toBe(BigInt(own.leaderId));
        expect(status.dbSizeBytes).toBeGreaterThanOrEqual(status.dbSizeInUseBytes);
        expect(status.raftAppliedIndex).toBeLessThanOrEqual(status.raftIndex);
        expect(status).toMatchObject({
          isLearner: false,
          errors: [],
          storageVersion: undefined,
          dbSizeQuotaBytes: undefined,
        });
      }
    });

    it('switches alarms on and off, one and all', async () => {
      const { alarms } = etcd.maintenance;
      const { members } = await etcd.cluster.members();
      const [{ id }] = members as [(typeof members)[0]];
      expect((await alarms.list()).alarms).toEqual([]);
      expect((await alarms.activate({ type: 'nospace', memberId: id })).alarms).toEqual([
        { type: 'nospace', memberId: id },
      ]);
      await expect(put(etcd, 'k', 'v')).rejects.toMatchObject({ code: 'no-space', applied: 'maybe' });
      await alarms.activate({ type: 'nospace', memberId: id });
      await alarms.activate({ type: 'corrupt', memberId: id });
      expect((await alarms.list()).alarms.length).toBe(2);

      const health = await etcd.maintenance.health();
      expect(health.healthy).toBe(false);
      for (const entry of health.members) {
        expect(entry.healthy).toBe(entry.member.id !== id);
        expect(entry.alarms.map(({ type }) => type).sort()).toEqual(
          entry.member.id === id ? ['corrupt', 'nospace'] : [],
        );
      }

      expect((await alarms.disarmAll({ type: 'corrupt' })).alarms).toEqual([{ type: 'corrupt', memberId: id }]);
      const wrong = await alarms.deactivate({ type: 'nospace', memberId: memberId(0xbadn) });
      expect(wrong.alarms).toEqual([]);
      expect((await alarms.disarmAll()).alarms).toEqual([{ type: 'nospace', memberId: id }]);
      expect((await alarms.list()).alarms).toEqual([]);
      await put(etcd, 'k', 'v');
    });

    it('hashes: members agree on the keys', async () => {
      const at = await put(etcd, 'hashed', 'value');
      const hashes = await Promise.all(
        suite.cluster.members.map(({ clientUrl }) =>
          eventually(() => etcd.maintenance.hashKv(at, { endpoint: clientUrl })),
        ),
      );
      expect(new Set(hashes.map(({ hash }) => hash)).size).toBe(1);
      expect(hashes[0]).toMatchObject({ compactRevision: undefined, hashRevision: undefined });
      await expect(etcd.maintenance.hashKv(revision(at + 1_000n))).rejects.toMatchObject({ code: 'future-revision' });
      expect((await etcd.maintenance.hash()).hash).toBeGreaterThan(0);
    });

    it('moves the leadership, wherever it is', async () => {
      const leader = await etcd.maintenance.status();
      const { members } = await etcd.cluster.members();
      await etcd.maintenance.moveLeader(leader.leaderId!); // has it already
      await expect(etcd.maintenance.moveLeader(memberId(0xbadn))).rejects.toMatchObject({
        etcdCode: 'BadLeaderTransferee',
      });
      for (const { id } of members) {
        await etcd.maintenance.moveLeader(id);
        await eventually(async () => {
          expect((await etcd.maintenance.health()).leaderId).toBe(id);
        });
      }
      const followers = await suite.cluster.followers();
      if (followers[0] === undefined) return;
      const aimed = etcd.maintenance.moveLeader(members[0]!.id, { endpoint: followers[0].clientUrl });
      await expect(aimed).rejects.toMatchObject({ etcdCode: 'NotLeader', applied: 'no' });
    });

    it('tells the health of all', async () => {
      const health = await etcd.maintenance.health();
      expect(health).toMatchObject({ healthy: true, hasQuorum: true, alarms: [], alarmsError: undefined });
      expect(health.members.length).toBe(suite.size);
      expect(health.members.filter(({ isLeader }) => isLeader).map(({ member }) => member.id)).toEqual([
        health.leaderId,
      ]);
      for (const entry of health.members) {
        expect(entry).toMatchObject({ healthy: true, isLearner: false, error: undefined });
        expect(entry.status?.header.memberId).toBe(entry.member.id);
        expect(entry.raftLag).toBeLessThan(100);
      }
    });

    it('defragments every member, the leader last', async () => {
      for (let i = 0; i < 6; i++) await put(etcd, 'large', Buffer.alloc(1024 * 1024, i));
      const last = await put(etcd, 'last', '');
      await etcd.caller.unary(KV.compact, { revision: last, physical: true }, { kind: 'write' });
      // The other members compact when they like, and count what that freed at their next commit.
      await eventually(async () => {
        await put(etcd, 'tick', '');
        for (const { status } of (await etcd.maintenance.health()).members) {
          expect(status?.dbSizeInUseBytes).toBeLessThan(3 * 1024 * 1024);
        }
      });
      const { leaderId } = await etcd.maintenance.health();
      const told: DefragmentStep[] = [];
      const steps = await etcd.maintenance.defragmentAll({ onStep: (step) => told.push(step) });
      expect(steps).toEqual(told);
      expect(steps.map(({ outcome }) => outcome)).toEqual(Array(suite.size).fill('defragmented'));
      expect(new Set(steps.map(({ member }) => member.id)).size).toBe(suite.size);
      expect(steps.at(-1)?.member.id).toBe(leaderId);
      expect(steps.map(({ done, total }) => `${done}/${total}`)).toEqual(
        steps.map((_, index) => `${index + 1}/${suite.size}`),
      );
      for (const { bytesBefore, bytesAfter } of steps) expect(bytesAfter).toBeLessThan(bytesBefore! - 3 * 1024 * 1024);
      await put(etcd, 'k', 'v');
    });

    it('needs to be told whom to defragment', async () => {
      const unaimed = etcd.maintenance.defragment({} as { endpoint: string });
      await expect(unaimed).rejects.toMatchObject({ code: 'invalid-argument' });
    });
  },
  { members: [1, 3] },
);

describeOnEtcd('downgrade', (suite) => {
  it('is started and called off, or not supported', async () => {
    using etcd = adminClient(suite.cluster);
    const { downgrade } = etcd.maintenance;
    if (suite.version === '3.4') {
      const refusal = { code: 'unsupported', message: expect.stringMatching(/downgrade.* needs etcd 3\.5; .*"3\.4\./) };
      await expect(downgrade.validate('3.3')).rejects.toMatchObject(refusal);
      await expect(downgrade.enable('3.3')).rejects.toMatchObject(refusal);
      return;
    }
    expect((await downgrade.validate('3.4')).version).toBe('3.5.0');
    await expect(downgrade.validate('3.2')).rejects.toMatchObject({ etcdCode: 'InvalidDowngradeTargetVersion' });
    await expect(downgrade.validate('soon')).rejects.toMatchObject({ etcdCode: 'WrongDowngradeVersionFormat' });
    // The server does it, and then answers a timeout.
    await downgrade.enable('3.4');
    await expect(downgrade.validate('3.4')).rejects.toMatchObject({ etcdCode: 'DowngradeInProcess' });
    const { ending } = await downgrade.cancel().then(
      () => ({ ending: 'well' }),
      (error: unknown) => ({ ending: error }),
    );
    if (ending !== 'well') expect(ending).toMatchObject({ etcdCode: 'Timeout', applied: 'maybe' });
    await expect(downgrade.cancel()).rejects.toMatchObject({ etcdCode: 'NoInflightDowngrade' });
    expect((await downgrade.validate('3.4')).version).toBe('3.5.0');
  }, 60_000);
});

/** Repeats what members that are a little behind cannot do yet. */
async function eventually<T>(check: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await check();
    } catch (error) {
      if (attempt >= 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { unsupportedArchEnv } from '../../../scripts/etcd.ts';
import type { MemberAddResult } from '../../../src/client/admin/cluster.ts';
import { readCapabilities, requireFeature } from '../../../src/client/admin/server-capabilities.ts';
import type { EtcdError } from '../../../src/client/errors.ts';
import { memberId } from '../../../src/protocol/int64.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import { EtcdMember } from '../../support/etcd-member.ts';
import { describeOnEtcd } from '../../support/fixtures.ts';
import { freePorts, releasePorts } from '../../support/ports.ts';
import { type AdminClient, adminClient } from './callers.ts';

describeOnEtcd(
  'cluster',
  (suite) => {
    let etcd: AdminClient;
    beforeAll(() => {
      etcd = adminClient(suite.cluster);
    });
    afterAll(() => etcd[Symbol.dispose]());

    it('lists the members', async () => {
      const { header, members } = await etcd.cluster.members();
      expect(header.clusterId).not.toBe(0n);
      expect(header.revision).toBe(0n);
      expect(members.map(({ name }) => name).sort()).toEqual(suite.cluster.members.map(({ name }) => name));
      expect(members.map(({ id }) => id)).toEqual([...members.map(({ id }) => id)].sort((a, b) => (a < b ? -1 : 1)));
      for (const { name, clientUrls, peerUrls, isLearner } of members) {
        const member = suite.cluster.members.find((other) => other.name === name);
        expect([...clientUrls, ...peerUrls]).toEqual([member?.clientUrl, member?.peerUrl]);
        expect(isLearner).toBe(false);
      }
      expect((await etcd.cluster.members({ linearizable: false })).members).toEqual(members);
    });

    it('gives a linearizable list where that means something, and says where it does not', async () => {
      const asked = etcd.cluster.members({ linearizable: true });
      if (suite.version !== '3.4') expect((await asked).members.length).toBe(suite.size);
      else await expect(asked).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('3.5') });
    });

    it('knows what the servers can do', async () => {
      const found = await readCapabilities(etcd.caller);
      expect(found.version).toBe(suite.cluster.binaries.version);
      expect(found.supports('learners')).toBe(true);
      expect(found.supports('rangeStream')).toBe(false);
      expect(() => found.require('rangeStream')).toThrow(/rangeStream.* needs etcd 3\.7; .*3\.[45]\./);
      const [member] = suite.cluster.members;
      expect((await readCapabilities(etcd.caller, { endpoint: member!.clientUrl })).version).toBe(found.version);
      await requireFeature(etcd.caller, 'learners', {});
      await expect(requireFeature(etcd.caller, 'rangeStream', {})).rejects.toMatchObject({ code: 'unsupported' });
    });

    it('does not know a stranger', async () => {
      const stranger = memberId(0xbadn);
      const unknown = { etcdCode: 'MemberNotFound', applied: 'no' };
      await expect(etcd.cluster.remove(stranger)).rejects.toMatchObject(unknown);
      await expect(etcd.cluster.promote(stranger)).rejects.toMatchObject(unknown);
      await expect(etcd.cluster.update(stranger, { peerUrls: ['http://127.0.0.1:1'] })).rejects.toMatchObject(unknown);
      await expect(etcd.cluster.add({ peerUrls: [] })).rejects.toMatchObject({ code: 'invalid-argument' });
      const bad = etcd.cluster.add({ peerUrls: ['http://127.0.0.1:1/path'] });
      await expect(bad).rejects.toMatchObject({ etcdCode: 'BadMemberUrls' });
    });

    it('adds and removes a learner, and refuses what would be wrong', async () => {
      const ports = await freePorts(2);
      const [peer, other] = ports.map((port) => `http://127.0.0.1:${port}`) as [string, string];
      const { member, members } = await addLearner(etcd, peer);
      try {
        expect(member).toMatchObject({ name: '', peerUrls: [peer], clientUrls: [], isLearner: true });
        expect(members).toContainEqual(member);
        expect(members.length).toBe(suite.size + 1);
        // Who is asked for the members may hear of it a moment later.
        const { health, seen } = await vi.waitFor(async () => {
          const health = await etcd.maintenance.health();
          const seen = health.members.find((entry) => entry.member.id === member.id);
          expect(seen).toBeDefined();
          return { health, seen };
        });
        expect(seen).toMatchObject({
          healthy: false,
          endpoint: undefined,
          isLearner: true,
          error: { code: 'unavailable' },
        });
        expect(health).toMatchObject({ healthy: false, hasQuorum: true });
        await expect(etcd.cluster.promote(member.id)).rejects.toMatchObject({
          etcdCode: 'LearnerNotReady',
          applied: 'no',
        });
        const twice = etcd.cluster.add({ peerUrls: [other], learner: true });
        await expect(twice).rejects.toMatchObject({ etcdCode: 'TooManyLearners' });
        // Updating a learner gives it a vote before 3.5.31, so a voter is what this updates.
        const voter = members.find(({ isLearner }) => !isLearner)!;
        await expect(etcd.cluster.update(voter.id, { peerUrls: [peer] })).rejects.toMatchObject({
          etcdCode: 'PeerUrlExists',
        });
      } finally {
        const left = await etcd.cluster.remove(member.id);
        expect(left.members.map(({ id }) => id)).not.toContain(member.id);
        releasePorts(ports);
      }
      await expect(etcd.cluster.remove(member.id)).rejects.toMatchObject({ etcdCode: 'MemberNotFound' });
    });
  },
  { members: [1, 3] },
);

/** Adds a learner. In the first five seconds of a member's life the cluster refuses as "unhealthy". */
async function addLearner(etcd: AdminClient, peerUrl: string): Promise<MemberAddResult> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await etcd.cluster.add({ peerUrls: [peerUrl], learner: true });
    } catch (error) {
      if ((error as EtcdError).etcdCode !== 'Unhealthy' || attempt >= 100) throw error;
      await sleep(100);
    }
  }
}

describeOnEtcd('a learner', (suite) => {
  it('is added, looked at, backed up, passed over and promoted', async () => {
    using etcd = adminClient(suite.cluster);
    const [first] = suite.cluster.members;
    const folder = await mkdtemp(path.join(tmpdir(), 'etcdkit-learner-'));
    const ports = await freePorts(2);
    const [clientUrl, peerUrl] = ports.map((port) => `http://127.0.0.1:${port}`) as [string, string];
    const { member } = await addLearner(etcd, peerUrl);
    const initialCluster = `${first!.name}=${first!.peerUrl},late=${peerUrl}`;
    const args = [
      '--name=late',
      `--data-dir=${folder}/late`,
      `--listen-client-urls=${clientUrl}`,
      `--advertise-client-urls=${clientUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=${initialCluster}`,
      '--initial-cluster-state=existing',
      '--heartbeat-interval=20',
      '--election-timeout=200',
      '--logger=zap',
      '--log-outputs=stderr',
    ];
    const env = { ...process.env, ...unsupportedArchEnv };
    const seat = { name: 'late', clientUrl, peerUrl, dataDir: `${folder}/late` };
    const learner = new EtcdMember({ ...seat, binary: suite.cluster.binaries.etcd, args, env });
    try {
      await learner.spawn();
      const look = async (): Promise<unknown> =>
        (await etcd.maintenance.health()).members.find((entry) => entry.member.id === member.id);
      await expect.poll(look, { timeout: 20_000 }).toMatchObject({ healthy: true, isLearner: true, isLeader: false });
      const status = await etcd.maintenance.status({ endpoint: clientUrl });
      expect(status).toMatchObject({ isLearner: true, header: { memberId: member.id } });
      const opening = etcd.maintenance.snapshot({ endpoint: clientUrl });
      if (suite.version === '3.4') {
        await expect(opening).rejects.toMatchObject({ etcdCode: 'NotSupportedForLearner' });
      } else {
        const snapshot = await opening;
        let bytes = 0;
        for await (const piece of snapshot as AsyncIterable<Uint8Array>) bytes += piece.length;
        expect(bytes).toBe(snapshot.totalBytes);
      }
      const steps = await etcd.maintenance.defragmentAll();
      expect(new Map(steps.map((step) => [step.member.name, step.outcome]))).toEqual(
        new Map([
          [first!.name, 'defragmented'],
          ['late', 'skipped'],
        ]),
      );
      await expect
        .poll(
          () =>
            etcd.cluster.promote(member.id).then(
              () => true,
              (error: EtcdError) => error.etcdCode,
            ),
          { timeout: 20_000 },
        )
        .toBe(true);
      expect((await etcd.cluster.members()).members.some(({ isLearner }) => isLearner)).toBe(false);
    } finally {
      await learner.kill();
      releasePorts(ports);
      await rm(folder, { recursive: true, force: true });
    }
  }, 60_000);
});

describe('a cluster without a quorum [3 member(s)]', () => {
  it.each(['3.5', 'bundled'] as const)(
    'still tells its members and its health [etcd %s]',
    async (version) => {
      await using cluster = await EtcdCluster.start({ version, members: 3 });
      const leader = await cluster.leader();
      const [survivor, second] = await cluster.followers();
      using etcd = adminClient(cluster);
      expect(await etcd.maintenance.health()).toMatchObject({ healthy: true, hasQuorum: true });
      await Promise.all([leader.kill(), second!.kill()]);

      const health = await etcd.maintenance.health({ timeoutMs: 3_000 });
      expect(health).toMatchObject({ healthy: false, hasQuorum: false, leaderId: undefined });
      expect(health.alarms).toBeUndefined();
      expect(health.alarmsError?.code).toMatch(/deadline|unavailable/);
      const byName = new Map(health.members.map((entry) => [entry.member.name, entry]));
      expect(byName.get(leader.name)).toMatchObject({
        healthy: false,
        status: undefined,
        error: { code: 'unavailable' },
      });
      expect(byName.get(survivor!.name)?.status?.version).toMatch(/^3\.5\./);
      const list = await etcd.cluster.members({ linearizable: false, endpoint: survivor!.clientUrl });
      expect(list.members.length).toBe(3);
    },
    60_000,
  );
});

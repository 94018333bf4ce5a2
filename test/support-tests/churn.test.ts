/** The cluster of `ETCDKIT_CHURN`: one member in trouble at a time, the others with a leader, and nothing overlooked. */
import { expect, it } from 'vitest';
import { Etcd } from '../../src/index.ts';
import { ChurnedCluster } from '../support/churn.ts';

const TIMEOUT_MS = 180_000;

/** What a test gets that is left out. */
class LeftOut extends Error {}

function leaveOut(reason: string): never {
  throw new LeftOut(reason);
}

it(
  'has each trouble once in a round, the member in trouble last, and a leader among the others',
  async () => {
    await using cluster = await ChurnedCluster.found({ seed: 1, name: 'a round', version: 'bundled' });
    const befallen: string[] = [];
    for (let round = 0; round < 5; round++) {
      const text = await cluster.moveOn(leaveOut);
      const [trouble = '', victim] = text.split(/ of |, /);
      befallen.push(trouble);
      expect(cluster.members.map(({ name }) => name).indexOf(victim ?? '')).toBe(2);
      expect(cluster.endpoints).toHaveLength(3);
      expect(cluster.well.map(({ name }) => name)).not.toContain(victim);
      // Two of three are a quorum, and each of the two is in it: a read that only a leader's word allows.
      for (const { clientUrl } of cluster.well) {
        await using etcd = new Etcd({ endpoints: clientUrl, timeoutMs: 30_000 });
        expect(await etcd.count({ all: true })).toBe(0);
      }
      if (trouble === 'kill') expect(cluster.members[2]?.running).toBe(false);
      if (trouble === 'partition') expect((await cluster.members[2]?.status())?.leaderId).toBe('0');
    }
    expect(befallen.sort()).toEqual(['kill', 'partition', 'replace', 'restart', 'stop']);
    await cluster.conclude();
    expect(await Promise.all(cluster.members.map((member) => member.status()))).toHaveLength(3);
  },
  TIMEOUT_MS,
);

it(
  'leaves out who hurts members or turns authentication on, and takes a crash for a failure',
  async () => {
    await using cluster = await ChurnedCluster.found({ seed: 1, name: 'a crash', version: 'bundled' });
    await cluster.moveOn(leaveOut);
    const [member] = cluster.members;
    if (member === undefined) throw new Error('no member');
    for (const hurt of ['kill', 'terminate', 'pause', 'resume', 'restart', 'spawn'] as const)
      expect(() => member[hurt]()).toThrow(LeftOut);
    for (const args of [
      ['auth', 'enable'],
      ['member', 'list'],
    ])
      await expect(cluster.etcdctl(args)).rejects.toThrow(LeftOut);
    expect(member.running).toBe(true);
    process.kill(member.pid, 'SIGABRT');
    await expect.poll(() => member.running).toBe(false);
    await expect(cluster.conclude()).rejects.toThrow('SIGABRT');
  },
  TIMEOUT_MS,
);

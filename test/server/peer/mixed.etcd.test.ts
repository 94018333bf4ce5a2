/**
 * Members of ours and of etcd's in one cluster: each leads, each is away and comes back by an image, and in the end all
 * have the same keys.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { type EtcdVersion, ensureEtcd, unsupportedArchEnv } from '../../../scripts/etcd.ts';
import { EtcdMember } from '../../support/etcd-member.ts';
import { probe } from '../../support/http-probe.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { freePorts, releasePorts } from '../../support/ports.ts';

const TIMEOUT_MS = 20_000;
/** Of the log no more is kept than a member needs that was away for a moment. */
const FLAGS = ['--snapshot-count=50', '--experimental-snapshot-catchup-entries=5'];

class MixedCluster implements AsyncDisposable {
  readonly members: readonly EtcdMember[];
  readonly #folder: TempFolder;
  readonly #ports: readonly number[];

  private constructor(members: readonly EtcdMember[], folder: TempFolder, ports: readonly number[]) {
    this.members = members;
    this.#folder = folder;
    this.#ports = ports;
  }

  static async start(versions: readonly EtcdVersion[]): Promise<MixedCluster> {
    const folder = new TempFolder('etcdkit-mixed');
    const ports = await freePorts(2 * versions.length);
    const seats = versions.map((version, i) => ({
      version,
      name: `${version}-${i}`,
      clientUrl: `http://127.0.0.1:${ports[2 * i]}`,
      peerUrl: `http://127.0.0.1:${ports[2 * i + 1]}`,
      dataDir: folder.file(`m${i}`),
    }));
    const all = seats.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',');
    const members = await Promise.all(
      seats.map(async ({ version, ...seat }) => {
        const args = [
          ...[`--name=${seat.name}`, `--data-dir=${seat.dataDir}`, `--initial-cluster=${all}`],
          ...[`--listen-client-urls=${seat.clientUrl}`, `--advertise-client-urls=${seat.clientUrl}`],
          ...[`--listen-peer-urls=${seat.peerUrl}`, `--initial-advertise-peer-urls=${seat.peerUrl}`],
          ...['--heartbeat-interval=50', '--election-timeout=500', '--unsafe-no-fsync', '--log-level=info'],
          ...['--logger=zap', '--log-outputs=stderr', ...FLAGS],
        ];
        const env = { PATH: process.env.PATH, HOME: process.env.HOME, ...unsupportedArchEnv };
        return new EtcdMember({ ...seat, binary: (await ensureEtcd(version)).etcd, args, env });
      }),
    );
    const cluster = new MixedCluster(members, folder, ports);
    await Promise.all(members.map((member) => member.spawn()));
    await Promise.all(members.map((member) => member.waitHealthy()));
    return cluster;
  }

  /** Puts keys, at one member after the other. */
  async put(prefix: string, count: number, at: readonly EtcdMember[] = this.members): Promise<void> {
    for (let i = 0; i < count; i++) {
      const body = { key: base64(`${prefix}${i}`), value: base64(`${prefix}${i}`.repeat(100)) };
      await ask(at[i % at.length], 'kv/put', body);
    }
  }

  /** How many keys each has, by a read that a quorum stands for, and the hash of all. */
  views(): Promise<unknown[]> {
    return Promise.all(
      this.members.map(async (member) => {
        const { count } = await ask(member, 'kv/range', {
          key: base64('\0'),
          range_end: base64('\0'),
          count_only: true,
        });
        const { hash, compact_revision: compacted } = await ask(member, 'maintenance/hashkv', {});
        return { count, hash, compacted };
      }),
    );
  }

  async leader(): Promise<EtcdMember> {
    for (;;) {
      for (const member of this.members.filter(({ running }) => running)) {
        const { memberId, leaderId } = await member.status();
        if (memberId === leaderId) return member;
      }
      await sleep(20);
    }
  }

  /** Makes a member the leader. */
  async lead(target: EtcdMember): Promise<void> {
    const { memberId } = await target.status();
    for (;;) {
      const leader = await this.leader();
      if (leader === target) return;
      // Refused while the successor is behind; there is no harm in asking again.
      await ask(leader, 'maintenance/transfer-leadership', { targetID: memberId }).catch(() => sleep(100));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
    releasePorts(this.#ports);
    await this.#folder.remove();
  }
}

/** Asks by the JSON gateway. A member without a leader is asked again. */
async function ask(member: EtcdMember | undefined, path: string, body: unknown): Promise<Record<string, unknown>> {
  for (let attempt = 0; ; attempt++) {
    const answer = await probe(`${member?.clientUrl}/v3/${path}`, { body, timeoutMs: TIMEOUT_MS });
    if (answer.status === 200) return JSON.parse(answer.body) as Record<string, unknown>;
    if (attempt === 20) throw new Error(`${path} at ${member?.name}: ${answer.status} ${answer.body}`);
    await sleep(100);
  }
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

describe.each<[string, readonly EtcdVersion[]]>([
  ['two of ours and an etcd 3.5', ['bundled', 'bundled', '3.5']],
  ['one of ours and two etcds 3.5', ['bundled', '3.5', '3.5']],
])('%s', (_name, versions) => {
  it('replicate, lead in turn, and catch up by an image, and agree on every key', { timeout: 180_000 }, async () => {
    await using cluster = await MixedCluster.start(versions);
    let keys = 0;
    const agree = async (): Promise<void> => {
      const [first, ...others] = await cluster.views();
      expect(first).toMatchObject({ count: String(keys) });
      for (const other of others) expect(other).toEqual(first);
    };
    for (const member of cluster.members) {
      await cluster.lead(member);
      await cluster.put(`led-by-${member.name}-`, 12);
      keys += 12;
    }
    await agree();
    for (const [i, away] of cluster.members.entries()) {
      const others = cluster.members.filter((member) => member !== away);
      // The one that sends the image is another kind in each round, as far as there are two.
      await cluster.lead(others[i % others.length] ?? away);
      const id = BigInt((await away.status()).memberId).toString(16);
      await away.kill();
      await cluster.put(`without-${away.name}-`, 150, others);
      keys += 150;
      await away.restart();
      await agree();
      const lines = others.flatMap(({ log }) => log.split('\n'));
      const sent = lines.filter((line) => line.includes('"sent database snapshot"') && line.includes(`"${id}"`));
      expect(sent).not.toEqual([]);
    }
  });
});

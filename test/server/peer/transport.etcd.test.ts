/**
 * The transport beside a real etcd: the other member is etcd's, and must not see that this one is not.
 *
 * Our side is a follower that keeps nothing: it says yes to all that it is sent. So etcd commits with it, and what it
 * sends can be read here.
 */

import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { EMPTY } from '../../../src/protocol/wire.ts';
import { CAMPAIGN_TRANSFER, type Entry, type Message, message } from '../../../src/server/raft/types.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import { probe } from '../../support/http-probe.ts';
import { freePorts } from '../../support/ports.ts';
import { FakeHost, followerAnswer, member, PeerSeat, until } from './fake-host.ts';

/** Adds a member to the cluster, and is it. */
async function join(cluster: EtcdCluster, learner: boolean): Promise<PeerSeat> {
  const [port] = await freePorts(1);
  const added = await cluster.etcdctl([
    ...['member', 'add', 'ours', `--peer-urls=http://127.0.0.1:${port}`, '-w', 'json'],
    ...(learner ? ['--learner'] : []),
  ]);
  const { header, member } = JSON.parse(added.replace(/:(\d{10,})/g, ':"$1"')) as {
    header: { cluster_id: string };
    member: { ID: string };
  };
  const host = new FakeHost(BigInt(member.ID), BigInt(header.cluster_id));
  for (const etcd of cluster.members) {
    const { memberId } = await etcd.status();
    host.members.put(BigInt(memberId), etcd.peerUrl);
  }
  return PeerSeat.open(host, {}, port);
}

function follow({ host, transport }: PeerSeat): void {
  host.heard = (message) => {
    const answer = followerAnswer(message);
    if (answer) transport.send([answer]);
  };
}

/** Keys that were put, in the order of the log. */
function keysOf(messages: readonly Message[]): string[] {
  const keys = new Map<number, string>();
  for (const { entries } of messages) {
    for (const { index, data, type } of entries) {
      if (type !== 'EntryNormal' || data.length === 0) continue;
      const key = InternalRaftRequest.decode(data).put?.key;
      if (key) keys.set(index, Buffer.from(key).toString());
    }
  }
  return [...keys].sort(([a], [b]) => a - b).map(([, key]) => key);
}

describe.each(['3.5', '3.4'] as const)('beside etcd %s', (version) => {
  it('hears the log as a voter, and its answers commit', async () => {
    await using cluster = await EtcdCluster.start({ version });
    await using seat = await join(cluster, false);
    const { host, transport, log } = seat;
    follow(seat);
    transport.start();
    const [etcd] = cluster.members;
    const [etcdId] = host.members
      .list()
      .map(({ id }) => id)
      .filter((id) => id !== host.id);
    const keys = Array.from({ length: 50 }, (_, i) => `key${i}`);
    // Each needs this member's yes.
    for (const key of keys.slice(0, 3)) await cluster.etcdctl(['put', key, 'x'.repeat(100)]);
    await Promise.all(keys.slice(3).map((key) => etcdPut(etcd?.clientUrl ?? '', key)));
    expect(keysOf(host.received).toSorted()).toEqual(keys.toSorted());
    // Answered, so it still leads: with heartbeats of 20 ms and a quorum that is checked each 200 ms.
    await until(() => host.received.filter(({ type }) => type === 'MsgHeartbeat').length > 100);
    expect(new Set(host.received.filter(({ type }) => type === 'MsgApp').map(({ term }) => term)).size).toBe(1);
    expect(transport.connectedSince(etcdId ?? 0n)).toBeTypeOf('number');
    const { body } = await probe(`${etcd?.clientUrl}/metrics`, { timeoutMs: 5_000 });
    expect(body).toMatch(
      new RegExp(`etcd_network_active_peers{Local="${etcdId?.toString(16)}",Remote="${host.id.toString(16)}"} 1`),
    );
    expect(log.all.filter(({ level, text }) => level === 'warn' && text.startsWith('no '))).toEqual([]);
    expect(host.received.every(({ type }) => type !== 'MsgVote' && type !== 'MsgPreVote')).toBe(true);
  });
});

it.each(['3.5', '3.4'] as const)('leads an etcd %s: what it appends is applied there', async (version) => {
  await using cluster = await EtcdCluster.start({ version });
  await using seat = await join(cluster, false);
  const { host, transport } = seat;
  follow(seat);
  transport.start();
  await cluster.etcdctl(['put', 'before', '1']);
  const [etcdId] = host.members
    .list()
    .map(({ id }) => id)
    .filter((id) => id !== host.id);
  const to = (etcdId ?? 0n) as MemberId;
  const appends = host.received.filter(({ type }) => type === 'MsgApp');
  const last = Math.max(...appends.map(({ index, entries }) => index + entries.length));
  const term = (appends.at(-1)?.term ?? 0) + 1;
  host.heard = () => {};
  const ends = { from: member(host.id), to, term };
  const heard = (type: Message['type'], index: number): boolean =>
    host.received.some((one) => one.type === type && one.term === term && !one.reject && one.index >= index);
  await until(() => seat.asked.includes(`/raft/stream/msgapp/${etcdId?.toString(16)}`));
  // Asked for by the old leader, for all that etcd can see: so it does not wait for a timeout.
  transport.send([message('MsgVote', { ...ends, index: last, logTerm: term - 1, context: CAMPAIGN_TRANSFER })]);
  await until(() => heard('MsgVoteResp', 0));
  const put = InternalRaftRequest.encode({
    header: { ID: 77n },
    put: { key: Buffer.from('from-ours'), value: Buffer.alloc(300_000, 'x') },
  });
  const entry = (index: number, data: Uint8Array): Entry => ({ type: 'EntryNormal', term, index, data });
  // The first says all, the others only what follows.
  transport.send([
    message('MsgApp', { ...ends, index: last, logTerm: term - 1, entries: [entry(last + 1, EMPTY)], commit: last }),
    message('MsgApp', { ...ends, index: last + 1, logTerm: term, entries: [entry(last + 2, put)], commit: last }),
    message('MsgApp', { ...ends, index: last + 2, logTerm: term, commit: last + 2 }),
  ]);
  await until(() => heard('MsgAppResp', last + 2));
  transport.send([message('MsgHeartbeat', { ...ends, commit: last + 2 })]);
  await until(() => heard('MsgHeartbeatResp', 0));
  const read = async (): Promise<number> =>
    (await cluster.etcdctl(['get', 'from-ours', '--consistency=s', '--print-value-only'])).trim().length;
  while ((await read()) === 0) transport.send([message('MsgHeartbeat', { ...ends, commit: last + 2 })]);
  expect(await read()).toBe(300_000);
});

it.each(['3.5', '3.4'] as const)('hears from an etcd %s that it was removed', async (version) => {
  await using cluster = await EtcdCluster.start({ version, flags: ['--strict-reconfig-check=false'] });
  await using seat = await join(cluster, false);
  follow(seat);
  seat.transport.start();
  await cluster.etcdctl(['put', 'before', '1']);
  await cluster.etcdctl(['member', 'remove', seat.host.id.toString(16)]);
  await until(() => seat.host.removals === 1);
  await cluster.etcdctl(['put', 'after', '1']);
});

it('takes the image of an etcd 3.5, which etcdutl can read; and etcd takes it back', async () => {
  const flags = ['--snapshot-count=10', '--experimental-snapshot-catchup-entries=5'];
  await using cluster = await EtcdCluster.start({ version: '3.5', flags });
  for (let i = 0; i < 30; i++) await cluster.etcdctl(['put', `key${i}`, 'x'.repeat(50_000)]);
  await using seat = await join(cluster, true);
  const { host, transport } = seat;
  transport.start();
  // A new member refuses what it is sent first, as its log is empty.
  host.heard = ({ type, from, to, term, index, context }) => {
    const ends = { from: to, to: from, term };
    if (type === 'MsgApp') transport.send([message('MsgAppResp', { ...ends, reject: true, index })]);
    if (type === 'MsgHeartbeat') transport.send([message('MsgHeartbeatResp', { ...ends, context })]);
  };
  await until(() => host.images.length > 0);
  const [image] = host.images;
  const { from, to, snapshot } = image?.message ?? message('MsgSnap', {});
  expect(snapshot?.index).toBeGreaterThan(30);
  expect(snapshot?.confState.learners).toEqual([host.id]);
  const file = path.join(cluster.members[0]?.dataDir ?? '', '..', 'image.db');
  await writeFile(file, image?.bytes ?? EMPTY);
  const status = JSON.parse(await cluster.etcdctl(['snapshot', 'status', file, '-w', 'json'])) as { totalKey: number };
  expect(status.totalKey).toBeGreaterThanOrEqual(30);
  const chunks = (async function* () {
    for (let at = 0; at < (image?.bytes.length ?? 0); at += 30_000)
      yield image?.bytes.subarray(at, at + 30_000) ?? EMPTY;
  })();
  // It has all of that, so it takes it and does nothing about it.
  const back = message('MsgSnap', { from: to, to: from, term: image?.message.term ?? 0, snapshot });
  expect(await transport.sendSnapshot(back, { sizeBytes: image?.bytes.length ?? 0, chunks })).toBe(true);
});

async function etcdPut(url: string, key: string): Promise<void> {
  const body = { key: Buffer.from(key).toString('base64'), value: '' };
  const { status } = await probe(`${url}/v3/kv/put`, { body, timeoutMs: 20_000 });
  expect(status).toBe(200);
}

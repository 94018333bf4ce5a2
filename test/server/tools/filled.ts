/** A cluster with some of everything in it, and the same questions to it and to a copy of it. */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { unsupportedArchEnv } from '../../../scripts/etcd.ts';
import type { EtcdCluster } from '../../support/etcd-cluster.ts';
import type { EtcdMember } from '../../support/etcd-member.ts';

const run = promisify(execFile);
const REPOSITORY = path.join(import.meta.dirname, '..', '..', '..');

/** Root, once authentication is on. */
export const ROOT = { ETCDCTL_USER: 'root:root-pw' };
const JOE = { ETCDCTL_USER: 'joe:joe-pw' };

/** What {@link fill} has made. */
export interface Filled {
  /** Ids in hex. */
  readonly leases: readonly string[];
  readonly compacted: number;
  readonly revision: number;
}

/** Something in every bucket: a compacted history, leases with keys and without, users, roles, authentication on. */
export async function fill(cluster: EtcdCluster): Promise<Filled> {
  const ctl = (...args: string[]): Promise<string> => cluster.etcdctl(args);
  for (let i = 0; i < 30; i += 1) await ctl('put', `k${i % 7}`, `value ${i}`);
  await ctl('put', 'large', 'x'.repeat(20_000));
  await ctl('put', 'empty', '');
  const leases: string[] = [];
  for (const ttl of ['5000', '700'])
    leases.push(/lease (\w+) granted/.exec(await ctl('lease', 'grant', ttl))?.[1] ?? '');
  for (const key of ['leased/1', 'leased/2']) await ctl('put', key, 'v', `--lease=${leases[0]}`);
  const deleted = await ctl('del', 'k0', 'k3', '-w', 'json');
  const compacted = Number(/"revision":(\d+)/.exec(deleted)?.[1]);
  await ctl('compact', String(compacted), '--physical');
  await ctl('put', 'k0', 'again');
  await cluster.etcdctl(['txn'], { input: '\nput t1 a\nput t2 b\ndel k5\n\n\n' });
  for (const line of [
    ...['user add root:root-pw', 'user add joe:joe-pw', 'user add gone:pw', 'role add readers', 'role add none'],
    ...['role grant-permission readers read k l', 'role grant-permission readers write --prefix j'],
    ...['user grant-role joe readers', 'user grant-role root root', 'user delete gone', 'auth enable'],
  ]) {
    await ctl(...line.split(' '));
  }
  await cluster.etcdctl(['put', 'last', 'one'], { env: ROOT });
  const { revision } = JSON.parse(await cluster.etcdctl(['get', 'k0', '-w', 'json'], { env: ROOT })).header;
  return { leases, compacted, revision };
}

/** What a member says of its keys at a revision: their hash, and what was compacted. */
export async function hashOf(cluster: EtcdCluster, revision = 0): Promise<readonly number[]> {
  const words = ['endpoint', 'hashkv', `--rev=${revision}`, '-w', 'json'];
  const text = await cluster.etcdctl(words, { env: ROOT });
  return ['hash', 'compact_revision'].map((name) => Number(new RegExp(`"${name}":(-?\\d+)`).exec(text)?.[1]));
}

/** Asks both the same. `copy` must answer as `original` does, to users and to strangers. */
export async function expectSame(copy: EtcdCluster, original: EtcdCluster, { leases, compacted, revision }: Filled) {
  for (let at = compacted; at <= revision; at += 1) {
    if (at > compacted) expect(await hashOf(copy, at)).toEqual(await hashOf(original, at));
    expect(await keysAt(copy, at)).toBe(await keysAt(original, at));
  }
  expect((await hashOf(copy))[1]).toBe(compacted);
  await expect(keysAt(copy, compacted - 1)).rejects.toThrow('compacted');
  for (const [env, line] of [
    [ROOT, 'lease list'],
    [ROOT, 'user list'],
    [ROOT, 'role list'],
    [ROOT, 'role get readers'],
    [ROOT, 'user get joe --detail'],
    [JOE, 'get k0'],
  ] as const) {
    const answers = [];
    // Leases are listed in the order of what is left of them, at a leader.
    for (const cluster of [original, copy]) {
      const answer = await cluster.etcdctl(line.split(' '), { env });
      answers.push(line === 'lease list' ? answer.split('\n').sort().join('\n') : answer);
    }
    expect(answers[1], line).toBe(answers[0]);
    expect(answers[1]).not.toBe('');
  }
  await expect(copy.etcdctl(['get', 'large'], { env: JOE })).rejects.toThrow('permission denied');
  await expect(copy.etcdctl(['get', 'k0'])).rejects.toThrow('user name is empty');
  for (const [i, lease] of leases.entries()) {
    const left = await copy.etcdctl(['lease', 'timetolive', lease, '--keys'], { env: ROOT });
    expect(left).toContain(`granted with TTL(${[5000, 700][i]}s)`);
    if (i === 0) expect(left).toMatch(/attached keys\(\[leased\/[12] leased\/[12]\]\)/);
  }
}

/** It goes on: it is written to, what hangs on a lease goes with it, and it can be saved anew. */
export async function expectToGoOn(cluster: EtcdCluster, { leases, revision }: Filled): Promise<void> {
  await cluster.etcdctl(['put', 'k0', 'once more'], { env: ROOT });
  await cluster.etcdctl(['lease', 'revoke', leases[0] ?? ''], { env: ROOT });
  expect(await cluster.etcdctl(['get', 'leased', '--prefix'], { env: ROOT })).toBe('');
  await cluster.etcdctl(['compact', String(revision + 1), '--physical'], { env: ROOT });
  await cluster.etcdctl(['defrag'], { env: ROOT });
  await cluster.members[0]?.restart();
  expect(await cluster.etcdctl(['get', 'k0', '--print-value-only'], { env: ROOT })).toBe('once more\n');
  expect((await hashOf(cluster))[1]).toBe(revision + 1);
}

async function keysAt(cluster: EtcdCluster, revision: number): Promise<string> {
  const text = await cluster.etcdctl(['get', '', '--prefix', `--rev=${revision}`, '-w', 'json'], { env: ROOT });
  return text.slice(text.indexOf('},') + 2);
}

/** `etcdutl`, or the `etcdctl` of a release that has none, on files. */
export async function onFile(cluster: EtcdCluster, words: readonly string[]): Promise<string> {
  const program = cluster.binaries.etcdutl ?? cluster.binaries.etcdctl;
  const env = { PATH: process.env.PATH, ETCDCTL_API: '3', ...unsupportedArchEnv };
  return (await run(program, words, { env })).stdout;
}

/** The executable `etcdkit`, from its sources. */
export async function etcdkit(words: readonly string[]): Promise<string> {
  const loader = `file://${REPOSITORY}/node_modules/tsx/dist/loader.mjs`;
  const { stderr } = await run(process.execPath, ['--import', loader, `${REPOSITORY}/src/cli/main.ts`, ...words]);
  return stderr;
}

/** Has a restore command make the data of a cluster's member anew, and starts it on that. */
export async function startOn(
  cluster: EtcdCluster,
  file: string,
  restore: (words: readonly string[]) => Promise<string>,
): Promise<void> {
  const member = cluster.members[0] as EtcdMember;
  await member.kill();
  await rm(member.dataDir, { recursive: true });
  await restore([
    ...['snapshot', 'restore', file, `--data-dir=${member.dataDir}`, `--name=${member.name}`],
    `--initial-cluster=${member.name}=${member.peerUrl}`,
    `--initial-advertise-peer-urls=${member.peerUrl}`,
  ]);
  await member.restart();
}

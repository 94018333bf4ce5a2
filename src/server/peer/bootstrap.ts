/**
 * What a member without data asks the others before it starts: which cluster it joins, or whether it may found one.
 *
 * One that joins takes ids from the cluster as its members say it is: each of `--initial-cluster` is the one that has the
 * same peer URLs, and none may be missing on either side. One that founds a cluster must not be in a running one
 * already: a member that lost its data would otherwise vote twice in one term.
 *
 * URLs are the same too if their hosts are of the same addresses. Errors have etcd's words: tools look for them.
 *
 * Source: etcd's runtime reconfiguration guide, and its servers 3.5 as observed.
 *
 * @module
 */
import { lookup } from 'node:dns/promises';
import { z } from 'zod';
import type { ExistingCluster, InitialMember } from '../member/boot.ts';
import { memberIdOf } from '../member/ids.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';
import type { Asker } from './ask.ts';
import { decodeMembers } from './peer-json.ts';

export interface BootstrapOptions {
  /** Name of this member: one of `initialCluster`. */
  readonly name: string;
  readonly initialCluster: readonly InitialMember[];
  readonly clusterToken: string;
  readonly asker: Asker;
  /** Version of this server, such as `3.5.30`. */
  readonly version: string;
  /** How long each of the others may take to answer, in ms. */
  readonly timeoutMs: number;
  /** Addresses of a host. Default: the system's resolver. */
  readonly resolve?: ((host: string) => Promise<readonly string[]>) | undefined;
}

/** The oldest cluster that one can join. */
const OLDEST_CLUSTER = '3.0.0';

/** The cluster cannot be joined, or not be founded. */
export class BootstrapError extends Error {
  override name = 'BootstrapError';
}

/**
 * The cluster that this member joins.
 *
 * @returns Its members with their ids, and with the names that they have here: this one is among them by its name.
 * @throws BootstrapError nobody answers, who is in it is another matter than what was said here, or it is too new.
 */
export async function joinCluster(options: BootstrapOptions): Promise<ExistingCluster> {
  const { initialCluster } = options;
  const found = await askForMembers(options);
  if (found === undefined)
    throw new BootstrapError(
      'cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs',
    );
  const fault = (why: string): BootstrapError => new BootstrapError(`error validating peerURLs ${show(found)}: ${why}`);
  if (found.members.length !== initialCluster.length) throw fault('member count is unequal');
  const left = [...initialCluster];
  const members: BackendMember[] = [];
  for (const member of found.members) {
    const at = await indexOfSame(member.peerUrls, left, options.resolve ?? resolveHost);
    const [here] = at < 0 ? [] : left.splice(at, 1);
    if (here === undefined)
      throw fault(
        `PeerURLs: no match found for existing member (${member.id.toString(16)}, [${member.peerUrls.join(' ')}])`,
      );
    // A member dials the others as it was told to.
    members.push({ ...member, name: here.name, peerUrls: [...here.peerUrls].sort() });
  }
  if (!(await isCompatible(options))) throw new BootstrapError('incompatible with current running cluster');
  return { clusterId: found.clusterId, members };
}

/**
 * Checks that a member may found a cluster: nobody says that it runs already. Others that don't answer are founding too.
 *
 * @throws BootstrapError it is in a cluster.
 */
export async function checkNotBootstrapped(options: BootstrapOptions): Promise<void> {
  const { name, initialCluster, clusterToken } = options;
  const own = initialCluster.find((member) => member.name === name);
  if (own === undefined) return;
  const id = memberIdOf(own.peerUrls, clusterToken);
  const found = await askForMembers(options);
  const known = found?.members.find((member) => member.id === id);
  // One that has said where clients reach it has run.
  if (known !== undefined && known.clientUrls.length > 0)
    throw new BootstrapError(`member ${id.toString(16)} has already been bootstrapped`);
}

/** What the first one says that has something to say. */
async function askForMembers(options: BootstrapOptions): Promise<ExistingCluster | undefined> {
  const { asker, timeoutMs } = options;
  for (const url of othersOf(options)) {
    try {
      const { status, headers, body } = await asker.ask(url, { method: 'GET', path: '/members', timeoutMs });
      const claimed = headers['x-etcd-cluster-id'];
      if (status !== 200 || typeof claimed !== 'string' || !/^[0-9a-f]{1,16}$/.test(claimed)) continue;
      const members = decodeMembers(body.toString());
      if (members.length > 0) return { clusterId: BigInt(`0x${claimed}`), members };
    } catch {
      // The next one may say more.
    }
  }
  return undefined;
}

function othersOf({ name, initialCluster }: BootstrapOptions): string[] {
  return initialCluster.flatMap((member) => (member.name === name ? [] : member.peerUrls)).sort();
}

function show({ clusterId, members }: ExistingCluster): string {
  const list = members.map(({ id, peerUrls }) => `${id.toString(16)}=${peerUrls.join(',')}`);
  return `{ClusterID:${clusterId.toString(16)} Members:[${list.join(' ')}]}`;
}

const versionJson = z.object({ etcdcluster: z.string() });

/** Whether one says so at least, and none the contrary: a cluster of a newer minor version has what this one knows not. */
async function isCompatible(options: BootstrapOptions): Promise<boolean> {
  const { asker, timeoutMs, version } = options;
  const own = minorOf(version);
  let compatible = false;
  for (const url of othersOf(options)) {
    try {
      const { body } = await asker.ask(url, { method: 'GET', path: '/version', timeoutMs });
      const theirs = minorOf(versionJson.parse(JSON.parse(body.toString())).etcdcluster);
      if (theirs === undefined || own === undefined) continue;
      if (theirs < (minorOf(OLDEST_CLUSTER) ?? 0) || theirs > own) return false;
      compatible = true;
    } catch {
      // Who does not answer has no say.
    }
  }
  return compatible;
}

/** Major and minor version as one number that can be compared; undefined for `not_decided` and the like. */
function minorOf(version: string): number | undefined {
  const [, major, minor] = /^(\d+)\.(\d+)\.\d+/.exec(version) ?? [];
  return major === undefined ? undefined : Number(major) * 1_000 + Number(minor);
}

type Resolve = NonNullable<BootstrapOptions['resolve']>;

async function resolveHost(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

/** Which of these has the same URLs; -1: none. */
async function indexOfSame(
  urls: readonly string[],
  members: readonly InitialMember[],
  resolve: Resolve,
): Promise<number> {
  const text = sorted(urls);
  const at = members.findIndex(({ peerUrls }) => sorted(peerUrls) === text);
  if (at >= 0) return at;
  const places = await placesOf(urls, resolve);
  for (const [i, { peerUrls }] of members.entries()) {
    if (peerUrls.length === urls.length && sorted(await placesOf(peerUrls, resolve)) === sorted(places)) return i;
  }
  return -1;
}

/** URLs with addresses in place of names; those that have none stay. */
function placesOf(urls: readonly string[], resolve: Resolve): Promise<string[]> {
  return Promise.all(
    urls.map(async (url) => {
      const { protocol, hostname, port } = new URL(url);
      const addresses = await resolve(hostname.replace(/^\[(.*)\]$/, '$1')).catch(() => [hostname]);
      return `${protocol}//${[...addresses].sort().join('+')}:${port}`;
    }),
  );
}

function sorted(texts: readonly string[]): string {
  return [...texts].sort().join(',');
}

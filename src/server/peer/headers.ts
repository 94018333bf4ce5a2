/**
 * How members tell each other who they are, and what they refuse each other for.
 *
 * Each request names its sender, the sender's version and the lowest one it can work with, the cluster, and where the
 * sender is reached. A member refuses one of another cluster, and one whose version has nothing in common with its own.
 *
 * Source: etcd's package `rafthttp`, and what servers 3.4 and 3.5 send and answer.
 *
 * @module
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import type { PeerHost } from '../member/peers.ts';

/** The lowest version of a cluster that a member of this release can be in. */
export const MIN_CLUSTER_VERSION = '3.0.0';

/** What releases are taken for that say none. */
const OLDEST = '2.0.0';

/** Ids are written without leading zeros. */
export function idText(id: bigint): string {
  return id.toString(16);
}

/** Reads what {@link idText} gives; undefined if it is no id. */
export function parseId(text: string | undefined): bigint | undefined {
  return text !== undefined && /^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : undefined;
}

/** What every request to another member says. */
export function requestHeaders(host: PeerHost): OutgoingHttpHeaders {
  const urls = host.members.get(host.id)?.peerUrls ?? [];
  return {
    'X-Server-From': idText(host.id),
    'X-Server-Version': host.version,
    'X-Min-Cluster-Version': MIN_CLUSTER_VERSION,
    'X-Etcd-Cluster-ID': idText(host.clusterId),
    'X-PeerURLs': urls.join(','),
  };
}

/** What every post to another member says. */
export function postHeaders(host: PeerHost, type: string, lengthBytes: number): OutgoingHttpHeaders {
  return { ...requestHeaders(host), 'Content-Type': type, 'Content-Length': lengthBytes };
}

/** One header's value. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : undefined;
}

/** Why a request or an answer is not of a member that this one can work with; undefined if it is. */
export function incompatibility(host: PeerHost, headers: IncomingHttpHeaders): string | undefined {
  const version = headerOf(headers, 'x-server-version') ?? OLDEST;
  const lowest = headerOf(headers, 'x-min-cluster-version') ?? OLDEST;
  if (olderMinor(version, MIN_CLUSTER_VERSION) || olderMinor(host.version, lowest)) return 'incompatible version';
  if (headerOf(headers, 'x-etcd-cluster-id') !== idText(host.clusterId)) return 'cluster ID mismatch';
  return undefined;
}

/** Whether a version is of an earlier minor release than another. What is no version is older than any. */
function olderMinor(version: string, than: string): boolean {
  const [major = -1, minor = -1] = version.split('.').map(toNumber);
  const [thanMajor = -1, thanMinor = -1] = than.split('.').map(toNumber);
  return major === thanMajor ? minor < thanMinor : major < thanMajor;
}

function toNumber(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : -1;
}

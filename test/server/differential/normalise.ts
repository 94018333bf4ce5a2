/**
 * Answers without what must differ between two clusters: ids, Raft's numbers, sizes, tokens, and order that etcd leaves
 * open. What is left out still has to be there: it becomes `set`.
 */
import { Lease, Maintenance } from '../../../src/protocol/generated/etcdserverpb.ts';
import type { AnyMethod } from './steps.ts';

/** What is known of the server that answered. */
export interface Origin {
  readonly memberId: bigint;
}

type Fields = Record<string, unknown>;

/** The answer of a method. */
export function normalise(method: AnyMethod, answer: unknown, origin: Origin): unknown {
  const known = walk(answer, origin) as Fields;
  const special = SPECIAL.get(method.path);
  return special ? special(known, answer as Fields) : known;
}

/** A header. Also one that is not in an answer of its own. */
export function normaliseHeader(header: Fields): Fields {
  const { clusterId, memberId, raftTerm } = header;
  return { ...header, clusterId: isSet(clusterId), memberId: isSet(memberId), raftTerm: isSet(raftTerm) };
}

function isSet(value: unknown): unknown {
  return typeof value === 'bigint' && value !== 0n ? 'set' : value;
}

function walk(value: unknown, origin: Origin): unknown {
  if (Array.isArray(value)) return value.map((each) => walk(each, origin));
  if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return value;
  const fields = Object.entries(value).map(([name, field]) => [name, normaliseField(name, field, origin)] as const);
  return Object.fromEntries(fields);
}

function normaliseField(name: string, value: unknown, origin: Origin): unknown {
  if (name === 'header' && value !== undefined) return normaliseHeader(value as Fields);
  if (OF_MEMBERS.has(name) && value === origin.memberId) return 'own';
  if (name === 'peerURLs' || name === 'clientURLs') return (value as string[]).length;
  if (name === 'token' && typeof value === 'string') return value.replace(/^[A-Za-z]{16}\.\d+$/, 'a simple token');
  if (name === 'errors') return (value as string[]).map((text) => text.replace(`${origin.memberId}`, 'own'));
  return walk(value, origin);
}

const OF_MEMBERS = new Set(['ID', 'memberID', 'leader', 'targetID']);

const SPECIAL = new Map<string, (known: Fields, raw: Fields) => unknown>([
  [
    Maintenance.status.path,
    (known, { dbSize, dbSizeInUse, raftIndex, raftAppliedIndex, raftTerm, version }) => ({
      ...known,
      version: String(version).replace(/^3\.5\.\d+$/, '3.5'),
      dbSize: isSet(dbSize),
      dbSizeInUse: isSet(dbSizeInUse),
      raftIndex: isSet(raftIndex),
      raftAppliedIndex: isSet(raftAppliedIndex),
      raftTerm: isSet(raftTerm),
    }),
  ],
  [Maintenance.hash.path, (known) => ({ ...known, hash: 'set' })],
  [
    Lease.leaseTimeToLive.path,
    (known, { TTL, grantedTTL, keys }) => ({ ...known, TTL: timeLeft(TTL, grantedTTL), keys: sorted(keys) }),
  ],
  [Lease.leaseLeases.path, (known, { leases }) => ({ ...known, leases: sorted(leases) })],
]);

/** Time passes between one server's answer and the other's. */
const PATIENCE_SECONDS = 120n;

function timeLeft(left: unknown, granted: unknown): unknown {
  if (typeof left !== 'bigint' || typeof granted !== 'bigint' || left <= 0n) return left;
  return left <= granted && left >= granted - PATIENCE_SECONDS ? 'nearly all of it' : left;
}

function sorted(list: unknown): unknown[] {
  const text = (value: unknown): string =>
    value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : String((value as { ID: bigint }).ID);
  return [...(list as unknown[])].sort((a, b) => (text(a) < text(b) ? -1 : 1));
}

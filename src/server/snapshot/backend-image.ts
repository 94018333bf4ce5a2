/**
 * Writes a member's state as the bbolt file that etcd keeps it in.
 *
 * The buckets, and what is in them (found in files of etcd 3.4 and 3.5; numbers are big-endian, 8 bytes):
 *
 * | Bucket | Key | Value |
 * |---|---|---|
 * | `key` | main revision, `_`, place in it; `t` behind that for a delete | `mvccpb.KeyValue` |
 * | `meta` | `consistent_index`, `term` | a number |
 * | | `confState` | JSON, see `go-json.ts` |
 * | | `scheduledCompactRev`, `finishedCompactRev` | main revision, `_`, 0; absent if nothing was compacted |
 * | `lease` | id, a number | `leasepb.Lease` |
 * | `alarm` | `etcdserverpb.AlarmMember` | empty |
 * | `cluster` | `clusterVersion` | text |
 * | | `downgrade` | JSON |
 * | `members` | id in hex, lower case, no zeros before it | JSON |
 * | `members_removed` | the same | `removed` |
 * | `auth` | `authEnabled` | one byte, 0 or 1; absent if it never was on |
 * | | `authRevision` | a number |
 * | `authUsers` | name | `authpb.User`, with options also if they are empty |
 * | `authRoles` | name | `authpb.Role` |
 *
 * etcd has all buckets from its first start on, so we write them all, also empty ones. A compaction is written as
 * finished, since only what it keeps is written.
 *
 * The image is of the moment of the call: everything but the records, which never change, is encoded before the first
 * await.
 *
 * @module
 */
import { Role, User } from '../../protocol/generated/authpb.ts';
import { AlarmMember } from '../../protocol/generated/etcdserverpb.ts';
import { Lease } from '../../protocol/generated/leasepb.ts';
import { NO_BYTES } from '../../protocol/keys.ts';
import { BACKEND_KEY_BYTES, backendKey } from '../mvcc/backend-key.ts';
import type { KvStore } from '../mvcc/store.ts';
import type { BackendState } from './backend-state.ts';
import { type BoltEntry, type BoltImage, type BoltWriteOptions, writeBolt } from './bolt/writer.ts';
import { encodeConfState, encodeDowngrade, encodeMember } from './go-json.ts';

/**
 * Lays out an image of a store and the rest of a member's state, as they are now. Both may change while it is written.
 *
 * @throws RangeError if two rows have one key, such as two leases with one id.
 */
export function writeBackend(state: BackendState, store: KvStore, options: BoltWriteOptions): Promise<BoltImage> {
  const buckets: Record<string, Iterable<BoltEntry>> = {
    alarm: sorted(state.alarms, (alarm) => [AlarmMember.encode(alarm), NO_BYTES]),
    auth: authEntries(state),
    authRoles: sorted(state.roles, (role) => [role.name, Role.encode(role)]),
    authUsers: sorted(state.users, (user) => [
      user.name,
      User.encode({ ...user, options: user.options ?? { noPassword: false } }),
    ]),
    cluster: clusterEntries(state),
    key: keyEntries(store),
    lease: sorted(state.leases, (lease) => [number(lease.ID), Lease.encode(lease)]),
    members: sorted(state.members, (member) => [hexId(member.id), Buffer.from(encodeMember(member))]),
    members_removed: sorted(state.removedMembers, (id) => [hexId(id), Buffer.from('removed')]),
    meta: metaEntries(state, store.compactRevision),
  };
  return writeBolt(
    Object.entries(buckets).map(([name, entries]) => ({ name, entries })),
    options,
  );
}

function keyEntries(store: KvStore): Iterable<BoltEntry> {
  const records = store.surviving();
  return {
    *[Symbol.iterator]() {
      for (const record of records) yield [backendKey(record), record.bytes] as const;
    },
  };
}

function authEntries({ authEnabled, authRevision }: BackendState): BoltEntry[] {
  const entries: BoltEntry[] = [];
  if (authEnabled) entries.push(entry('authEnabled', Uint8Array.of(1)));
  if (authRevision !== 0n) entries.push(entry('authRevision', number(authRevision)));
  return entries;
}

function clusterEntries({ clusterVersion, downgradeTarget }: BackendState): BoltEntry[] {
  const entries: BoltEntry[] = [];
  if (clusterVersion !== undefined) entries.push(entry('clusterVersion', Buffer.from(clusterVersion)));
  if (downgradeTarget !== undefined) entries.push(entry('downgrade', Buffer.from(encodeDowngrade(downgradeTarget))));
  return entries;
}

function metaEntries({ confState, consistentIndex, term }: BackendState, compactRevision: number): BoltEntry[] {
  const entries: BoltEntry[] = [];
  if (confState) entries.push(entry('confState', Buffer.from(encodeConfState(confState))));
  entries.push(entry('consistent_index', number(consistentIndex)));
  if (compactRevision >= 0) {
    const revision = Buffer.alloc(BACKEND_KEY_BYTES);
    revision.writeBigUInt64BE(BigInt(compactRevision));
    revision.write('_', 8);
    entries.push(entry('finishedCompactRev', revision), entry('scheduledCompactRev', revision));
  }
  if (term !== 0n) entries.push(entry('term', number(term)));
  return entries;
}

function entry(key: string, value: Uint8Array): BoltEntry {
  return [Buffer.from(key), value];
}

function sorted<T>(items: Iterable<T>, toEntry: (item: T) => BoltEntry): BoltEntry[] {
  return Array.from(items, toEntry).sort(([a], [b]) => Buffer.compare(a, b));
}

function number(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, value));
  return bytes;
}

function hexId(id: bigint): Buffer {
  return Buffer.from(id.toString(16));
}

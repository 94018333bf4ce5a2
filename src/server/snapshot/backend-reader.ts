/**
 * Reads the bbolt file that a member of etcd, or one of ours, keeps its state in. `backend-image.ts` says what is in it.
 *
 * A bucket or row that is not there reads as etcd reads it: nothing, zero or off. Files of etcd 3.4 have fewer rows,
 * those of 3.6 more, which are passed over. A value that is not what its key says is an error that names the bucket and
 * nothing that is in it.
 *
 * @module
 */
import { Role, User } from '../../protocol/generated/authpb.ts';
import { AlarmMember } from '../../protocol/generated/etcdserverpb.ts';
import { Lease } from '../../protocol/generated/leasepb.ts';
import { viewAsBuffer } from '../../protocol/keys.ts';
import { KvRows } from '../mvcc/restore.ts';
import { KvStore, type LeaseBook } from '../mvcc/store.ts';
import type { BackendState } from './backend-state.ts';
import type { BoltFile } from './bolt/reader.ts';
import type { BoltEntry } from './bolt/writer.ts';
import { decodeConfState, decodeDowngrade, decodeMember } from './go-json.ts';

/** A bbolt file whose rows are not etcd's. */
export class BackendFileError extends Error {
  override name = 'BackendFileError';
}

/** A state whose parts are all there. */
export type LoadedState = {
  readonly [Part in keyof BackendState]: BackendState[Part] extends Iterable<infer Item> & object
    ? readonly Item[]
    : BackendState[Part];
};

/**
 * Reads all but the keys.
 *
 * @throws {@link BackendFileError} if it is no etcd's, `BoltFileError` if it is damaged.
 */
export async function readBackendState(file: BoltFile): Promise<LoadedState> {
  await checkBuckets(file);
  const meta = await named(file, 'meta');
  const auth = await named(file, 'auth');
  const cluster = await named(file, 'cluster');
  const optional = <T>(bucket: string, value: Buffer | undefined, decode: (value: Buffer) => T): T | undefined =>
    value && decoded(bucket, () => decode(value));
  return {
    consistentIndex: optional('meta', meta.get('consistent_index'), number) ?? 0n,
    term: optional('meta', meta.get('term'), number) ?? 0n,
    confState: optional('meta', meta.get('confState'), (value) => decodeConfState(value.toString())),
    leases: await rows(file, 'lease', (_key, value) => Lease.decode(copy(value))),
    alarms: await rows(file, 'alarm', (key) => AlarmMember.decode(copy(key))),
    clusterVersion: cluster.get('clusterVersion')?.toString(),
    downgradeTarget: optional('cluster', cluster.get('downgrade'), (value) => decodeDowngrade(value.toString())),
    members: await rows(file, 'members', (key, value) => decodeMember(memberId(key), viewAsBuffer(value).toString())),
    removedMembers: await rows(file, 'members_removed', (key) => memberId(key)),
    authEnabled: auth.get('authEnabled')?.equals(Uint8Array.of(1)) ?? false,
    authRevision: optional('auth', auth.get('authRevision'), number) ?? 0n,
    users: await rows(file, 'authUsers', (_key, value) => User.decode(copy(value))),
    roles: await rows(file, 'authRoles', (_key, value) => Role.decode(copy(value))),
  };
}

/**
 * Reads the keys into a store. A compaction that was begun counts as done: the store refuses what is before it, and
 * sweeps what is left.
 *
 * @throws {@link BackendFileError}, `BackendRowError`, `BoltFileError`.
 */
export async function readStore(file: BoltFile, leases?: LeaseBook): Promise<KvStore> {
  await checkBuckets(file);
  const meta = await named(file, 'meta');
  const compactions = ['scheduledCompactRev', 'finishedCompactRev'].map((key) => {
    const value = meta.get(key);
    return value === undefined ? -1 : decoded('meta', () => Number(number(value.subarray(0, 8))));
  });
  const store = new KvRows();
  for await (const entries of file.entries('key')) for (const [key, value] of entries) store.add(key, value);
  return KvStore.restore(store, Math.max(...compactions), leases);
}

/** Both are there from the first start of a member on. */
async function checkBuckets(file: BoltFile): Promise<void> {
  const names = await file.bucketNames();
  for (const name of ['key', 'meta']) {
    if (!names.includes(name)) throw new BackendFileError(`a bbolt file without etcd's bucket ${name}`);
  }
}

/** A small bucket whose keys are names. */
async function named(file: BoltFile, bucket: string): Promise<Map<string, Buffer>> {
  const entries = await rows(
    file,
    bucket,
    (key, value) => [viewAsBuffer(key).toString(), viewAsBuffer(value)] as const,
  );
  return new Map(entries);
}

async function rows<T>(file: BoltFile, bucket: string, decode: (...entry: BoltEntry) => T): Promise<T[]> {
  const found: T[] = [];
  for await (const entries of file.entries(bucket)) {
    for (const entry of entries) found.push(decoded(bucket, () => decode(...entry)));
  }
  return found;
}

function decoded<T>(bucket: string, decode: () => T): T {
  try {
    return decode();
  } catch {
    // The cause is not told: it may show what it has read, such as the hash of a password.
    throw new BackendFileError(`a row of etcd's bucket ${bucket} that can't be decoded`);
  }
}

/** What was decoded may share its bytes: with a copy it keeps no page alive. */
function copy(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

function number(value: Buffer): bigint {
  if (value.length !== 8) throw new RangeError('not 8 bytes');
  return value.readBigUInt64BE();
}

function memberId(key: Uint8Array): bigint {
  return BigInt(`0x${viewAsBuffer(key).toString()}`);
}

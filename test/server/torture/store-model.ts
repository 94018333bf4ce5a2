/**
 * What a store has to hold after a row of changes: the plainest form of etcd's revisions there is.
 *
 * An operation is what was asked for; {@link StoreModel.changesOf} says what it does to the state as it is.
 */
import { crc32c } from '@node-rs/crc32';
import { KeyValue } from '../../../src/protocol/generated/mvccpb.ts';

/** A version of a key. A delete has nothing but key and revision. */
export interface Version {
  readonly key: string;
  readonly deleted: boolean;
  readonly value: string;
  readonly lease: bigint;
  readonly create: number;
  readonly mod: number;
  readonly version: number;
}

/** What a request asks for; all of it takes effect in one revision. */
export interface Operation {
  readonly puts: readonly { readonly key: string; readonly value: string; readonly lease: bigint }[];
  /** Deletes all keys from the first up to, not including, the second, after the puts. */
  readonly deletes?: readonly [string, string] | undefined;
  /** Deletes the keys of a lease. */
  readonly revokes?: bigint | undefined;
}

interface Record {
  readonly version: Version;
  /** Revision and content as the hash has them. */
  readonly bytes: Buffer;
}

/** See the head of this file. Revisions start at 1, with nothing in the store. */
export class StoreModel {
  revision = 1;
  readonly live = new Map<string, Version>();
  #records: Record[] = [];

  /** The changes that an operation makes in the next revision; none if it has no effect. */
  changesOf({ puts, deletes, revokes }: Operation): Version[] {
    const mod = this.revision + 1;
    const changes: Version[] = puts.map(({ key, value, lease }) => {
      const old = this.live.get(key);
      const create = old?.create ?? mod;
      return { key, deleted: false, value, lease, create, mod, version: (old?.version ?? 0) + 1 };
    });
    const gone = [...this.live.values()].filter(({ key, lease }) => {
      if (revokes !== undefined) return lease === revokes;
      return deletes !== undefined && key >= deletes[0] && key < deletes[1];
    });
    for (const key of gone.map((one) => one.key).sort()) changes.push(tombstone(key, mod));
    return changes;
  }

  /** Takes the changes of the next revision. */
  apply(changes: readonly Version[]): void {
    this.revision += 1;
    for (const [sub, version] of changes.entries()) {
      if (version.deleted) this.live.delete(version.key);
      else this.live.set(version.key, version);
      this.#records.push({ version, bytes: hashBytes(version, sub) });
    }
  }

  /** etcd's hash of the store as it is, after a compaction (-1: none). */
  hash(compactRevision: number): number {
    this.#records = this.#records.filter(
      ({ version }) => version.mod > compactRevision || this.live.get(version.key) === version,
    );
    return crc32c(Buffer.concat([Buffer.from('key'), ...this.#records.map(({ bytes }) => bytes)]));
  }
}

/** What is left to say of a key that was deleted. */
export function tombstone(key: string, mod: number): Version {
  return { key, deleted: true, value: '', lease: 0n, create: 0, mod, version: 0 };
}

/** A digest of a row of changes, each added to the one before. */
export function addChange(digest: number, change: { key: string; mod: number; deleted: boolean }): number {
  return crc32c(`${change.deleted ? 'delete' : 'put'} ${change.key} ${change.mod}\n`, digest);
}

function hashBytes({ key, deleted, value, lease, create, mod, version }: Version, sub: number): Buffer {
  const head = Buffer.alloc(17);
  head.writeBigUInt64BE(BigInt(mod), 0);
  head.write('_', 8);
  head.writeBigUInt64BE(BigInt(sub), 9);
  if (deleted) return Buffer.concat([head, Buffer.from('t'), KeyValue.encode({ key: Buffer.from(key) })]);
  const kv = { key: Buffer.from(key), value: Buffer.from(value), lease };
  const revisions = { createRevision: BigInt(create), modRevision: BigInt(mod), version: BigInt(version) };
  return Buffer.concat([head, KeyValue.encode({ ...kv, ...revisions })]);
}

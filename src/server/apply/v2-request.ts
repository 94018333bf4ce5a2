/**
 * The two requests of etcd's API version 2 that are still in logs: servers 3.4 and 3.5 tell by them what a member says
 * of itself, and the version of the cluster. So does this one: etcd 3.4 ends with a panic at an entry that says it by a
 * request of version 3, which 3.5 understands and does not write either.
 *
 * They are messages of their own in the log, `etcdserverpb.Request`: a number (1), a method (2), a path (3) and a value
 * (4), which is JSON or text. Of other paths they concern a store that neither we nor etcd 3.6 have. What says whether
 * an entry is one: as an `InternalRaftRequest` it can't be read, since "PUT" is no message.
 *
 * Source: logs of etcd 3.4 and 3.5; `etcdserverpb.Request` of its published protocol.
 *
 * @module
 */
import { z } from 'zod';
import { EMPTY, Reader, Writer } from '../../protocol/wire.ts';
import { parseJson } from './member-context.ts';
import type { Membership } from './membership.ts';

const ATTRIBUTES_PATH = /^\/0\/members\/([0-9a-f]{1,16})\/attributes$/;
const VERSION_PATH = '/0/version';

/** `Dir` and `PrevValue`, and behind them the numbers from `Stream` back to `PrevIndex`, without the optional ones. */
const DIR_TAG = 0x28;
const PREV_VALUE_TAG = 0x32;
const ZERO_FIELDS = [16, 15, 14, 13, 12, 11, 10, 9, 7];

const attributesJson = z.object({ name: z.string().nullish(), clientURLs: z.array(z.string()).nullish() });

/** A request of version 2. */
export interface V2Request {
  readonly id: bigint;
  readonly method: string;
  readonly path: string;
  readonly value: string;
}

/** What to put where, of the two that there are. */
export type V2Put = Pick<V2Request, 'path' | 'value'>;

/** What a member says of itself. */
export function attributesPut(memberId: bigint, name: string, clientUrls: readonly string[]): V2Put {
  const value = JSON.stringify({
    ...(name !== '' && { name }),
    ...(clientUrls.length > 0 && { clientURLs: clientUrls }),
  });
  return { path: `/0/members/${memberId.toString(16)}/attributes`, value };
}

/** The version of the cluster, such as `3.5.0`. */
export function versionPut(version: string): V2Put {
  return { path: VERSION_PATH, value: version };
}

/** The bytes for the log, as etcd writes them: with all numbers that it never leaves out, 0 here. */
export function encodeV2Put(id: bigint, { path, value }: V2Put): Uint8Array {
  const writer = new Writer();
  // Last field first.
  writer.begin();
  for (const field of ZERO_FIELDS) writer.uint64(field << 3, 0n);
  writer.bytes(PREV_VALUE_TAG, EMPTY);
  writer.uint64(DIR_TAG, 0n);
  writer.string(34, value);
  writer.string(26, path);
  writer.string(18, 'PUT');
  writer.uint64(8, id);
  return writer.finish();
}

/** @returns Undefined if the bytes are none. */
export function readV2Request(data: Uint8Array): V2Request | undefined {
  const fields = { id: 0n, method: '', path: '', value: '' };
  const reader = new Reader(data);
  try {
    while (reader.pos < reader.end) {
      const tag = reader.tag();
      if (tag === 8) fields.id = reader.uint64();
      else if (tag === 18) fields.method = reader.string();
      else if (tag === 26) fields.path = reader.string();
      else if (tag === 34) fields.value = reader.string();
      else reader.unknown(tag, {});
    }
    reader.finish(reader.end);
  } catch {
    return undefined;
  }
  return fields.method === '' ? undefined : fields;
}

/** Does what such a request asks for, as far as it is still of use. */
export function applyV2Request(members: Membership, { method, path, value }: V2Request): void {
  if (method !== 'PUT') return;
  if (path === VERSION_PATH) members.setClusterVersion(value);
  const id = ATTRIBUTES_PATH.exec(path)?.[1];
  if (id === undefined) return;
  const attributes = attributesJson.safeParse(parseJson(value));
  if (!attributes.success) return;
  const { name, clientURLs } = attributes.data;
  members.setAttributes(BigInt(`0x${id}`), name ?? '', clientURLs ?? []);
}

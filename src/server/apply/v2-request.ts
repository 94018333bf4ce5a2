/**
 * The two requests of etcd's API version 2 that are still in logs: servers 3.4 and 3.5 tell by them what a member says
 * of itself, and the version of the cluster.
 *
 * They are messages of their own in the log, `etcdserverpb.Request`: a number (1), a method (2), a path (3) and a value
 * (4), which is JSON or text. Of other paths they concern a store that neither we nor etcd 3.6 have.
 *
 * Source: logs of etcd 3.4 and 3.5; `etcdserverpb.Request` of its published protocol.
 *
 * @module
 */
import { z } from 'zod';
import { Reader } from '../../protocol/wire.ts';
import { parseJson } from './member-context.ts';
import type { Membership } from './membership.ts';

const ATTRIBUTES_PATH = /^\/0\/members\/([0-9a-f]{1,16})\/attributes$/;
const VERSION_PATH = '/0/version';

const attributesJson = z.object({ name: z.string().nullish(), clientURLs: z.array(z.string()).nullish() });

/** A request of version 2. */
export interface V2Request {
  readonly id: bigint;
  readonly method: string;
  readonly path: string;
  readonly value: string;
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

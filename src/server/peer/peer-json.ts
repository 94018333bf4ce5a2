/**
 * What members say to each other in JSON at `/members` and `/members/hashkv`, as etcd's members write it.
 *
 * Ids are numbers of up to 64 bits there, so their digits are read as text. What comes in is another's: it is checked.
 *
 * @module
 */
import { z } from 'zod';
import type { PeerHash } from '../member/peers.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';
import { decodeMember, encodeMember } from '../snapshot/go-json.ts';

const membersJson = z.array(z.looseObject({ id: z.string().regex(/^\d{1,20}$/) }));

/** A list of members. */
export function encodeMembers(members: readonly BackendMember[]): string {
  return `[${members.map(encodeMember).join(',')}]\n`;
}

/** @throws Error it is none. */
export function decodeMembers(text: string): BackendMember[] {
  // A quote within a text is escaped, so only a field's name is this.
  const list = membersJson.parse(JSON.parse(text.replace(/"id"\s*:\s*(\d+)/g, '"id":"$1"')));
  return list.map((one) => decodeMember(BigInt.asUintN(64, BigInt(one.id)), JSON.stringify(one)));
}

const hashRequestJson = z.object({ revision: z.int().optional() });

/** A question for the hash of the keys at a revision; 0: now. */
export function encodeHashRequest(revision: number): string {
  return JSON.stringify({ revision });
}

/** @returns The revision. @throws Error it is no such question. */
export function decodeHashRequest(text: string): number {
  return hashRequestJson.parse(JSON.parse(text)).revision ?? 0;
}

const hashJson = z.object({
  header: z.object({ revision: z.int().optional() }).optional(),
  hash: z.int().min(0).max(0xffff_ffff).optional(),
  compact_revision: z.int().optional(),
  hash_revision: z.int().optional(),
});

/** The answer to it. */
export function encodeHash({ hash, hashRevision, compactRevision, revision }: PeerHash): string {
  const fields = { hash, compact_revision: compactRevision, hash_revision: hashRevision };
  return JSON.stringify({ header: { revision }, ...fields });
}

/** @param asked The revision that was asked about: etcd before 3.6 does not repeat it. @throws Error it is no answer. */
export function decodeHash(text: string, asked: number): PeerHash {
  const { header, hash = 0, compact_revision: compactRevision = 0, hash_revision } = hashJson.parse(JSON.parse(text));
  const revision = header?.revision ?? 0;
  return { hash, hashRevision: hash_revision ?? (asked || revision), compactRevision, revision };
}

/** Members of tests: on a disk in memory and virtual time, with requests in few words. */
import { setImmediate as turn } from 'node:timers/promises';
import { fromLatin1, toLatin1 } from '../../../src/protocol/keys.ts';
import type { PasswordHasher } from '../../../src/server/auth/passwords.ts';
import { SimpleTokens } from '../../../src/server/auth/simple-tokens.ts';
import { Member } from '../../../src/server/member/member.ts';
import type { MemberOptions } from '../../../src/server/member/options.ts';
import type { Proposed } from '../../../src/server/member/serving.ts';
import { recordValue } from '../../../src/server/mvcc/record.ts';
import { RpcError } from '../../../src/server/refusals.ts';
import type { Disk } from '../../../src/server/storage/disk.ts';
import type { VirtualClock } from '../../support/virtual-clock.ts';

export const NAME = 'default';
export const PEER_URL = 'http://localhost:2380';
export const CLIENT_URL = 'http://localhost:2379';
export const DATA_DIR = 'data';

const hasher: PasswordHasher = { cost: 4, hash: async () => '', verify: async () => false };

/** How members of tests are set up, unless a test says otherwise. */
export function optionsOf(clock: VirtualClock, more: Partial<MemberOptions> = {}): MemberOptions {
  return {
    name: NAME,
    clientUrls: [CLIENT_URL],
    initialCluster: [{ name: NAME, peerUrls: [PEER_URL] }],
    clock,
    timeOfDayMs: 1_700_000_000_000,
    random: () => 0,
    pause: () => turn(),
    tokens: (context) => new SimpleTokens({ ...context, randomBytes: (count) => new Uint8Array(count) }),
    hasher,
    ...more,
  };
}

/** A member that is ready. */
export async function startMember(
  clock: VirtualClock,
  disk?: Disk,
  more: Partial<MemberOptions> = {},
): Promise<Member> {
  const storage = disk && { disk, dataDir: DATA_DIR, segmentBytes: 20_000 };
  const member = await Member.start(optionsOf(clock, { storage, ...more }));
  await member.ready;
  return member;
}

export function put(member: Member, key: string, value: string, lease = 0n, signal?: AbortSignal): Promise<Proposed> {
  const request = { key: fromLatin1(key), value: fromLatin1(value), lease };
  return member.propose({ put: { ...request, prevKv: false, ignoreValue: false, ignoreLease: false } }, { signal });
}

/** The value of a key, as text. */
export function valueAt(member: Member, key: string): string | undefined {
  const record = member.state.store.get(key);
  return record && toLatin1(recordValue(record));
}

/** The text of what a call is refused with. */
export async function refusalOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => {
      throw new Error('it was not refused');
    },
    (error: unknown) => {
      if (error instanceof RpcError) return error.refusal.text;
      throw error;
    },
  );
}

/**
 * The Election service: elections that the server runs on the caller's behalf.
 *
 * etcd tells who campaigns that they lead without a look at whether their key has survived the waiting; here one that
 * has not is refused. And what is proclaimed without a lease stays on the lease that the leadership is on, where etcd
 * would put it on a new one that nobody renews.
 *
 * @module
 */
import { KeyValue } from '../../protocol/generated/mvccpb.ts';
import { Election, type LeaderKey, type LeaderResponse } from '../../protocol/generated/v3electionpb.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import type { ServingMember } from '../member/serving.ts';
import type { KvRecord } from '../mvcc/record.ts';
import { Refusals, RpcError } from '../refusals.ts';
import type { Method, Outlet } from '../rpc/call.ts';
import { type Contest, createdAt, firstOf, proclaim } from './contest.ts';
import type { Guard } from './guard.ts';
import { headerOf } from './header.ts';
import type { Identities } from './identity.ts';
import { LocalKv } from './local-kv.ts';
import { LocalWatch } from './local-watch.ts';
import { uncoded, withoutCodes } from './uncoded.ts';

const NO_LEADER = uncoded('election: no leader');
const NOT_LEADER = uncoded('election: not leader');
const NO_LEADER_KEY = uncoded('"leader" field must be provided');

/** See the head of this file. Its errors have no code but UNKNOWN. */
export function electionMethods(
  member: ServingMember,
  guard: Guard,
  { identities, contest }: { readonly identities: Identities; readonly contest: Contest },
): readonly Method[] {
  const response = (record: KvRecord, revision: number) => ({
    header: headerOf(member, revision),
    kv: KeyValue.decode(record.bytes),
  });
  return [
    guard.unary(
      Election.campaign,
      withoutCodes(async ({ name, lease, value }, call) => {
        const kv = new LocalKv(member, identities, call);
        const place = await contest.win(kv, { name, lease, value, lost: NOT_LEADER });
        const leader = { name, key: place.key, rev: BigInt(place.createRevision), lease: place.lease };
        return { header: headerOf(member, place.enteredAt), leader };
      }),
    ),
    guard.unary(
      Election.proclaim,
      withoutCodes(async ({ leader, value }, call) => {
        const { key, lease, rev: createRevision } = checkLeader(leader);
        const kv = new LocalKv(member, identities, call);
        const revision = await proclaim(kv, { key, lease, createRevision, value, lost: NOT_LEADER });
        return { header: headerOf(member, revision) };
      }),
    ),
    guard.unary(
      Election.leader,
      withoutCodes(async ({ name }, call) => {
        const { records, revision } = await new LocalKv(member, identities, call).range(firstOf(name));
        if (!records[0]) throw new RpcError(NO_LEADER);
        return response(records[0], revision);
      }),
    ),
    guard.serverStream(
      Election.observe,
      withoutCodes(async ({ name }, call, out: Outlet<LeaderResponse>) => {
        for await (const { record, revision } of leaders(member, new LocalKv(member, identities, call), name)) {
          if (!out.send(response(record, revision))) await out.drained();
        }
      }),
    ),
    guard.unary(
      Election.resign,
      withoutCodes(async ({ leader }, call) => {
        const { key, rev } = checkLeader(leader);
        const kv = new LocalKv(member, identities, call);
        const success = [{ requestDeleteRange: { key } }];
        const { revision } = await kv.txn({ compare: [createdAt(key, rev)], success }, call.signal);
        return { header: headerOf(member, revision) };
      }),
    ),
  ];
}

function checkLeader(leader: LeaderKey | undefined): LeaderKey {
  if (!leader) throw new RpcError(NO_LEADER_KEY);
  if (leader.key.length === 0) throw new RpcError(Refusals.EmptyKey);
  return leader;
}

/**
 * The present leader, what it proclaims, and each one after it, until the caller is gone. Leaders that were there and
 * gone again before anybody looked are left out.
 */
async function* leaders(
  member: ServingMember,
  kv: LocalKv,
  name: Uint8Array,
): AsyncGenerator<{ readonly record: KvRecord; readonly revision: number }, void, undefined> {
  while (!kv.signal.aborted) {
    const { records, revision } = await kv.range(firstOf(name));
    const record = records[0] ?? (await firstPut(member, kv, name, revision));
    if (!record) continue;
    const shownAt = records[0] ? revision : record.main;
    yield { record, revision: shownAt };
    using watch = new LocalWatch(member, { key: record.key, end: '' }, shownAt + 1, kv.signal);
    for (let next = await watch.next(); next && !next.isTombstone; next = await watch.next()) {
      yield { record: next, revision: next.main };
    }
  }
}

/** The first key of an election that is written after a revision. */
async function firstPut(
  member: ServingMember,
  kv: LocalKv,
  name: Uint8Array,
  revision: number,
): Promise<KvRecord | undefined> {
  const { key, rangeEnd } = firstOf(name);
  const range = { key: toLatin1(key), end: toLatin1(rangeEnd) };
  using watch = new LocalWatch(member, range, revision + 1, kv.signal);
  let next = await watch.next();
  while (next?.isTombstone) next = await watch.next();
  return next;
}

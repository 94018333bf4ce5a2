/**
 * The Maintenance service: how the member is, and what operators do to it.
 *
 * Its answers are of this member alone, but for alarms and downgrades, which are the cluster's. A learner answers
 * `Status` and `Snapshot` too.
 *
 * @module
 */
import { crc32c } from '@node-rs/crc32';
import { AlarmType, Maintenance, type SnapshotResponse } from '../../protocol/generated/etcdserverpb.ts';
import { viewAsBuffer } from '../../protocol/keys.ts';
import type { ServingMember } from '../member/serving.ts';
import { Refusals, RpcError } from '../refusals.ts';
import type { Method, Outlet } from '../rpc/call.ts';
import { writeBackend } from '../snapshot/backend-image.ts';
import { withDigest } from '../snapshot/digest.ts';
import { downgrade } from './downgrade.ts';
import type { Guard } from './guard.ts';
import { headerOf } from './header.ts';

/**
 * See the head of this file.
 *
 * @param defragment Does what `Defragment` asks for.
 */
export function maintenanceMethods(
  member: ServingMember,
  guard: Guard,
  defragment: () => Promise<void>,
): readonly Method[] {
  return [
    guard.unary(Maintenance.alarm, async (alarm, { signal, span }, actor) => {
      const { result, revision } = await member.propose({ alarm }, { actor, signal, span });
      return { header: headerOf(member, revision), alarms: result.type === 'alarm' ? result.alarms : [] };
    }),
    guard.unary(Maintenance.status, async () => status(member)),
    guard.unary(Maintenance.defragment, async () => {
      await defragment();
      return {};
    }),
    guard.unary(Maintenance.hash, async (_, { signal }) => {
      const header = headerOf(member);
      return { header, hash: await hashBackend(member, signal) };
    }),
    guard.unary(Maintenance.hashKV, async ({ revision }) => {
      const found = member.state.hashKv(Number(revision));
      if (found === 'compacted') throw new RpcError(Refusals.Compacted);
      if (found === 'future') throw new RpcError(Refusals.FutureRevision);
      return { header: headerOf(member), hash: found.hash, compactRevision: BigInt(found.compactRevision) };
    }),
    guard.serverStream(Maintenance.snapshot, async (_, { signal }, out) => sendImage(member, out, signal)),
    guard.unary(Maintenance.moveLeader, async ({ targetID }, { signal }) => {
      if (member.position.leader !== member.id) throw new RpcError(Refusals.NotLeader);
      const target = member.state.members.get(targetID);
      if (!target || target.isLearner) throw new RpcError(Refusals.BadLeaderTransferee);
      if (targetID !== member.id) await member.moveLeader(targetID, signal);
      return {};
    }),
    guard.unary(Maintenance.downgrade, (request, { signal }, actor) => downgrade(member, request, { actor, signal })),
  ];
}

function status(member: ServingMember) {
  const { position, state } = member;
  const errors: string[] = position.leader === 0n ? [Refusals.NoLeader.text] : [];
  for (const { memberID, alarm } of state.alarms.list()) errors.push(alarmText(memberID, alarm));
  return {
    header: headerOf(member),
    version: member.version,
    dbSize: BigInt(state.sizeBytes),
    dbSizeInUse: BigInt(state.sizeInUseBytes),
    leader: position.leader,
    raftIndex: BigInt(position.committed),
    raftTerm: BigInt(position.term),
    raftAppliedIndex: BigInt(position.applied),
    isLearner: position.isLearner,
    errors,
  };
}

const ALARM_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(AlarmType).map(([name, type]) => [type, name] as const),
);

/** As etcd prints the message: what is 0 is left out, and a blank follows each field. */
function alarmText(memberID: bigint, alarm: number): string {
  const who = memberID === 0n ? '' : `memberID:${memberID} `;
  return alarm === AlarmType.NONE ? who : `${who}alarm:${ALARM_NAMES.get(alarm) ?? alarm} `;
}

/**
 * The hash of everything that members have in common: of an image, without where in the log it was taken. The number
 * is not the one that etcd would give, whose buckets lie otherwise; equal states have equal ones.
 */
async function hashBackend(member: ServingMember, signal: AbortSignal): Promise<number> {
  const pause = (): Promise<void> => new Promise((resolve) => member.after(0, resolve));
  const rows = { ...member.state.rows(), consistentIndex: 0n, term: 0n };
  const image = await writeBackend(rows, member.state.store, { pause });
  let hash = 0;
  for await (const chunk of image.chunks) {
    if (signal.aborted) throw new RpcError(Refusals.Canceled);
    hash = crc32c(viewAsBuffer(chunk), hash);
  }
  return hash;
}

/** Sends an image as it is made, no faster than it is read, and its digest behind it. */
async function sendImage(member: ServingMember, out: Outlet<SnapshotResponse>, signal: AbortSignal): Promise<void> {
  const image = await member.image();
  let left = image.sizeBytes;
  for await (const blob of withDigest(image.chunks)) {
    if (signal.aborted) return;
    // The digest is not of the image.
    left = Math.max(left - blob.length, 0);
    if (!out.send({ remainingBytes: BigInt(left), blob })) await out.drained();
  }
}

/**
 * Downgrades: whether the cluster may go back by one minor version, and that it shall.
 *
 * etcd 3.5 does what `ENABLE` and `CANCEL` ask, and then lets the caller wait until the time is over; here they are
 * answered.
 *
 * @module
 */
import {
  DowngradeRequestDowngradeAction as Action,
  type DowngradeRequest,
  type DowngradeResponse,
} from '../../protocol/generated/etcdserverpb.ts';
import type { Init } from '../../protocol/wire.ts';
import type { Actor } from '../auth/store.ts';
import type { ServingMember } from '../member/serving.ts';
import { Refusals, RpcError } from '../refusals.ts';
import { headerOf } from './header.ts';

const VERSION = /^(\d+)\.(\d+)(?:\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)?$/;

/** Answers a `Downgrade` call with the version that the cluster has. */
export async function downgrade(
  member: ServingMember,
  { action, version }: DowngradeRequest,
  { actor, signal }: { readonly actor: Actor; readonly signal: AbortSignal },
): Promise<Init<DowngradeResponse>> {
  const set = (enabled: boolean, ver: string) =>
    member.propose({ downgradeInfoSet: { enabled, ver } }, { actor, signal });
  if (action === Action.VALIDATE) await checkTarget(member, version, signal);
  else if (action === Action.ENABLE) await set(true, await checkTarget(member, version, signal));
  else if (action === Action.CANCEL) {
    await member.linearize(signal);
    if (member.state.members.downgradeTarget === undefined) throw new RpcError(Refusals.NoInflightDowngrade);
    await set(false, '');
  } else throw new RpcError(Refusals.UnknownDowngradeAction);
  return { header: headerOf(member), version: member.state.members.clusterVersion };
}

/** @returns The version to go to, if the cluster may go there. */
async function checkTarget(member: ServingMember, version: string, signal: AbortSignal): Promise<string> {
  const target = minorOf(version);
  if (!target) throw new RpcError(Refusals.WrongDowngradeVersionFormat);
  await member.linearize(signal);
  const { clusterVersion, downgradeTarget } = member.state.members;
  const current = minorOf(clusterVersion ?? '');
  if (!current) throw new RpcError(Refusals.ClusterVersionUnavailable);
  if (target.major !== current.major || target.minor !== current.minor - 1) {
    throw new RpcError(Refusals.InvalidDowngradeTargetVersion);
  }
  if (downgradeTarget !== undefined) throw new RpcError(Refusals.DowngradeInProcess);
  return `${target.major}.${target.minor}.0`;
}

function minorOf(version: string): { readonly major: number; readonly minor: number } | undefined {
  const [, major, minor] = VERSION.exec(version) ?? [];
  return minor === undefined ? undefined : { major: Number(major), minor: Number(minor) };
}

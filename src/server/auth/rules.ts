/**
 * The rule of each gRPC method: who may call it.
 *
 * A table, so that one look shows what is open, and a test shows that nothing was left out. Methods that stream are
 * checked for each message that comes in.
 *
 * @module
 */
import { Auth, Cluster, KV, Lease, Maintenance, Watch } from '../../protocol/generated/etcdserverpb.ts';
import { Health } from '../../protocol/generated/grpc_health_v1.ts';
import { Election } from '../../protocol/generated/v3electionpb.ts';
import { Lock } from '../../protocol/generated/v3lockpb.ts';
import type { MethodDescriptor } from '../../protocol/wire.ts';
import type { Access } from './access.ts';
import type { AuthError } from './errors.ts';
import type { Actor } from './store.ts';

/** The name of one of the checks of {@link Access}. */
export type CheckName = Exclude<keyof Access, 'checkEntry'>;

/** Those that can check requests of a type. */
type CheckOf<Request> = {
  [Name in CheckName]: Access[Name] extends (request: Request, actor: Actor) => AuthError | undefined ? Name : never;
}[CheckName];

function rule<Request, Response>(
  { path }: MethodDescriptor<Request, Response>,
  check: CheckOf<Request>,
): readonly [string, CheckName] {
  return [path, check];
}

/** The check of each method, by its path. */
export const RULES: ReadonlyMap<string, CheckName> = new Map([
  rule(KV.range, 'range'),
  rule(KV.rangeStream, 'range'),
  rule(KV.put, 'put'),
  rule(KV.deleteRange, 'deleteRange'),
  rule(KV.txn, 'txn'),
  rule(KV.compact, 'admin'),
  rule(Watch.watch, 'watch'),
  rule(Lease.leaseGrant, 'user'),
  rule(Lease.leaseRevoke, 'leaseWrite'),
  rule(Lease.leaseKeepAlive, 'leaseWrite'),
  rule(Lease.leaseTimeToLive, 'leaseTimeToLive'),
  rule(Lease.leaseLeases, 'leaseLeases'),
  rule(Cluster.memberList, 'user'),
  rule(Cluster.memberAdd, 'admin'),
  rule(Cluster.memberRemove, 'admin'),
  rule(Cluster.memberUpdate, 'admin'),
  rule(Cluster.memberPromote, 'admin'),
  rule(Maintenance.alarm, 'alarm'),
  // Root's alone up to etcd 3.5.30, and then nobody else could ask a member how it is.
  rule(Maintenance.status, 'user'),
  rule(Maintenance.defragment, 'admin'),
  rule(Maintenance.hash, 'admin'),
  rule(Maintenance.hashKV, 'admin'),
  rule(Maintenance.snapshot, 'admin'),
  rule(Maintenance.moveLeader, 'admin'),
  rule(Maintenance.downgrade, 'admin'),
  rule(Auth.authenticate, 'open'),
  rule(Auth.authEnable, 'admin'),
  rule(Auth.authDisable, 'admin'),
  rule(Auth.authStatus, 'admin'),
  rule(Auth.userAdd, 'admin'),
  rule(Auth.userGet, 'userGet'),
  rule(Auth.userList, 'admin'),
  rule(Auth.userDelete, 'admin'),
  rule(Auth.userChangePassword, 'admin'),
  rule(Auth.userGrantRole, 'admin'),
  rule(Auth.userRevokeRole, 'admin'),
  rule(Auth.roleAdd, 'admin'),
  rule(Auth.roleGet, 'roleGet'),
  rule(Auth.roleList, 'admin'),
  rule(Auth.roleDelete, 'admin'),
  rule(Auth.roleGrantPermission, 'admin'),
  rule(Auth.roleRevokePermission, 'admin'),
  // These are made of calls to KV, Lease and Watch, each of which is checked.
  rule(Lock.lock, 'open'),
  rule(Lock.unlock, 'open'),
  rule(Election.campaign, 'open'),
  rule(Election.proclaim, 'open'),
  rule(Election.leader, 'open'),
  rule(Election.observe, 'open'),
  rule(Election.resign, 'open'),
  // Whoever balances load has no user.
  rule(Health.check, 'open'),
  rule(Health.watch, 'open'),
]);

/** Whether a method is for everybody: who calls it is not even asked. */
export function isOpen(path: string): boolean {
  return RULES.get(path) === 'open';
}

/**
 * Checks a request of a method. A method that the table does not know is root's alone.
 *
 * @param request Of the method's type.
 */
export function authorize(access: Access, path: string, request: unknown, actor: Actor): AuthError | undefined {
  const check = RULES.get(path) ?? 'admin';
  // The table was typed when it was made.
  return (access[check] as (request: unknown, actor: Actor) => AuthError | undefined)(request, actor);
}

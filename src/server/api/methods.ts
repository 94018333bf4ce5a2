/**
 * All methods of the server.
 *
 * @module
 */
import type { ServingMember } from '../member/serving.ts';
import type { MethodTable } from '../rpc/call.ts';
import { authMethods } from './auth.ts';
import { clusterMethods } from './cluster.ts';
import { Contest } from './contest.ts';
import { electionMethods } from './election.ts';
import type { ApiOptions } from './guard.ts';
import { MemberGuard } from './guards.ts';
import { healthMethods, Serving } from './health.ts';
import { Identities } from './identity.ts';
import { kvMethods } from './kv.ts';
import { leaseMethods } from './lease.ts';
import { lockMethods } from './lock.ts';
import { maintenanceMethods } from './maintenance.ts';
import { watchMethods } from './watch.ts';

/** Settings of all services. */
export interface MethodOptions extends ApiOptions {
  /** The least time between two elections, in ms: `--election-timeout`. */
  readonly electionTimeoutMs: number;
  /** Whether clients' certificates are asked for and checked: `--client-cert-auth`. Default: no. */
  readonly clientCertAuth?: boolean | undefined;
  /** Whether the health service says that nothing is served while a defragmentation runs. Default: no. */
  readonly notServingOnDefragment?: boolean | undefined;
}

/** Makes the methods of a member, each behind the guard. */
export function createMethods(member: ServingMember, options: MethodOptions): MethodTable {
  const identities = new Identities(member, options.clientCertAuth ?? false);
  const guard = new MemberGuard(member, { identities, electionTimeoutMs: options.electionTimeoutMs });
  const contest = new Contest(member, options.random);
  const serving = new Serving();
  const defragment = (): Promise<void> =>
    options.notServingOnDefragment ? serving.pausedDuring(() => member.defragment()) : member.defragment();
  const methods = [
    kvMethods(member, guard, options),
    watchMethods(member, guard, options),
    leaseMethods(member, guard, options),
    clusterMethods(member, guard, options),
    maintenanceMethods(member, guard, defragment),
    authMethods(member, guard),
    lockMethods(member, guard, { identities, contest }),
    electionMethods(member, guard, { identities, contest }),
    healthMethods(guard, serving),
  ].flat();
  return new Map(methods.map((method) => [method.descriptor.path, method] as const));
}

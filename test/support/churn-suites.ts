/**
 * Which suites can't be had under `ETCDKIT_CHURN` (churn.ts), and why: by what they ask of their cluster, and, where that
 * doesn't say it, by name. Single tests that hurt members, or change them or authentication with etcdctl, are left out by
 * the cluster itself.
 *
 * A suite whose name is here and that is renamed runs, and fails: then the entry has to follow.
 */
import type { EtcdSuiteOptions } from './fixtures.ts';

const AUTHENTICATION = 'it turns authentication on, and who has no login can replace no member';

const NAMED: ReadonlyMap<string, string> = new Map([
  ['auth', AUTHENTICATION],
  ['a user with a password', AUTHENTICATION],
  ['calls of a client that is logged in', AUTHENTICATION],
  ['coalescing with authentication', AUTHENTICATION],
  ['a store that gets full', 'members of a full store are not healthy, and that they are is waited for'],
  ['a learner', 'it counts on all members, and adds one'],
  ['fifty thousand puts', 'its process starts a server of its own'],
  ['a fleet of services', 'it hurts members itself, for minutes'],
]);

const RESTARTS = 'it restarts the member that it waits on';

const TESTS: ReadonlyMap<string, string> = new Map([
  ['a place in the queue outlives a restart of the server, and a look that finds it away is made again', RESTARTS],
  ['waits on while the member is away', RESTARTS],
]);

/** Why a test has to be left out before it begins: what it has begun when it is left out would go on. */
export function unfitTest(name: string): string | undefined {
  return TESTS.get(name);
}

/** Why a suite can't be had; undefined if it can. */
export function unfitForChurn(name: string, options: EtcdSuiteOptions): string | undefined {
  const { members, tls = 'none', authToken, authTokenTtlSeconds, env } = options;
  // By number or in a list.
  if ([members].flat().includes(3)) return 'three members are asked for by who hurts them, or counts on all of them';
  if (tls !== 'none') return 'its connections have certificates, and those that replace members have none';
  if (authToken !== undefined || authTokenTtlSeconds !== undefined) return AUTHENTICATION;
  if (env !== undefined) return 'its members have an environment of their own';
  return NAMED.get(name);
}

/**
 * What the servers of this client's cluster can do, by the version they tell.
 *
 * While a cluster is being upgraded its members differ, and a call may go to any of them.
 * So without an endpoint the answer is about the oldest member this client is connected to:
 * what that one can do, all can. A connection is probed anew whenever it is made, and an
 * upgrade breaks it, so a version in hand is never out of date.
 *
 * @module
 */

import { Maintenance } from '../../protocol/generated/etcdserverpb.ts';
import type { CallOptions } from '../call-options.ts';
import { type Feature, supports, unsupportedError } from '../capabilities.ts';
import type { Caller } from '../connection/caller.ts';
import { EtcdError, UnsupportedError } from '../errors.ts';
import { compareVersions, parseVersion } from '../version.ts';
import { endpointText } from './member-address.ts';
import { STATUS_TRAITS } from './traits.ts';

/** What a server of one version can do. */
export interface Capabilities {
  /** The version of the server's program, such as `3.5.30`. */
  readonly version: string;
  /** Whether it has the feature. */
  supports(feature: Feature): boolean;
  /** @throws UnsupportedError naming feature, needed version and found version, unless it has the feature. */
  require(feature: Feature): void;
}

/** The capabilities of a version. */
export function capabilitiesOf(version: string): Capabilities {
  return {
    version,
    supports: (feature) => supports(version, feature),
    require(feature) {
      if (!supports(version, feature)) throw unsupportedError(feature, version);
    },
  };
}

/**
 * What the servers can do: the one at `options.endpoint`, or else the oldest one connected.
 * Asks a member for its status only when no version is known yet.
 *
 * @throws PermissionDeniedError from etcd before 3.5.31 and 3.6.12, where only root may ask, if
 *   no member's version is known.
 */
export async function readCapabilities(caller: Caller, options: CallOptions = {}): Promise<Capabilities> {
  const known = options.endpoint === undefined ? oldestKnown(caller) : undefined;
  if (known !== undefined) return capabilitiesOf(known);
  const { version } = await caller.unary(Maintenance.status, {}, STATUS_TRAITS, options);
  // Connecting has probed members meanwhile, and one of them may be older than the one that answered.
  return capabilitiesOf((options.endpoint === undefined ? oldestKnown(caller) : undefined) ?? version);
}

/** The lowest version among the members that this client is connected to, if any told its version. */
function oldestKnown(caller: Caller): string | undefined {
  let oldest: { text: string; parsed: NonNullable<ReturnType<typeof parseVersion>> } | undefined;
  for (const { usable, facts } of caller.pool.members) {
    if (!usable || facts.version === undefined) continue;
    const parsed = parseVersion(facts.version);
    if (parsed === undefined) return facts.version; // able to do nothing that we know of
    if (oldest === undefined || compareVersions(parsed, oldest.parsed) < 0) oldest = { text: facts.version, parsed };
  }
  return oldest?.text;
}

/**
 * Refuses a request with a field that the server would drop without a word. A version that
 * is not to be had (before 3.5.31 and 3.6.12 only root may ask) is no reason to refuse.
 *
 * @throws UnsupportedError when a server the request may go to is known to be too old.
 */
export async function requireFeature(caller: Caller, feature: Feature, options: CallOptions): Promise<void> {
  let found: Capabilities;
  try {
    found = await readCapabilities(caller, options);
  } catch (error) {
    if (error instanceof EtcdError && UNTOLD.has(error.code)) return;
    throw error;
  }
  if (!found.supports(feature)) throw unsupportedError(feature, found.version, { endpoint: options.endpoint });
}

const UNTOLD: ReadonlySet<EtcdError['code']> = new Set(['permission-denied', 'unauthenticated']);

/**
 * An endpoint whose member is known to have a feature, for calls that would do harm on
 * another: `options.endpoint`, or one that this client is connected to.
 *
 * @throws UnsupportedError when there is none; EtcdError when the version is not to be had.
 */
export async function endpointWith(caller: Caller, feature: Feature, options: CallOptions): Promise<string> {
  const { endpoint } = options;
  const found = () =>
    caller.pool.members.find(({ usable, facts }) => usable && supports(facts.version, feature))?.address;
  const known = endpoint === undefined ? found() : undefined;
  if (known !== undefined) return endpointText(known);
  // Asking also connects, so a member of ours may be known now.
  const { version } = await caller.unary(Maintenance.status, {}, STATUS_TRAITS, options);
  if (endpoint !== undefined && supports(version, feature)) return endpoint;
  const connected = endpoint === undefined ? found() : undefined;
  if (connected === undefined) throw unsupportedError(feature, version, { endpoint });
  return endpointText(connected);
}

/** Makes a call that older servers do not know; their "unknown method" becomes an error that says which do. */
export async function needing<T>(caller: Caller, feature: Feature, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    const { endpoint, grpcCode, etcdCode, attempts } = error;
    const found = caller.pool.members.find(({ name }) => name === endpoint)?.facts.version;
    throw unsupportedError(feature, found, { endpoint, grpcCode, etcdCode, attempts, cause: error });
  }
}

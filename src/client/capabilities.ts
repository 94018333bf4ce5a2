/**
 * Which server version can do what.
 *
 * Members say their version when the client connects to them. A feature that came with a
 * minor version has one entry, one that was also carried back to older release lines has an
 * entry for each line. What is not known to be there counts as missing: an unknown field is
 * silently dropped by a server, so guessing "yes" would turn a request into another one.
 *
 * Sources: the `versionpb` annotations in etcd's `rpc.proto`; CHANGELOG-3.4 to 3.7; for
 * `orderedProgress` etcd #15220 and #17507, and the versions that Kubernetes asks for
 * before it relies on it.
 *
 * @module
 */

import { UnsupportedError } from './errors.ts';
import { compareVersions, type EtcdVersion, parseVersion } from './version.ts';

interface FeatureEntry {
  /** The feature in a sentence: "… needs etcd 3.5". */
  readonly what: string;
  /** The first version that has it, in each release line that got it; ascending. */
  readonly since: readonly string[];
}

const FEATURES = {
  /** Members without a vote: `MemberAdd` with `isLearner`, and `MemberPromote`. */
  learners: { what: 'a member without a vote', since: ['3.4.0'] },
  /** Users that log in by certificate alone. */
  noPasswordUser: { what: 'a user without a password', since: ['3.4.0'] },
  /** `WatchCreateRequest.fragment`: watch responses over the size limit come in pieces. */
  watchFragment: { what: 'splitting large watch responses', since: ['3.4.0'] },
  /** `WatchProgressRequest`: asking a watch stream how far it is. */
  progressRequest: { what: 'a progress request on a watch', since: ['3.4.0'] },
  /** A progress reply never overtakes the events before it. */
  orderedProgress: { what: 'an ordered progress reply', since: ['3.4.31', '3.5.13', '3.6.0'] },
  /** `MemberListRequest.linearizable`: the cluster's list of members and not one member's. */
  linearizableMemberList: { what: 'a linearizable member list', since: ['3.5.0'] },
  /** The `AuthStatus` call. */
  authStatus: { what: 'asking whether authentication is on', since: ['3.5.0'] },
  /** `hashedPassword`: a password given as its bcrypt hash. */
  hashedPassword: { what: 'a password given as a hash', since: ['3.5.0'] },
  /** The `Downgrade` call. */
  downgrade: { what: 'a downgrade', since: ['3.5.0'] },
  /** `HashKVResponse.hash_revision`. */
  hashRevision: { what: 'the revision of a hash', since: ['3.6.0'] },
  /** `SnapshotResponse.version`. */
  snapshotVersion: { what: 'the version of a snapshot', since: ['3.6.0'] },
  /** `StatusResponse.storageVersion`, `.dbSizeQuota` and `.downgradeInfo`. */
  storageStatus: { what: 'storage version, quota and downgrade in a status', since: ['3.6.0'] },
  /** The `RangeStream` call. */
  rangeStream: { what: 'a streamed range', since: ['3.7.0'] },
} as const satisfies Record<string, FeatureEntry>;

/** A feature that not every supported server has. */
export type Feature = keyof typeof FEATURES;

/** Every {@link Feature}. */
export const features = Object.keys(FEATURES) as readonly Feature[];

const entries = new Map<Feature, readonly EtcdVersion[]>(
  features.map((feature) => [feature, FEATURES[feature].since.map((text) => parseVersion(text) as EtcdVersion)]),
);

/** Answers are remembered: a client asks about the same few versions again and again. */
const answers = new Map<string, ReadonlySet<Feature>>();
const MAX_ANSWERS = 64;

/**
 * Whether a server of this version has the feature.
 *
 * @param version as a member tells it in its status, such as `3.5.30`; undefined when it is not known.
 * @returns false for a version that is unknown or cannot be read.
 */
export function supports(version: string | undefined, feature: Feature): boolean {
  if (version === undefined) return false;
  let known = answers.get(version);
  if (known === undefined) {
    known = featuresOf(version);
    if (answers.size >= MAX_ANSWERS) answers.clear();
    answers.set(version, known);
  }
  return known.has(feature);
}

function featuresOf(text: string): ReadonlySet<Feature> {
  const version = parseVersion(text);
  if (version === undefined) return new Set();
  return new Set(features.filter((feature) => isIn(version, entries.get(feature) ?? [])));
}

/** The version's own release line decides where it has an entry; else it must be newer than the newest entry. */
function isIn(version: EtcdVersion, since: readonly EtcdVersion[]): boolean {
  const own = since.find((entry) => entry.major === version.major && entry.minor === version.minor);
  const needed = own ?? since.at(-1);
  return needed !== undefined && compareVersions(version, needed) >= 0;
}

/** The versions that brought a feature, for people: `3.5`, or `3.4.31, 3.5.13 or 3.6`. */
export function neededVersion(feature: Feature): string {
  const since = FEATURES[feature].since.map((text) => text.replace(/\.0$/, ''));
  return since.length === 1 ? (since[0] as string) : `${since.slice(0, -1).join(', ')} or ${since.at(-1)}`;
}

/** The error for a server that lacks a feature: it names the feature, the version needed and the one found. */
export function unsupportedError(
  feature: Feature,
  found: string | undefined,
  details?: ConstructorParameters<typeof UnsupportedError>[1],
): UnsupportedError {
  const where = details?.endpoint === undefined ? 'the server' : details.endpoint;
  const runs = found === undefined ? 'does not have it' : `runs ${JSON.stringify(found.slice(0, 40))}`;
  const { what } = FEATURES[feature];
  return new UnsupportedError(`${what} (${feature}) needs etcd ${neededVersion(feature)}; ${where} ${runs}`, details);
}

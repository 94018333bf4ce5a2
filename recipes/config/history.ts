/**
 * What a configuration was before.
 *
 * There are two sources. The store itself remembers every revision until it is compacted, whoever wrote it; there the way
 * goes from each version to the one before it. And each publication keeps the version that it replaces, in a key of its
 * own, which no compaction takes away. What only the first knew and a compaction took is lost; that there may be such
 * versions is said.
 *
 * A deletion ends the way back in the store: it does not say what was before it. Versions that were kept go on behind it.
 *
 * @module
 */

import { CompactedError, type Etcd, type KeyValue, type Revision } from '../../src/index.ts';
import type { Owner } from '../names.ts';
import type { ChangeOptions } from './change.ts';
import { look } from './change.ts';
import { type About, aboutOf, type ConfigKeys, textOf, versionOf } from './keys.ts';

/** One version of a configuration. */
export interface ConfigVersion {
  /** The revision that wrote it; it names the version. */
  readonly revision: Revision;
  /** The text as it was written, secrets and all; undefined when it is not UTF-8. */
  readonly text: string | undefined;
  /** Who published it and when; undefined when it was written by another tool, or nobody remembers. */
  readonly by: Owner | undefined;
  readonly message: string | undefined;
  /** Whether it is the one that is published now. */
  readonly isCurrent: boolean;
  /** Whether it stays when the store is compacted: it is current, or was kept. */
  readonly isKept: boolean;
  /** Paths that were named as secrets when it was published. */
  readonly secrets: readonly string[];
}

/** The versions that there are. */
export interface ConfigHistory {
  /** The newest first. */
  readonly versions: readonly ConfigVersion[];
  /**
   * Below this revision the store's own history is compacted away: of what is older only the versions that were kept are
   * listed, and there may have been others. Undefined when the way back did not get there.
   */
  readonly compactedBelow: Revision | undefined;
  /** Whether `limit` left versions out. */
  readonly more: boolean;
}

/** Reads the versions: 2 round trips, and 1 for each that the store itself remembers, or 2 if it was not kept. */
export async function readHistory(
  etcd: Etcd,
  keys: ConfigKeys,
  limit: number,
  options: ChangeOptions,
): Promise<ConfigHistory> {
  const { current, about, versions: names } = await look(etcd, keys, options);
  const { kvs } = names.length === 0 ? { kvs: [] } : await etcd.range({ prefix: keys.versions }, options);
  const found = new Map<Revision, ConfigVersion>();
  for (const kv of kvs) {
    const version = keptVersion(keys, kv);
    if (version !== undefined) found.set(version.revision, version);
  }
  let compactedBelow: Revision | undefined;
  let at = current;
  if (current !== undefined) found.set(current.modRevision, versionFrom(current, aboutOf(current, about), true, true));
  try {
    for (let walked = 0; at !== undefined && walked < limit; walked++) {
      const before: KeyValue<string> | undefined = await previousOf(etcd, keys, at, options);
      if (before !== undefined && !found.has(before.modRevision)) {
        const said = await etcd.get(keys.about, { ...options, revision: before.modRevision });
        found.set(before.modRevision, versionFrom(before, aboutOf(before, said), false, false));
      }
      at = before;
    }
  } catch (error) {
    if (!(error instanceof CompactedError)) throw error;
    compactedBelow = error.compactRevision ?? at?.modRevision;
  }
  const versions = [...found.values()].sort((a, b) => (a.revision > b.revision ? -1 : 1));
  return {
    versions: versions.slice(0, limit),
    compactedBelow,
    more: versions.length > limit || (at !== undefined && compactedBelow === undefined),
  };
}

async function previousOf(
  etcd: Etcd,
  { key }: ConfigKeys,
  at: KeyValue<string>,
  options: ChangeOptions,
): Promise<KeyValue<string> | undefined> {
  if (at.modRevision <= 1n) return undefined;
  return etcd.get(key, { ...options, revision: (at.modRevision - 1n) as Revision });
}

/**
 * The version that a revision names, or that was in force at it.
 *
 * @throws CompactedError that revision is compacted away, and the version was not kept.
 */
export async function readVersion(
  etcd: Etcd,
  keys: ConfigKeys,
  revision: Revision,
  options: ChangeOptions,
): Promise<ConfigVersion | undefined> {
  const kept = await etcd.get(keys.version(revision), options);
  const version = kept === undefined ? undefined : keptVersion(keys, kept);
  if (version !== undefined) return version;
  const current = await etcd.get(keys.key, options);
  // Nothing is older than the store remembers if it is there now.
  const isCurrent = current !== undefined && current.modRevision <= revision;
  const kv = isCurrent ? current : await etcd.get(keys.key, { ...options, revision });
  if (kv === undefined) return undefined;
  const said = isCurrent
    ? await etcd.get(keys.about, options)
    : await etcd.get(keys.about, { ...options, revision: kv.modRevision }).catch(() => undefined);
  return versionFrom(kv, aboutOf(kv, said), isCurrent, isCurrent);
}

function keptVersion(keys: ConfigKeys, kv: KeyValue<string>): ConfigVersion | undefined {
  const [revision, record] = [keys.revisionOf(kv.key), versionOf(kv)];
  if (revision === undefined || record === undefined) return undefined;
  return { revision, text: record.value, ...saidBy(record.about), isCurrent: false, isKept: true };
}

function versionFrom(
  kv: KeyValue<string>,
  about: About | undefined,
  isCurrent: boolean,
  isKept: boolean,
): ConfigVersion {
  return { revision: kv.modRevision, text: textOf(kv), ...saidBy(about), isCurrent, isKept };
}

function saidBy(about: About | undefined): Pick<ConfigVersion, 'by' | 'message' | 'secrets'> {
  return { by: about?.by, message: about?.message, secrets: about?.secrets ?? [] };
}

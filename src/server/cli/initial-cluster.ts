/**
 * Who is to be in a new cluster: what `--initial-cluster` says, and whether this member is in it as it says itself.
 *
 * @module
 */
import { SettingsError } from './errors.ts';
import { parseInitialCluster } from './urls.ts';

/** Members by name, each with its peer URLs. */
export type InitialCluster = ReadonlyMap<string, readonly string[]>;

/** One that is about to be in a cluster. */
interface Self {
  readonly name: string;
  /** What `--initial-advertise-peer-urls` says. */
  readonly peerUrls: readonly string[];
}

/** The members that `text` names; without it this one is alone. @throws {@link SettingsError} */
export function initialClusterOf(text: string, { name, peerUrls }: Self): InitialCluster {
  if (text === '') return new Map([[name, peerUrls]]);
  try {
    return new Map([...parseInitialCluster(text)].map(([member, urls]) => [member, urls.map((url) => url.text)]));
  } catch (error) {
    throw new SettingsError(`error setting up initial cluster: ${(error as Error).message}`);
  }
}

/** Whoever founds a cluster is to be in it, with the URLs that it advertises. @throws {@link SettingsError} */
export function checkInCluster(cluster: InitialCluster, { name, peerUrls }: Self): void {
  const own = cluster.get(name);
  if (own === undefined)
    throw new SettingsError(`couldn't find local name "${name}" in the initial cluster configuration`);
  const urls = [...cluster.values()].flat();
  if (new Set(urls).size < urls.length)
    throw new SettingsError(`initial cluster ${showCluster(cluster)} has duplicated url`);
  const missing = own.filter((url) => !peerUrls.includes(url));
  if (missing.length > 0)
    throw new SettingsError(
      `--initial-cluster has ${missing.join(',')} but missing from --initial-advertise-peer-urls=${peerUrls.join(',')}`,
    );
  const unnamed = peerUrls.filter((url) => !own.includes(url));
  if (unnamed.length > 0)
    throw new SettingsError(
      `--initial-advertise-peer-urls has ${unnamed.join(',')} but missing from --initial-cluster=${name}=${own.join(`,${name}=`)}`,
    );
}

/** As the flag has it. */
export function showCluster(cluster: InitialCluster): string {
  return Array.from(cluster, ([name, urls]) => urls.map((url) => `${name}=${url}`).join(',')).join(',');
}

/**
 * Versions of etcd programs, as members tell them: `3.5.30`, `3.6.0-rc.2`, `3.4`.
 *
 * Only what ordering needs is kept. A pre-release sorts before its release, as Semantic
 * Versioning 2.0.0 (§11) has it; two pre-releases of one version count as equal, since no
 * feature hangs on their order.
 *
 * @module
 */

/** A parsed version. */
export interface EtcdVersion {
  readonly major: number;
  readonly minor: number;
  /** 0 when the text named none. */
  readonly patch: number;
  /** Whether it comes before the release it is named after. */
  readonly prerelease: boolean;
}

const FORMAT = /^v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/;

/** Reads a version; undefined for a text that is none, as servers that are not quite an etcd may send. */
export function parseVersion(text: string): EtcdVersion | undefined {
  const match = FORMAT.exec(text.trim());
  if (match === null) return undefined;
  const [, major, minor, patch = '0', prerelease] = match;
  return { major: Number(major), minor: Number(minor), patch: Number(patch), prerelease: prerelease !== undefined };
}

/** Orders versions: negative when `a` is the older one, positive when `b` is, 0 when they are as good as equal. */
export function compareVersions(a: EtcdVersion, b: EtcdVersion): number {
  return a.major - b.major || a.minor - b.minor || a.patch - b.patch || Number(b.prerelease) - Number(a.prerelease);
}

/**
 * Paths on a disk, which are not always those of the machine's: slashes part them.
 *
 * @module
 */

/** The directory that something is in. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '.' : slash === 0 ? '/' : path.slice(0, slash);
}

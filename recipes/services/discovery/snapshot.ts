/**
 * The last known instances of a service on disk, for a start while the store is away.
 *
 * A snapshot holds the keys and the bytes as the store had them, so that they are read and checked by the same code
 * whichever way they came. It is written to a temporary file that then takes the place of the old one: a reader finds
 * the old one or the new one, never a part. Only the owner may read it. A digest tells a damaged one, and of a damaged
 * one nothing is used.
 *
 * Of a file that could not be read or written the reason is told, and nothing else happens: discovery does not depend on it.
 *
 * Sources: Nacos' failover files, Eureka's backup registry.
 *
 * @module
 */

import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** An entry as the store has it. */
export interface RawEntry {
  readonly key: string;
  readonly value: Uint8Array;
}

/** The outside of the file, in JSON. */
interface SnapshotFile {
  readonly format: typeof FORMAT;
  /** What the keys begin with. */
  readonly prefix: string;
  /** SHA-256 of `entries` as JSON. */
  readonly sha256: string;
  /** Keys, and values in base64. */
  readonly entries: readonly (readonly [string, string])[];
}

const FORMAT = 'etcdkit-service-1';

/** Where the snapshot of the keys below a prefix is. */
export function snapshotPath(folder: string, prefix: string): string {
  // encodeURIComponent leaves dots alone, and `..` is a folder.
  return join(folder, `${encodeURIComponent(prefix).replaceAll('.', '%2E')}.json`);
}

/**
 * Reads a snapshot; undefined when there is none.
 *
 * @throws Error that says what is wrong with the file.
 */
export async function readSnapshot(file: string, prefix: string): Promise<readonly RawEntry[] | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const parsed = parse(text);
  if (parsed === undefined) throw new Error('the snapshot is damaged, or no snapshot');
  if (parsed.prefix !== prefix) throw new Error('the snapshot is of another service');
  return parsed.entries.map(([key, value]) => ({ key, value: Buffer.from(value, 'base64') }));
}

function parse(text: string): SnapshotFile | undefined {
  let parsed: Partial<SnapshotFile> | null;
  try {
    parsed = JSON.parse(text) as Partial<SnapshotFile> | null;
  } catch {
    return undefined;
  }
  if (parsed === null || typeof parsed !== 'object' || parsed.format !== FORMAT) return undefined;
  // The digest is of what was written, so where it fits the entries are as they were written.
  return digest(parsed.entries) === parsed.sha256 ? (parsed as SnapshotFile) : undefined;
}

/** Writes a snapshot in place of the one before. @throws Error when it cannot be written; the old one is there then. */
export async function writeSnapshot(folder: string, prefix: string, entries: Iterable<RawEntry>): Promise<void> {
  const file = snapshotPath(folder, prefix);
  const rows = Array.from(entries, ({ key, value }) => [key, Buffer.from(value).toString('base64')] as const);
  const content: SnapshotFile = { format: FORMAT, prefix, sha256: digest(rows), entries: rows };
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(JSON.stringify(content));
      // Without it a power failure may leave the new name on an empty file.
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function digest(entries: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(entries) ?? '')
    .digest('hex');
}

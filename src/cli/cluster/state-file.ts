/**
 * What a cluster's folder says of it: the members, for as long as the folder lasts, and how to reach who runs them, for
 * as long as somebody does.
 *
 * The file is for its owner alone, since it has the token that {@link Control} asks for. It is replaced as a whole.
 *
 * @module
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { makeDirectory } from '../../server/storage/make-directory.ts';

/** Where a member is. */
export interface MemberPlan {
  readonly name: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
}

/** How to reach the process that runs a cluster. */
export interface Control {
  readonly pid: number;
  /** On 127.0.0.1. */
  readonly port: number;
  /** Who does not have it is not heard. */
  readonly token: string;
}

/** See the head of this file. */
export interface StateFile {
  readonly clusterToken: string;
  readonly members: readonly MemberPlan[];
  readonly control?: Control | undefined;
}

/** What the folder says; undefined if there is no cluster in it. @throws Error the file can't be read or understood. */
export async function readState(dataDir: string): Promise<StateFile | undefined> {
  const file = fileIn(dataDir);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const state = JSON.parse(text) as StateFile;
    if (Array.isArray(state.members)) return state;
  } catch {
    // As below.
  }
  throw new Error(`${file} is not a cluster's`);
}

/** Writes it, wholly or not at all. */
export async function writeState(dataDir: string, state: StateFile): Promise<void> {
  await makeDirectory(dataDir);
  const file = fileIn(dataDir);
  await writeFile(`${file}.tmp`, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 });
  await rename(`${file}.tmp`, file);
}

function fileIn(dataDir: string): string {
  return path.join(dataDir, 'cluster.json');
}

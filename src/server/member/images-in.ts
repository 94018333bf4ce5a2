/**
 * Images that come from the leader, for a member that is too far behind, or new.
 *
 * First all of it is made safe, beside what there is; only then the core hears of it, and says whether it wants it. If
 * it does, the image gets its place when its turn has come among the other writes:
 *
 * 1. it is loaded: one that can't be read does no harm to what is there;
 * 2. it takes the place of the member's own image, durably;
 * 3. the log's record of it is written, with what the core knows to be committed;
 * 4. what was loaded becomes the state.
 *
 * After a crash before 2 it never came; between 2 and 3 the log starts anew behind it (`boot.ts`).
 *
 * Own images are not written meanwhile: one that was begun before would take the place of this one.
 *
 * A member without a disk keeps the image in memory until it is loaded. Any member has, for as long as loading takes,
 * the state so far and the new one.
 *
 * @module
 */
import type { StateMachine } from '../apply/machine.ts';
import type { Message, Snapshot } from '../raft/index.ts';
import type { LoadedState } from '../snapshot/backend-reader.ts';
import { ChunkedSource } from '../snapshot/bolt/chunked-source.ts';
import { decodeV2Attributes } from '../snapshot/v2-store.ts';
import type { Disk } from '../storage/disk.ts';
import type { WalBatch } from '../wal/index.ts';
import { encodeConfState } from './boot.ts';
import {
  adoptImage,
  DataDirError,
  type DataDirPaths,
  keepImage,
  type OpenImage,
  openImageFile,
  openImageSource,
  peerImagePath,
} from './data-dir.ts';
import type { Journal } from './journal.ts';
import type { Snapshots } from './snapshots.ts';

export interface ImagesInOptions {
  readonly state: StateMachine;
  readonly journal: Journal;
  /** Where images are kept; undefined: in memory. */
  readonly files: { readonly disk: Disk; readonly paths: DataDirPaths } | undefined;
  readonly snapshots: Snapshots;
  /** Lets the event loop do something else. */
  readonly pause: () => Promise<void>;
  /** Gives the core a message with a snapshot. @returns Whether it wants the image. */
  readonly take: (message: Message) => boolean;
  /** An image has become the state. */
  readonly installed: (snapshot: Snapshot) => void;
}

/** An image that is safe. */
interface Kept {
  readonly open: () => Promise<OpenImage>;
  /** Puts it in place. */
  readonly adopt: () => Promise<void>;
  readonly discard: () => Promise<void>;
}

/** See the head of this file. */
export class ImagesIn {
  readonly #options: ImagesInOptions;
  /** What the core wants, by index. */
  readonly #wanted = new Map<number, Kept>();
  /** Ends the transfer that is underway. */
  #underway: AbortController | undefined;
  #count = 0;
  #ended = false;

  constructor(options: ImagesInOptions) {
    this.#options = options;
  }

  /**
   * Takes an image in. There is one at a time: a later one ends the one before, whose sender may be gone.
   *
   * @throws Error it could not be kept, or is not what the message says.
   */
  async receive(message: Message, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const { snapshot } = message;
    if (snapshot === undefined) throw new Error('an image came with a message that has no snapshot');
    if (this.#ended) throw new Error('the member has ended');
    this.#underway?.abort();
    const current = new AbortController();
    this.#underway = current;
    const kept = await this.#keep(until(chunks, current.signal));
    try {
      await check(kept, snapshot);
      if (current.signal.aborted) throw superseded();
      if (this.#options.take(message)) this.#wanted.set(snapshot.index, kept);
      else await kept.discard();
    } catch (error) {
      await kept.discard();
      throw error;
    } finally {
      if (this.#underway === current) this.#underway = undefined;
    }
  }

  /** Puts the image of a snapshot in its place, durably, and writes the batch. @returns Makes it the state. */
  async install(snapshot: Snapshot, batch: WalBatch): Promise<() => void> {
    const { state, journal, snapshots, installed } = this.#options;
    const { index, term, confState } = snapshot;
    const kept = this.#wanted.get(index);
    if (kept === undefined) throw new Error(`the image of the snapshot at ${index} is not there`);
    this.#wanted.delete(index);
    for (const [older, dropped] of this.#wanted) {
      if (older > index) continue;
      this.#wanted.delete(older);
      await dropped.discard();
    }
    const resume = await snapshots.suspend();
    const image = await kept.open();
    let swap: () => void;
    let lacking: boolean;
    try {
      const named = withAttributes(image.state, snapshot.data);
      lacking = named !== image.state;
      swap = await state.prepare({ ...named, term: BigInt(term), confState: listsOf(confState) }, image.readKeys);
    } finally {
      await image.close();
    }
    await kept.adopt();
    await journal.append({ ...batch, snapshot: { index, term, confState: encodeConfState(confState) } });
    return () => {
      swap();
      snapshots.installed(index, lacking);
      resume();
      installed(snapshot);
    };
  }

  /** Takes nothing more in. */
  end(): void {
    this.#ended = true;
    this.#underway?.abort();
  }

  async #keep(chunks: AsyncIterable<Uint8Array>): Promise<Kept> {
    const { files, pause } = this.#options;
    if (files === undefined) return inMemory(chunks, pause);
    const { disk, paths } = files;
    this.#count += 1;
    const file = peerImagePath(paths, this.#count);
    await keepImage(disk, paths, file, chunks);
    return {
      open: () => openImageFile(disk, file),
      adopt: () => adoptImage(disk, paths, file),
      discard: () => disk.remove(file),
    };
  }
}

async function check(kept: Kept, { index }: Snapshot): Promise<void> {
  const { state, close } = await kept.open();
  await close();
  const { consistentIndex } = state;
  if (consistentIndex === BigInt(index)) return;
  throw new DataDirError('image from the leader', `it is as of index ${consistentIndex}, and should be of ${index}`);
}

/** Servers of etcd 3.5 keep some of what members say of themselves beside the image. */
function withAttributes(state: LoadedState, data: Uint8Array): LoadedState {
  const attributes = decodeV2Attributes(data);
  let changed = false;
  const members = state.members.map((member) => {
    const said = attributes.get(member.id);
    if (!said || member.clientUrls.length > 0 || said.clientUrls.length === 0) return member;
    changed = true;
    return { ...member, name: said.name, clientUrls: said.clientUrls };
  });
  return changed ? { ...state, members } : state;
}

function listsOf({ voters, learners, votersOutgoing, learnersNext, autoLeave }: Snapshot['confState']) {
  return {
    voters: [...voters],
    learners: [...learners],
    votersOutgoing: [...votersOutgoing],
    learnersNext: [...learnersNext],
    autoLeave,
  };
}

async function inMemory(chunks: AsyncIterable<Uint8Array>, pause: () => Promise<void>): Promise<Kept> {
  const source = new ChunkedSource(pause);
  for await (const chunk of chunks) source.add(chunk);
  const nothing = async (): Promise<void> => {};
  return {
    open: () => openImageSource(source, 'image from the leader', nothing),
    adopt: nothing,
    discard: nothing,
  };
}

/** The same chunks until the signal; then it throws, also while it waits for one. */
async function* until(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array, void> {
  const iterator = chunks[Symbol.asyncIterator]();
  let end = (): void => {};
  const aborted = new Promise<'aborted'>((resolve) => {
    end = () => resolve('aborted');
  });
  signal.addEventListener('abort', end, { once: true });
  let done = false;
  try {
    while (!signal.aborted) {
      const step = await Promise.race([iterator.next(), aborted]);
      if (step === 'aborted') break;
      if (step.done) {
        done = true;
        return;
      }
      yield step.value;
    }
    throw superseded();
  } finally {
    signal.removeEventListener('abort', end);
    // Not waited for: it may hang where it was left.
    if (!done) iterator.return?.()?.catch(() => {});
  }
}

function superseded(): Error {
  return new Error('another image came, or the member ended, before this one was complete');
}

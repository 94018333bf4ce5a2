/**
 * How to watch.
 *
 * @module
 */

import { WatchCreateRequestFilterType } from '../../protocol/generated/etcdserverpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import { InvalidArgumentError } from '../errors.ts';

/**
 * What to do when the reader does not keep up and its buffer is full.
 *
 * `pause`: the watcher leaves the shared stream and goes on, from where it stopped, on a
 * stream of its own that is read only as fast as the reader reads, so the server waits; no
 * event is lost unless history is compacted meanwhile. `fail`: the watch ends with a
 * SlowReaderError, after the events in the buffer. `resync`: the buffer is dropped, and the
 * reader is told the difference between what it has seen and the current state.
 */
export type SlowReaderPolicy = 'pause' | 'fail' | 'resync';

/** Options of a watch. */
export interface WatchOptions {
  /**
   * The first revision to report; history is replayed from there. 1 more than the revision
   * of a read goes on where the read left off. Default: what comes after the watch is made.
   */
  readonly from?: Revision | undefined;
  /** Adds to each event what the key was before. Default false. */
  readonly prevKv?: boolean | undefined;
  /** Reports one kind of change only. */
  readonly only?: 'put' | 'delete' | undefined;
  /** Also yields how far the watch is while nothing changes: every ten minutes by the server's default. Default false. */
  readonly progress?: boolean | undefined;
  /**
   * When the history that is needed next has been compacted: reads the current state and
   * yields the difference as synthetic events, instead of ending with a CompactedError.
   * Costs a listing of the keys at the start and memory for each key. Default false.
   */
  readonly resync?: boolean | undefined;
  /**
   * The number of events at which the buffer counts as full; also at {@link MAX_BUFFER_BYTES}.
   * It may hold one response of the server more: at most the changes of 1000 revisions.
   * Default 1024.
   */
  readonly bufferSize?: number | undefined;
  /** What happens when the buffer is full. `resync` implies the option of that name. Default `pause`. */
  readonly whenSlow?: SlowReaderPolicy | undefined;
  /**
   * Whether a member that has lost its leader ends the stream, so that the watch moves to
   * another. Default: the client's `requireLeader`, true.
   */
  readonly requireLeader?: boolean | undefined;
  /** Ends the watch: a loop over it throws an AbortError, at once. */
  readonly signal?: AbortSignal | undefined;
}

/** The options of one watcher, checked. */
export interface WatchSettings {
  readonly prevKv: boolean;
  readonly only: 'put' | 'delete' | undefined;
  readonly progress: boolean;
  readonly resync: boolean;
  readonly bufferSize: number;
  readonly whenSlow: SlowReaderPolicy;
  readonly requireLeader: boolean | undefined;
}

const DEFAULTS: WatchSettings = {
  prevKv: false,
  only: undefined,
  progress: false,
  resync: false,
  bufferSize: 1024,
  whenSlow: 'pause',
  requireLeader: undefined,
};

/** A buffer that holds this many bytes of keys and values is full. */
export const MAX_BUFFER_BYTES: number = 16 * 1024 * 1024;

/** All that a watch may be told. */
const NAMES: ReadonlySet<string> = new Set([...Object.keys(DEFAULTS), 'from', 'signal']);

/**
 * Checks the options, and their names too: a watch whose `startRevision` nobody reads would begin too late, and miss
 * changes without a word.
 *
 * @throws InvalidArgumentError
 */
export function watchSettings(options: WatchOptions): WatchSettings {
  for (const name in options) {
    if (!NAMES.has(name)) throw new InvalidArgumentError(`${name} is not an option of a watch`);
  }
  const { from, bufferSize = DEFAULTS.bufferSize, whenSlow = DEFAULTS.whenSlow, only } = options;
  if (from !== undefined && !(typeof from === 'bigint' && from >= 1n && from < 2n ** 63n)) {
    throw new InvalidArgumentError(`from ${String(from)} is not a revision: a bigint of at least 1`);
  }
  if (!(Number.isSafeInteger(bufferSize) && bufferSize > 0)) {
    throw new InvalidArgumentError(`bufferSize ${bufferSize} is not a positive whole number`);
  }
  if (whenSlow !== 'pause' && whenSlow !== 'fail' && whenSlow !== 'resync') {
    throw new InvalidArgumentError(`whenSlow ${String(whenSlow)} is none of pause, fail and resync`);
  }
  if (only !== undefined && only !== 'put' && only !== 'delete') {
    throw new InvalidArgumentError(`only ${String(only)} is neither put nor delete`);
  }
  const settings: WatchSettings = {
    prevKv: options.prevKv ?? DEFAULTS.prevKv,
    only,
    progress: options.progress ?? DEFAULTS.progress,
    resync: whenSlow === 'resync' || (options.resync ?? DEFAULTS.resync),
    bufferSize,
    whenSlow,
    requireLeader: options.requireLeader,
  };
  // Ten thousand watchers mostly want the same: one object does for them all.
  return isDefault(settings) ? DEFAULTS : settings;
}

function isDefault(settings: WatchSettings): boolean {
  return (Object.keys(DEFAULTS) as (keyof WatchSettings)[]).every((name) => settings[name] === DEFAULTS[name]);
}

const NO_FILTERS: readonly [] = [];
const NO_PUTS = [WatchCreateRequestFilterType.NOPUT] as const;
const NO_DELETES = [WatchCreateRequestFilterType.NODELETE] as const;

/** What the server is to leave out. One that may resync has to know of every change, so it gets them all. */
export function serverFilters({ only, resync }: WatchSettings): readonly WatchCreateRequestFilterType[] {
  if (only === undefined || resync) return NO_FILTERS;
  return only === 'put' ? NO_DELETES : NO_PUTS;
}

/**
 * Changes of configurations, for a reader who may be slow: merged, one for each name.
 *
 * @module
 */

import { MergedFeed } from '../merged-feed.ts';

/** A configuration that has another value. */
export interface ConfigChange<E> {
  /** Which: the key, or the name in a tree. */
  readonly name: string;
  /** What it is now; undefined when it is gone from a tree. */
  readonly current: E | undefined;
  /** What it was when the reader was last told; undefined when it was not there. */
  readonly previous: E | undefined;
}

/** The reading end. */
export class ConfigChangeFeed<E> extends MergedFeed<E, ConfigChange<E>> {
  /** `onReturn` is told when the reader has left its loop. */
  constructor(onReturn: () => void) {
    super((change) => change, onReturn);
  }
}

/**
 * How far an informer has got, for a reader who may be slow: of the revisions that wait only
 * the latest is kept.
 *
 * @module
 */

import type { Revision } from '../../protocol/int64.ts';
import { Feed } from './feed.ts';

/** The reading end. */
export class RevisionFeed extends Feed<Revision> {
  #latest: Revision | undefined;

  /** Tells up to which revision the copy is complete now. */
  push(revision: Revision): void {
    if (this.ended) return;
    this.#latest = revision;
    this.wake();
  }

  protected override take(): Revision | undefined {
    const latest = this.#latest;
    this.#latest = undefined;
    return latest;
  }

  protected override clear(): void {
    this.#latest = undefined;
  }
}

/**
 * Compactions that nobody has to ask for, by age or by number of revisions.
 *
 * Only the leader's count. By age: the revision is noted ten times per period (or per hour, if the period is longer),
 * and once in that time everything is given up that is older than the period. By number: every five minutes all but the
 * newest ones.
 *
 * Source: etcd's maintenance guide ("Auto Compaction").
 *
 * @module
 */
import type { Clock, Timer } from '../../support/clock.ts';

/** When to compact. */
export type AutoCompaction =
  /** Keeps what is younger, in ms. */
  | { readonly mode: 'periodic'; readonly retentionMs: number }
  /** Keeps so many revisions. */
  | { readonly mode: 'revision'; readonly revisions: number };

/** How often revisions are counted, in ms. */
export const REVISION_CHECK_MS = 5 * 60_000;

const HOUR_MS = 60 * 60_000;
const SAMPLES = 10;

export interface CompactorOptions {
  readonly clock: Clock;
  readonly policy: AutoCompaction;
  /** The store's revision; undefined while this member does not lead. */
  readonly revision: () => number | undefined;
  /** Proposes a compaction. It may fail: the next one does its work too. */
  readonly compact: (revision: number) => Promise<unknown>;
}

/** See the head of this file. */
export class Compactor {
  readonly #options: CompactorOptions;
  readonly #intervalMs: number;
  /** How many notes make up the retention. */
  readonly #kept: number;
  /** How many notes there are from one compaction to the next. */
  readonly #per: number;
  #notes: number[] = [];
  #sinceLast = 0;
  #last = 0;
  #timer: Timer | undefined;

  constructor(options: CompactorOptions) {
    this.#options = options;
    const { policy } = options;
    if (policy.mode === 'revision') {
      this.#intervalMs = REVISION_CHECK_MS;
      this.#kept = 0;
      this.#per = 1;
    } else {
      this.#intervalMs = Math.min(policy.retentionMs, HOUR_MS) / SAMPLES;
      this.#kept = Math.ceil(policy.retentionMs / this.#intervalMs);
      this.#per = SAMPLES;
    }
    this.#plan();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #plan(): void {
    this.#timer = this.#options.clock.after(this.#intervalMs, () => this.#look(), { background: true });
  }

  #look(): void {
    this.#plan();
    const revision = this.#options.revision();
    if (revision === undefined) {
      this.#notes = [];
      return;
    }
    const target = this.#target(revision);
    if (target === undefined || target <= this.#last) return;
    this.#options.compact(target).then(
      () => {
        this.#last = target;
      },
      () => {},
    );
  }

  #target(revision: number): number | undefined {
    const { policy } = this.#options;
    if (policy.mode === 'revision') return revision - policy.revisions;
    this.#notes.push(revision);
    this.#sinceLast += 1;
    if (this.#notes.length <= this.#kept) return undefined;
    const oldest = this.#notes.shift();
    if (this.#sinceLast < this.#per) return undefined;
    this.#sinceLast = 0;
    return oldest;
  }
}

/**
 * What a leader knows of one follower's log, and when it may send it more.
 *
 * In `StateProbe` the leader does not know where the logs meet: it sends one append and waits for its answer or for a
 * heartbeat's. In `StateReplicate` it sends ahead, as far as the window of {@link Inflights} allows. In `StateSnapshot`
 * it waits until the follower has a snapshot. Always `match < next`: entries up to `match` are known to be there, those
 * from `next` on are yet to be sent.
 *
 * @module
 */
import type { Inflights } from './inflights.ts';

export type ProgressState = 'StateProbe' | 'StateReplicate' | 'StateSnapshot';

export class Progress {
  /** Highest index known to be equal in the follower's log, and durable there. */
  match: number;
  /** Index of the next entry to send. */
  next: number;
  /** Highest commit index that was sent in a message that has not been refused since. */
  sentCommit = 0;
  state: ProgressState = 'StateProbe';
  /** Index of the snapshot that is on its way, in `StateSnapshot`. */
  pendingSnapshot = 0;
  /** Whether something was heard of the follower since the last look at the quorum. */
  recentActive: boolean;
  /** Whether the one append of a probe, or a full window, is out and unanswered. */
  flowPaused = false;
  readonly inflights: Inflights;
  isLearner: boolean;

  constructor(init: { match: number; next: number; inflights: Inflights; isLearner: boolean; recentActive: boolean }) {
    this.match = init.match;
    this.next = init.next;
    this.inflights = init.inflights;
    this.isLearner = init.isLearner;
    this.recentActive = init.recentActive;
  }

  /** Whether appends have to wait. */
  get paused(): boolean {
    return this.state === 'StateSnapshot' || this.flowPaused;
  }

  /** Whether a commit index would be news to the follower, and an empty append could bring it. */
  canBumpCommit(commit: number): boolean {
    return commit > this.sentCommit && this.sentCommit < this.next - 1;
  }

  /** Looks for where the logs meet: after `match`, or after the snapshot that was on its way. */
  becomeProbe(): void {
    const after = this.state === 'StateSnapshot' ? Math.max(this.match, this.pendingSnapshot) : this.match;
    this.#become('StateProbe');
    this.next = after + 1;
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
  }

  /** Sends ahead: the logs meet at `match`. */
  becomeReplicate(): void {
    this.#become('StateReplicate');
    this.next = this.match + 1;
  }

  /** Waits for the snapshot of `index`. */
  becomeSnapshot(index: number): void {
    this.#become('StateSnapshot');
    this.pendingSnapshot = index;
    this.next = index + 1;
    this.sentCommit = index;
  }

  /** An append with so many entries of so many payload bytes goes out. */
  sentEntries(count: number, bytes: number): void {
    if (this.state === 'StateReplicate') {
      if (count > 0) {
        this.next += count;
        this.inflights.add(this.next - 1, bytes);
      }
      // An empty append goes out even while the window is full: it then is the one for this heartbeat.
      this.flowPaused = this.inflights.full;
    } else if (count > 0) this.flowPaused = true;
  }

  /**
   * The follower says that it has everything up to `index`.
   *
   * @returns Whether that is news.
   */
  maybeUpdate(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.flowPaused = false;
    return true;
  }

  /**
   * The follower says that its log does not meet ours at `rejected`, and may do so at `hint`.
   *
   * @returns Whether `next` went down; false if the answer is an old one.
   */
  maybeDecreaseTo(rejected: number, hint: number): boolean {
    if (this.state === 'StateReplicate') {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
    } else {
      // Of a probe only the answer to the last append counts.
      if (this.next - 1 !== rejected) return false;
      this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);
      this.flowPaused = false;
    }
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
    return true;
  }

  /** A copy that no longer changes with this one. */
  clone(): Progress {
    const { match, next, inflights, isLearner, recentActive } = this;
    const copy = new Progress({ match, next, inflights: inflights.clone(), isLearner, recentActive });
    copy.sentCommit = this.sentCommit;
    copy.state = this.state;
    copy.pendingSnapshot = this.pendingSnapshot;
    copy.flowPaused = this.flowPaused;
    return copy;
  }

  #become(state: ProgressState): void {
    this.flowPaused = false;
    this.pendingSnapshot = 0;
    this.state = state;
    this.inflights.reset();
  }
}

/**
 * Images on their way to members that are too far behind, or new.
 *
 * What the core asks for names the snapshot that it knows of; what is sent is the state as of the moment at which it
 * begins, since that is the one that can be had, and spares the follower the entries in between. The core takes the
 * follower's answer for what it is.
 *
 * An image is never held as a whole: it is made while it is sent, from records that do not change. At most
 * {@link MAX_SENDS} are underway; who comes later waits. Each request is answered by one report to the core, or the
 * follower would get nothing more.
 *
 * Only the last request for a follower is answered, though. A leader that was deposed and elected again asks anew, and
 * the follower gives up the first image for the second. Were that told as a failure, the core would take it for one of
 * the second, and ask for a third, for which the second is given up: and so on for ever.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import type { Clock, Timer } from '../../support/clock.ts';
import type { AppliedState } from '../apply/state.ts';
import type { ConfState, Message } from '../raft/index.ts';
import { encodeV2Store } from '../snapshot/v2-store.ts';
import type { Peers } from './peers.ts';
import type { Snapshots } from './snapshots.ts';

/** How many images are sent at a time: each costs a walk over all keys. */
const MAX_SENDS = 2;

/** How long the log is kept for a follower after it has its image, in ms: it has to load that first. As with etcd. */
const CATCH_UP_MS = 30_000;

export interface ImagesOutOptions {
  readonly clock: Clock;
  readonly state: AppliedState;
  readonly snapshots: Snapshots;
  readonly peers: Pick<Peers, 'sendSnapshot'>;
  /** Whether what was asked for in a term still counts. */
  readonly leads: (term: number) => boolean;
  /** Tells the core how it ended. */
  readonly report: (to: MemberId, outcome: 'sent' | 'failed') => void;
}

/** See the head of this file. */
export class ImagesOut {
  readonly #options: ImagesOutOptions;
  /** What waits, oldest first. */
  #waiting: Message[] = [];
  /** The last request for each follower, until it is answered. */
  readonly #last = new Map<MemberId, Message>();
  readonly #timers = new Set<Timer>();
  #sending = 0;
  #ended = false;

  constructor(options: ImagesOutOptions) {
    this.#options = options;
  }

  /** Sends an image along with a message. */
  send(message: Message): void {
    this.#last.set(message.to, message);
    this.#waiting = this.#waiting.filter(({ to }) => to !== message.to);
    this.#waiting.push(message);
    this.#sendSome();
  }

  /** Sends nothing more. What is underway ends with the connections. */
  end(): void {
    this.#ended = true;
    this.#waiting = [];
    this.#last.clear();
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  #sendSome(): void {
    while (this.#sending < MAX_SENDS && !this.#ended) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#sending += 1;
      void this.#send(next).then((outcome) => {
        this.#sending -= 1;
        this.#report(next, outcome);
        this.#sendSome();
      });
    }
  }

  #report(message: Message, outcome: 'sent' | 'failed'): void {
    const { to } = message;
    if (this.#ended || this.#last.get(to) !== message) return;
    this.#last.delete(to);
    this.#options.report(to, outcome);
  }

  /** Never rejects. */
  async #send(message: Message): Promise<'sent' | 'failed'> {
    const { state, snapshots, peers, leads } = this.#options;
    if (!leads(message.term)) return 'failed';
    const rows = state.rows();
    const { index, term } = state;
    const confState = rows.confState as ConfState | undefined;
    if (confState === undefined) return 'failed';
    const release = snapshots.holdLog(index);
    let sent = false;
    try {
      const making = snapshots.image();
      const data = encodeV2Store(rows);
      sent = await peers.sendSnapshot({ ...message, snapshot: { index, term, confState, data } }, await making);
    } catch {
      // It could not be made; it is asked for again.
    }
    if (sent) this.#releaseLater(release);
    else release();
    return sent ? 'sent' : 'failed';
  }

  #releaseLater(release: () => void): void {
    if (this.#ended) return;
    const due = (): void => {
      this.#timers.delete(timer);
      release();
    };
    const timer = this.#options.clock.after(CATCH_UP_MS, due, { background: true });
    this.#timers.add(timer);
  }
}

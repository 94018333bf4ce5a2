/**
 * The Ready loop of a member with `asyncStorageWrites`: the core goes on while two threads work, one that writes the
 * log and one that applies entries, each job after the other.
 *
 * The core lets requests for votes leave at once. They wait here for the job of the same `Ready`, which makes their term
 * durable. Else a candidate could crash, come back with less of its log and be elected, in the same term, by votes that
 * were given to the longer one.
 */
import {
  APPEND_THREAD,
  APPLY_THREAD,
  EMPTY_HARD_STATE,
  type HardState,
  type Message,
} from '../../../src/server/raft/index.ts';
import type { Member } from './member.ts';
import { type ReadyLoop, store } from './ready-loop.ts';

/** What the thread that writes the log is to do, and requests for votes that leave when it is done. */
interface AppendJob {
  readonly work: Message;
  readonly requests: readonly Message[];
}

export class AsyncLoop implements ReadyLoop {
  readonly #member: Member;
  readonly #appends: AppendJob[] = [];
  /** Requests for votes whose job is yet to come, in the same `Ready`. */
  #requests: Message[] = [];
  /** The hard state that was written last. */
  #written: HardState;

  constructor(member: Member) {
    this.#member = member;
    this.#written = member.disk.image.hardState ?? EMPTY_HARD_STATE;
  }

  pump(): void {
    const member = this.#member;
    const { node } = member;
    while (member.running && node.hasReady()) {
      const { readStates, messages, committedEntries } = node.ready();
      member.world.oracle.handedOut(member, committedEntries);
      member.readsReady(readStates);
      for (const m of messages) if (member.running) this.#dispatch(m);
    }
  }

  #dispatch(m: Message): void {
    if (m.type === 'MsgVote') this.#requests.push(m);
    else if (m.to === APPEND_THREAD) {
      const job = { work: m, requests: this.#requests };
      this.#requests = [];
      this.#appends.push(job);
      if (this.#appends.length === 1) this.#append(job);
    } else if (m.to === APPLY_THREAD) {
      this.#member.applier.add({ entries: m.entries, done: () => this.#finish(m.responses) });
    } else this.#member.send([m]);
  }

  #append(job: AppendJob): void {
    const { entries, snapshot, term, vote, commit } = job.work;
    // Without a change the message has no hard state.
    const hardState = term === 0 ? undefined : { term, vote, commit };
    const mustSync = entries.length > 0 || (hardState !== undefined && !sameVote(hardState, this.#written));
    if (hardState) this.#written = hardState;
    store(this.#member, { entries, snapshot, hardState, mustSync }, () => this.#appended(job));
  }

  #appended({ work: { snapshot, responses }, requests }: AppendJob): void {
    const member = this.#member;
    // Beside the queue: entries that wait there are part of the snapshot.
    if (snapshot) {
      member.applier.restore(snapshot);
      member.afterApply();
    }
    member.send(requests);
    this.#finish(responses);
    if (member.crashesAt('after-send')) return;
    this.#appends.shift();
    const next = this.#appends[0];
    if (next) this.#append(next);
  }

  /** Releases what waited for the work. */
  #finish(responses: readonly Message[]): void {
    const member = this.#member;
    for (const m of responses) {
      if (m.to !== member.id) {
        member.send([m]);
        continue;
      }
      member.node.step(m);
      member.world.oracle.core(member);
    }
  }
}

function sameVote(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote;
}

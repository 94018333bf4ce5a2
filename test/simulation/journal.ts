/**
 * All events of a run: the last ones to read, all of them as one number.
 *
 * The digest is a rolling hash over every event with its time, its member and what it carries. Two runs that are the
 * same have the same one. What is kept is turned into text only when somebody reads it.
 */
import type { Message, MessageType } from '../../src/server/raft/index.ts';
import { describeMessage } from './describe.ts';
import { mix } from './world/random.ts';
import type { Scheduler } from './world/scheduler.ts';

/** What an event is; `message` has a function of its own. `detail` is none, only a line to read. */
export type EventKind = 'tick' | 'synced' | 'applied' | 'client' | 'fault' | 'start' | 'report' | 'detail';

/** How many events are kept to read. */
const KEPT = 200;

const KINDS: Readonly<Record<EventKind | 'message', number>> = {
  tick: 1,
  message: 2,
  synced: 3,
  applied: 4,
  client: 5,
  fault: 6,
  start: 7,
  report: 8,
  detail: 9,
};

const MESSAGE_KINDS: Readonly<Record<MessageType, number>> = {
  MsgHup: 0,
  MsgBeat: 1,
  MsgProp: 2,
  MsgApp: 3,
  MsgAppResp: 4,
  MsgVote: 5,
  MsgVoteResp: 6,
  MsgSnap: 7,
  MsgHeartbeat: 8,
  MsgHeartbeatResp: 9,
  MsgUnreachable: 10,
  MsgSnapStatus: 11,
  MsgCheckQuorum: 12,
  MsgTransferLeader: 13,
  MsgTimeoutNow: 14,
  MsgReadIndex: 15,
  MsgReadIndexResp: 16,
  MsgPreVote: 17,
  MsgPreVoteResp: 18,
  MsgStorageAppend: 19,
  MsgStorageAppendResp: 20,
  MsgStorageApply: 21,
  MsgStorageApplyResp: 22,
  MsgForgetLeader: 23,
};

/** One line of the journal. */
interface Line {
  atUs: number;
  kind: EventKind | 'message';
  member: number;
  from: number;
  what: number | string | Message;
}

export class Journal {
  readonly #scheduler: Scheduler;
  readonly #lines: Line[] = [];
  #next = 0;
  #events = 0;
  #digest = 0;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  /** How many events there were. */
  get events(): number {
    return this.#events;
  }

  /** Unsigned 32-bit hash of all of them. */
  get digest(): number {
    return this.#digest >>> 0;
  }

  /** A member got a message. */
  message(from: number, to: number, m: Message): void {
    let h = mix(this.#digest, MESSAGE_KINDS[m.type] * 0x10000 + from * 0x100 + to);
    h = mix(h, m.term);
    h = mix(h, m.index + (m.reject ? 0x4000_0000 : 0));
    h = mix(h, m.logTerm * 0x1000 + m.entries.length);
    h = mix(h, m.commit);
    this.#count(h, 'message', to, from, m);
  }

  /** Something happened to a member. `what` is a number that matters, or says what. */
  note(kind: EventKind, member: number, what: number | string): void {
    let h = mix(this.#digest, KINDS[kind] * 0x100 + member);
    if (typeof what === 'number') h = mix(h, what);
    else for (let at = 0; at < what.length; at += 1) h = Math.imul(h ^ what.charCodeAt(at), 0x01000193);
    if (kind === 'detail') {
      this.#digest = h;
      this.#keep(kind, member, 0, what);
    } else this.#count(h, kind, member, 0, what);
  }

  /** The last events, oldest first. */
  lines(): readonly string[] {
    const inOrder = [...this.#lines.slice(this.#next), ...this.#lines.slice(0, this.#next)];
    return inOrder.map(({ atUs, kind, member, from, what }) => {
      const time = `${(atUs / 1000).toFixed(3).padStart(10)} ms`;
      if (typeof what === 'object') return `${time}  ${from} -> ${member}  ${describeMessage(what)}`;
      return `${time}  ${kind === 'fault' ? '' : `member ${member} `}${kind} ${what}`;
    });
  }

  #count(hash: number, kind: EventKind | 'message', member: number, from: number, what: Line['what']): void {
    this.#digest = mix(hash, this.#scheduler.nowUs);
    this.#events += 1;
    this.#keep(kind, member, from, what);
  }

  #keep(kind: EventKind | 'message', member: number, from: number, what: Line['what']): void {
    const line = this.#lines[this.#next];
    const atUs = this.#scheduler.nowUs;
    if (line === undefined) this.#lines.push({ atUs, kind, member, from, what });
    else {
      // Written over in place: a line for each event would be most of what a run allocates.
      line.atUs = atUs;
      line.kind = kind;
      line.member = member;
      line.from = from;
      line.what = what;
    }
    this.#next = (this.#next + 1) % KEPT;
  }
}

/**
 * Members, and the messages between them, worked step by step by the commands of a trace.
 *
 * Nothing moves by itself: messages wait in one list, in the order in which they were sent, until they are delivered.
 * Everything that happens is printed as etcd's environment prints it.
 *
 * @module
 */
import { type MemberId, memberId } from '../../../../../src/protocol/int64.ts';
import {
  isThread,
  type Message,
  type MessageType,
  message,
  type Refusal,
  type Snapshot,
} from '../../../../../src/server/raft/index.ts';
import { describeEntries, describeMessage, describeReady } from '../describe.ts';
import { Output } from '../output.ts';
import { logEvent } from './log.ts';
import { type MemberConfig, TraceMember } from './member.ts';

/** Whose messages are delivered, or lost. */
export interface Recipient {
  readonly id: MemberId;
  readonly drop: boolean;
}

/** One kind of work that {@link Environment.stabilize} does, for one member after the other. */
interface Round {
  readonly title: string;
  readonly due: (member: TraceMember) => boolean;
  readonly work: (member: TraceMember) => void;
}

/** A fault of the core may keep members busy for ever. */
const MAX_PASSES = 10_000;

const REFUSALS: Readonly<Record<Refusal, string>> = {
  'proposal-dropped': 'raft proposal dropped',
  'local-message': 'raft: cannot step raft local message',
  'unknown-peer': 'raft: cannot step as peer not found',
};

/** etcd's text for a refusal. */
export function refusalText(refusal: Refusal): string {
  return REFUSALS[refusal];
}

export class Environment {
  readonly output = new Output();
  /** By id, from 1 on. */
  readonly members: TraceMember[] = [];
  #inFlight: readonly Message[] = [];
  readonly #rounds: readonly Round[] = [
    {
      title: 'handling Ready',
      due: ({ node }) => node.hasReady(),
      work: (member) => this.output.indented(() => this.processReady(member)),
    },
    {
      title: 'receiving messages',
      due: ({ id }) => this.#waiting({ id, drop: false }, undefined).length > 0,
      work: ({ id }) => this.output.indented(() => this.deliver([{ id, drop: false }], undefined)),
    },
    {
      title: 'processing append thread',
      due: ({ appendWork }) => appendWork.length > 0,
      work: (member) => {
        while (member.appendWork.length > 0) this.output.indented(() => this.processAppend(member));
      },
    },
    {
      title: 'processing apply thread',
      due: ({ applyWork }) => applyWork.length > 0,
      work: (member) => {
        while (member.applyWork.length > 0) this.output.indented(() => this.processApply(member));
      },
    },
  ];

  addMember(config: MemberConfig, start: Snapshot, founded: boolean): void {
    const id = memberId(this.members.length + 1);
    const observe: MemberConfig['observe'] = (event) => logEvent(this.output, id, event);
    this.members.push(new TraceMember(id, { ...config, observe }, start, founded));
  }

  send(messages: readonly Message[]): void {
    this.#inFlight = [...this.#inFlight, ...messages];
  }

  processReady(member: TraceMember): void {
    const { node, asynchronous } = member;
    const ready = node.ready();
    this.output.write(describeReady(ready));
    if (!asynchronous) {
      member.write(ready);
      member.apply(ready.committedEntries);
    }
    for (const m of ready.messages) {
      if (m.type === 'MsgStorageAppend') member.appendWork.push(m);
      else if (m.type === 'MsgStorageApply') member.applyWork.push(m);
      else this.send([m]);
    }
    if (!asynchronous) node.advance();
  }

  processAppend(member: TraceMember): void {
    this.#processWork('append', member.appendWork, ({ term, vote, commit, entries, snapshot }) => {
      member.write({ hardState: { term, vote, commit }, entries, snapshot });
    });
  }

  processApply(member: TraceMember): void {
    this.#processWork('apply', member.applyWork, ({ entries }) => member.apply(entries));
  }

  /** Delivers what waits for each of them, or loses it. Tells how many messages that were. */
  deliver(recipients: readonly Recipient[], type: MessageType | undefined): number {
    let count = 0;
    for (const recipient of recipients) {
      const messages = this.#waiting(recipient, type);
      const taken = new Set(messages);
      this.#inFlight = this.#inFlight.filter((m) => !taken.has(m));
      count += messages.length;
      for (const m of messages) {
        this.output.write(`${recipient.drop ? 'dropped: ' : ''}${describeMessage(m)}\n`);
        if (!recipient.drop) this.#step(m);
      }
    }
    return count;
  }

  /** Has the members work, and delivers among them, until none of them has anything left to do. */
  stabilize(members: readonly TraceMember[]): void {
    for (let passes = 0; this.#pass(members); passes += 1) {
      if (passes === MAX_PASSES) throw new Error(`the members are still busy after ${MAX_PASSES} passes`);
    }
  }

  printLog({ storage }: TraceMember): void {
    const entries = storage.all();
    if (entries.length > 0) this.output.write(describeEntries(entries));
    else this.output.write(`log is empty: first index=${storage.firstIndex()}, last index=${storage.lastIndex()}`);
  }

  sendSnapshot(from: TraceMember, to: TraceMember): void {
    const { term } = from.node.basicStatus().hardState;
    const m = message('MsgSnap', { from: from.id, to: to.id, term, snapshot: from.storage.newest });
    this.send([m]);
    this.output.write(describeMessage(m));
  }

  #step(m: Message): void {
    const member = this.members[Number(m.to) - 1];
    if (!member) throw new Error(`there is no node ${m.to}`);
    const refusal = member.node.step(m);
    if (refusal !== undefined) this.output.write(`${refusalText(refusal)}\n`);
  }

  #waiting({ id, drop }: Recipient, type: MessageType | undefined): readonly Message[] {
    return this.#inFlight.filter((m) => {
      return m.to === id && (type === undefined || m.type === type) && !(drop && isOwn(m));
    });
  }

  #processWork(thread: 'append' | 'apply', work: Message[], perform: (m: Message) => void): void {
    const m = work.shift();
    if (m === undefined) {
      this.output.write(`no ${thread} work to perform`);
      return;
    }
    this.output.write(`Processing:\n${describeMessage({ ...m, responses: [] })}\n`);
    perform(m);
    this.output.write(`Responses:\n${m.responses.map((response) => `${describeMessage(response)}\n`).join('')}`);
    this.send(m.responses);
  }

  /** One round of each kind of work. False: there was none. */
  #pass(members: readonly TraceMember[]): boolean {
    let worked = false;
    for (const { title, due, work } of this.#rounds) {
      for (const member of members) {
        if (!due(member)) continue;
        worked = true;
        this.output.write(`> ${member.id} ${title}\n`);
        work(member);
      }
    }
    return worked;
  }
}

/** What a member says to itself or to its threads: that can not be lost. */
function isOwn({ from, to }: Message): boolean {
  return from === to || isThread(from) || isThread(to);
}

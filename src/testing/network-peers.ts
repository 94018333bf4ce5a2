/**
 * One member's end of the network: what it asks of others goes out here, what they ask of it comes in.
 *
 * A member that was cut off, or has closed its end, hears nothing any more: what it waits for is answered by
 * `unreachable` when it closes, and never when it was cut off, for then there is nobody to hear it.
 *
 * @module
 */
import type { LeaseTimes, PeerAnswer, PeerHash, PeerHost, Peers } from '../server/member/peers.ts';
import type { Entry, Message } from '../server/raft/index.ts';
import { Refusals, RpcError } from '../server/refusals.ts';
import type { BackendMember } from '../server/snapshot/backend-state.ts';
import type { BoltImage } from '../server/snapshot/bolt/writer.ts';
import { onAbort } from '../support/signals.ts';
import { ImageTransfer } from './image-transfer.ts';
import type { Carrier, Station, Underway } from './network-parts.ts';

/** Refusals that say nothing of the question: somebody else may know, or the same one later. So do those of time. */
const NO_ANSWER: ReadonlySet<string> = new Set(
  [Refusals.NotLeader, Refusals.NoLeader, Refusals.Stopped, Refusals.Canceled].map(({ text }) => text),
);

/** How long the system takes to say that nobody is there, in ms. */
const REFUSED_MS = 1;

const UNREACHABLE = { type: 'unreachable' } as const;

/** See the head of this file. */
export class Endpoint implements Peers, Station {
  readonly id: bigint;
  readonly host: PeerHost;
  since = 0;
  readonly underway = new Set<Underway>();
  readonly #network: Carrier;
  readonly #run: (action: () => void) => void;
  /** Members whose loss the host is about to be told of. */
  readonly #telling = new Set<bigint>();
  #state: 'new' | 'open' | 'closed' = 'new';
  /** What waits while it stands still. */
  #waiting: (() => void)[] | undefined;

  constructor(network: Carrier, host: PeerHost, run: (action: () => void) => void) {
    this.#network = network;
    this.host = host;
    this.id = host.id;
    this.#run = run;
  }

  get open(): boolean {
    return this.#state === 'open';
  }

  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'open';
    this.since = this.#network.clock.now();
    this.#network.enter(this);
  }

  send(messages: readonly Message[]): void {
    if (!this.open) return;
    for (const message of messages) {
      const { to } = message;
      const copy = copyOf(message);
      this.#network.carry({
        from: this.id,
        to,
        // etcd's transport sends nothing twice, and proposals rest on that: nobody could tell two of them from one.
        mayRepeat: message.type !== 'MsgProp',
        arrive: (receiver) => receiver.hear(copy, this),
        lose: (reason) => {
          this.#network.observe.lost?.(message, reason);
          if (reason !== 'dropped') this.#tellUnreachable(to);
        },
      });
    }
  }

  sendSnapshot(message: Message, image: BoltImage): Promise<boolean> {
    return new ImageTransfer(this.#network, this, copyOf(message), image).result;
  }

  membersChanged(): void {}

  connectedSince(id: bigint): number | undefined {
    if (!this.open) return undefined;
    const since = this.#network.connectedSince(this, id);
    // The member's own clock need not be the network's.
    return since === undefined ? undefined : this.host.now() - (this.#network.clock.now() - since);
  }

  async versions(): Promise<ReadonlyMap<bigint, string>> {
    const others = this.host.members.list().filter(({ id }) => id !== this.id);
    const versions = new Map<bigint, string>();
    const ask = async ({ id }: BackendMember): Promise<void> => {
      const answer = await this.#ask(id, undefined, async (host) => host.version);
      if (answer.type === 'answer') versions.set(id, answer.value);
    };
    await Promise.all(others.map(ask));
    return versions;
  }

  renewLease(leader: bigint, id: bigint, signal: AbortSignal | undefined): Promise<PeerAnswer<number>> {
    return this.#ask(leader, signal, (host, ended) => host.renewLeaseHere(id, ended));
  }

  timeToLive(leader: bigint, id: bigint, signal: AbortSignal | undefined): Promise<PeerAnswer<LeaseTimes>> {
    return this.#ask(leader, signal, (host, ended) => host.timeToLiveHere(id, ended));
  }

  promote(leader: bigint, id: bigint, signal: AbortSignal | undefined): Promise<PeerAnswer<readonly BackendMember[]>> {
    return this.#ask(leader, signal, (host, ended) => host.promoteHere(id, ended));
  }

  hashKv(id: bigint, revision: number, signal: AbortSignal | undefined): Promise<PeerAnswer<PeerHash>> {
    return this.#ask(id, signal, async (host) => {
      const hash = host.hashKv(revision);
      if ('grpcCode' in hash) throw new RpcError(hash);
      return hash;
    });
  }

  async close(): Promise<void> {
    this.#end(true);
  }

  cutOff(): void {
    this.#end(false);
  }

  pause(): void {
    this.#waiting ??= [];
  }

  resume(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const action of waiting) this.take(action);
  }

  take(action: () => void): void {
    if (this.#waiting) this.#waiting.push(action);
    else this.#run(() => this.open && action());
  }

  gate(action: () => void): void {
    this.#run(action);
  }

  admits(sender: Station): boolean {
    if (sender.host.clusterId !== this.host.clusterId) return false;
    if (!this.host.members.wasRemoved(sender.id)) return true;
    const arrive = (removed: Station): void => {
      if (removed === sender) removed.host.removed();
    };
    this.#network.carry({ from: this.id, to: sender.id, mayRepeat: false, arrive, lose: () => {} });
    return false;
  }

  hear(message: Message, sender: Station): void {
    const { observe } = this.#network;
    if (!this.admits(sender)) {
      observe.lost?.(message, sender.host.clusterId === this.host.clusterId ? 'removed' : 'stranger');
      return;
    }
    observe.delivered?.(message);
    this.host.receive(message);
  }

  #tellUnreachable(id: bigint): void {
    if (this.#telling.has(id)) return;
    this.#telling.add(id);
    const tell = (): void => {
      this.#telling.delete(id);
      this.host.unreachable(id);
    };
    this.#network.clock.after(REFUSED_MS, () => this.take(tell), { background: true });
  }

  /** Asks another member something; ends by its answer, the signal, or when time is over. */
  #ask<T>(
    to: bigint,
    signal: AbortSignal | undefined,
    question: (host: PeerHost, signal: AbortSignal) => Promise<T>,
  ): Promise<PeerAnswer<T>> {
    if (!this.open || signal?.aborted) return Promise.resolve(UNREACHABLE);
    const { clock, questionTimeoutMs } = this.#network;
    return new Promise((resolve) => {
      const asked = new AbortController();
      const end = (answer: PeerAnswer<T>): void => {
        if (!this.underway.delete(underway)) return;
        timer.cancel();
        unlisten();
        asked.abort();
        resolve(answer);
      };
      const underway: Underway = {
        end: (alive) => {
          if (alive) end(UNREACHABLE);
          else timer.cancel();
        },
      };
      this.underway.add(underway);
      const give = (): void => this.take(() => end(UNREACHABLE));
      const timer = clock.after(questionTimeoutMs, give, { background: true });
      const unlisten = onAbort(signal, () => end(UNREACHABLE));
      const answer = (from: bigint, value: PeerAnswer<T>): void =>
        this.#network.carry({ from, to: this.id, mayRepeat: false, arrive: () => end(value), lose: () => {} });
      this.#network.carry({
        from: this.id,
        to,
        mayRepeat: false,
        arrive: (receiver) => {
          if (!receiver.admits(this)) return;
          question(receiver.host, asked.signal).then(
            (value) => answer(receiver.id, { type: 'answer', value }),
            (error: unknown) => answer(receiver.id, refusalOf(error)),
          );
        },
        // Who is cut off says nothing: then only time ends it.
        lose: (reason) => reason === 'nobody' && clock.after(REFUSED_MS, give, { background: true }),
      });
    });
  }

  #end(alive: boolean): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#network.leave(this);
    this.#waiting = undefined;
    for (const underway of [...this.underway]) underway.end(alive);
    this.underway.clear();
  }
}

function refusalOf(error: unknown): PeerAnswer<never> {
  if (!(error instanceof RpcError)) return UNREACHABLE;
  const { refusal } = error;
  const says = !NO_ANSWER.has(refusal.text) && !refusal.text.startsWith(Refusals.Timeout.text);
  return says ? { type: 'refused', refusal } : UNREACHABLE;
}

/** The same message in memory of its own. */
function copyOf(message: Message): Message {
  const { entries, context, snapshot } = message;
  return {
    ...message,
    entries: entries.length === 0 ? [] : entries.map(copyOfEntry),
    context: copyOfBytes(context),
    snapshot: snapshot && { ...snapshot, data: copyOfBytes(snapshot.data) },
  };
}

function copyOfEntry({ term, index, type, data }: Entry): Entry {
  return { term, index, type, data: copyOfBytes(data) };
}

function copyOfBytes(bytes: Uint8Array): Uint8Array {
  return bytes.length === 0 ? bytes : Buffer.from(bytes);
}

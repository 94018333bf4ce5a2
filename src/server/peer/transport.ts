/**
 * Connects a member with others over HTTP/1.1, as etcd's members speak: see `peer.ts` for the ways that messages take,
 * `routes.ts` for what comes in, `questions.ts` for what has an answer.
 *
 * The host is called in a turn of its own with whom it could not reach, and in the turn in which a message comes in with
 * that. After {@link PeerTransport.close} it is not called again.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { PeerHost, Peers } from '../member/peers.ts';
import type { Message } from '../raft/types.ts';
import type { BoltImage } from '../snapshot/bolt/writer.ts';
import { Asker } from './ask.ts';
import { PeerDialer } from './dialer.ts';
import { MAX_STRANGERS } from './limits.ts';
import type { TransportContext, TransportOptions } from './options.ts';
import { Peer } from './peer.ts';
import { Questions } from './questions.ts';
import { type PeerRoutes, RaftRoutes } from './routes.ts';

/** See the head of this file. */
export class PeerTransport implements Peers, PeerRoutes {
  readonly #host: PeerHost;
  readonly #context: TransportContext;
  readonly #questions: Questions;
  readonly #routes: RaftRoutes;
  readonly #peers = new Map<bigint, Peer>();
  readonly #strangers = new Map<bigint, Peer>();
  readonly #unreachable = new Set<bigint>();
  #started = false;
  #closed = false;
  /** The host was told that it is no longer a member: all others say so, again and again. */
  #wasRemoved = false;

  constructor(host: PeerHost, options: TransportOptions) {
    const { clock, timeOfDayMs, log, questionTimeoutMs, tls, observe = {} } = options;
    const dialer = new PeerDialer(tls);
    this.#host = host;
    this.#context = {
      host,
      clock,
      timeOfDayMs,
      log,
      observe,
      dialer,
      receive: (message) => this.#receive(message),
      unreachable: (id) => this.#reportUnreachable(id),
      removed: () => this.#removed(),
      meet: (id, urls) => this.#meet(id, urls),
    };
    this.#questions = new Questions({ host, asker: new Asker(dialer, clock), timeoutMs: questionTimeoutMs });
    this.#routes = new RaftRoutes(this.#context, (id) => this.#peers.get(id));
  }

  /** Refuses all that comes before {@link PeerTransport.start} or after {@link PeerTransport.close}. */
  handle(request: IncomingMessage, response: ServerResponse): boolean {
    return this.#routes.handle(request, response, this.#started && !this.#closed);
  }

  start(): void {
    this.#started = true;
    this.membersChanged();
  }

  send(messages: readonly Message[]): void {
    for (const message of messages) {
      const { to, type } = message;
      if (to === 0n || type === 'MsgSnap') continue;
      const peer = this.#peers.get(to) ?? this.#strangers.get(to);
      if (peer) peer.send(message);
      else this.#reportUnreachable(to);
    }
  }

  async sendSnapshot(message: Message, image: BoltImage): Promise<boolean> {
    const peer = this.#peers.get(message.to) ?? this.#strangers.get(message.to);
    if (peer) return peer.sendSnapshot(message, image);
    await image.chunks[Symbol.asyncIterator]()
      .return?.()
      .catch(() => {});
    return false;
  }

  membersChanged(): void {
    if (!this.#started || this.#closed) return;
    const { id: own, members } = this.#host;
    for (const { id, peerUrls } of members.list()) {
      if (id === own) continue;
      const peer = this.#peers.get(id);
      if (peer) peer.addresses.update(peerUrls);
      else this.#peers.set(id, new Peer(this.#context, id, peerUrls));
      this.#forget(id);
    }
    // One that was removed itself still has to hear from the others, and they from it, until it ends.
    if (members.get(own) === undefined) return;
    for (const [id, peer] of this.#peers) {
      if (members.get(id)) continue;
      this.#peers.delete(id);
      // It learns of its removal when it asks for the streams again.
      peer.stop(true);
    }
  }

  connectedSince(id: bigint): number | undefined {
    return this.#peers.get(id)?.connectedSince;
  }

  versions(): ReturnType<Peers['versions']> {
    return this.#questions.versions();
  }

  renewLease(...args: Parameters<Peers['renewLease']>): ReturnType<Peers['renewLease']> {
    return this.#questions.renewLease(...args);
  }

  timeToLive(...args: Parameters<Peers['timeToLive']>): ReturnType<Peers['timeToLive']> {
    return this.#questions.timeToLive(...args);
  }

  promote(...args: Parameters<Peers['promote']>): ReturnType<Peers['promote']> {
    return this.#questions.promote(...args);
  }

  hashKv(...args: Parameters<Peers['hashKv']>): ReturnType<Peers['hashKv']> {
    return this.#questions.hashKv(...args);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const peer of [...this.#peers.values(), ...this.#strangers.values()]) peer.stop();
    this.#peers.clear();
    this.#strangers.clear();
    this.#questions.close();
    this.#context.dialer.close();
  }

  #receive(message: Message): void {
    const { id, members } = this.#host;
    if (this.#closed || message.to !== id || members.wasRemoved(message.from)) return;
    // Its image would be missing.
    if (message.type !== 'MsgSnap') this.#host.receive(message);
  }

  #reportUnreachable(id: bigint): void {
    if (this.#closed) return;
    if (this.#unreachable.size === 0) process.nextTick(() => this.#flushUnreachable());
    this.#unreachable.add(id);
  }

  #flushUnreachable(): void {
    const ids = [...this.#unreachable];
    this.#unreachable.clear();
    for (const id of ids) if (!this.#closed) this.#host.unreachable(id);
  }

  #removed(): void {
    if (this.#closed || this.#wasRemoved) return;
    this.#wasRemoved = true;
    this.#host.removed();
  }

  #meet(id: bigint, urls: readonly string[]): void {
    if (this.#closed || !this.#started || id === this.#host.id || id === 0n) return;
    const known = this.#strangers.get(id);
    if (known) return known.addresses.update(urls);
    const [oldest] = this.#strangers.keys();
    if (this.#strangers.size >= MAX_STRANGERS && oldest !== undefined) this.#forget(oldest);
    this.#strangers.set(id, new Peer(this.#context, id, urls, true));
  }

  #forget(stranger: bigint): void {
    this.#strangers.get(stranger)?.stop();
    this.#strangers.delete(stranger);
  }
}

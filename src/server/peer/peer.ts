/**
 * Another member, as the transport sees it: all the ways to it, and which message goes where.
 *
 * Appends have a stream of their own, so that what is small and urgent does not wait behind what is large; what has no
 * stream is posted. Each side asks the other for the streams on which it wants to hear: a writer is there once the
 * other member has asked. A new one takes the place of the old, whose connection the other member has given up.
 *
 * A stranger is a sender that is no member here, as far as this member's log goes. It is only posted to.
 *
 * @module
 */
import type { ServerResponse } from 'node:http';
import type { Message } from '../raft/types.ts';
import type { BoltImage } from '../snapshot/bolt/writer.ts';
import { Addresses } from './addresses.ts';
import { encodeFramed } from './message-codec.ts';
import { AppendEncoder } from './msgapp-codec.ts';
import type { TransportContext } from './options.ts';
import { Pipeline } from './pipeline.ts';
import { Prober } from './prober.ts';
import { SnapshotSender } from './snapshot-sender.ts';
import { PeerStatus } from './status.ts';
import { STREAM_KINDS, type StreamKind, StreamReader } from './stream-reader.ts';
import { StreamWriter } from './stream-writer.ts';

/** See the head of this file. */
export class Peer {
  readonly #context: TransportContext;
  readonly #id: bigint;
  readonly #status: PeerStatus;
  readonly #addresses: Addresses;
  readonly #pipeline: Pipeline;
  readonly #snapshots: SnapshotSender;
  readonly #writers: { [K in StreamKind]?: StreamWriter | undefined } = {};
  #readers: readonly StreamReader[] = [];
  #prober: Prober | undefined;
  #stopped = false;

  /** Connects, unless it is a stranger. */
  constructor(context: TransportContext, id: bigint, urls: readonly string[], stranger = false) {
    this.#context = context;
    this.#id = id;
    this.#status = new PeerStatus(context, id);
    this.#addresses = new Addresses(urls);
    const parts = [context, id, this.#addresses, this.#status] as const;
    this.#pipeline = new Pipeline(...parts);
    this.#snapshots = new SnapshotSender(...parts);
    if (stranger) return;
    const [, ...rest] = parts;
    this.#readers = STREAM_KINDS.map((kind) => new StreamReader(context, kind, ...rest));
    this.#prober = new Prober(...parts);
  }

  get addresses(): Addresses {
    return this.#addresses;
  }

  /** Since when it is connected, on the host's clock; undefined if it is not. */
  get connectedSince(): number | undefined {
    return this.#status.since;
  }

  /** Sends a message, or drops it and says so. */
  send(message: Message): void {
    const { msgapp, message: other } = this.#writers;
    const way = (message.type === 'MsgApp' ? msgapp : undefined) ?? other ?? this.#pipeline;
    if (!way.send(message)) this.#lost();
  }

  /** Whether it has taken the image; never rejects. */
  sendSnapshot(message: Message, image: BoltImage): Promise<boolean> {
    return this.#snapshots.send(message, image);
  }

  /** It has asked for a stream: `response`, whose head was sent, is that from now on. */
  attach(kind: StreamKind, response: ServerResponse): void {
    this.#writers[kind]?.destroy();
    const encoder = new AppendEncoder();
    const writer: StreamWriter = new StreamWriter(response, {
      clock: this.#context.clock,
      encode: kind === 'msgapp' ? (message) => encoder.encode(message) : encodeFramed,
      sent: (bytes) => this.#context.observe.sent?.(this.#id, bytes),
      closed: () => {
        if (this.#writers[kind] === writer) this.#writers[kind] = undefined;
        // What was on its way may be lost, also what the socket had taken.
        this.#lost();
      },
    });
    this.#writers[kind] = writer;
  }

  /** Ends all connections. With `gently` what is queued in streams may still leave. */
  stop(gently = false): void {
    this.#stopped = true;
    for (const reader of this.#readers) reader.stop();
    this.#prober?.stop();
    this.#pipeline.stop();
    this.#snapshots.stop();
    for (const kind of STREAM_KINDS) {
      if (gently) this.#writers[kind]?.end();
      else this.#writers[kind]?.destroy();
    }
  }

  #lost(): void {
    if (this.#stopped) return;
    this.#context.observe.sendFailed?.(this.#id);
    this.#context.unreachable(this.#id);
  }
}

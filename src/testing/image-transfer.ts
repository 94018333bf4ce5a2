/**
 * An image on its way from one member to another, piece by piece.
 *
 * The receiver pulls: each piece is read from the image when it is asked for, and takes a message's time. The connection
 * may break at each. It is over when the receiver says that the image is safe and that word has come back, when the
 * connection breaks, when one of the two is gone, or when nothing has moved for a while.
 *
 * @module
 */
import type { Message } from '../server/raft/index.ts';
import type { BoltImage } from '../server/snapshot/bolt/writer.ts';
import type { Timer } from '../support/clock.ts';
import { deferred } from '../support/signals.ts';
import type { Carrier, Station, Underway } from './network-parts.ts';

/** What the receiver waits for. */
interface Pull {
  readonly resolve: (piece: IteratorResult<Uint8Array, undefined>) => void;
  readonly reject: (error: Error) => void;
}

/** See the head of this file. */
export class ImageTransfer {
  /** Whether the receiver has it; never rejects. */
  readonly result: Promise<boolean>;
  readonly #network: Carrier;
  readonly #sender: Station;
  readonly #message: Message;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #ended = deferred<boolean>();
  #receiver: Station | undefined;
  #pull: Pull | undefined;
  #over = false;
  /** Whether there is somebody at the receiver to be told of the end. */
  #heard = true;
  #timer: Timer | undefined;
  readonly #atSender: Underway = { end: (alive) => this.#end(alive ? false : undefined) };
  readonly #atReceiver: Underway = {
    end: (alive) => {
      this.#heard = alive;
      this.#end(false);
    },
  };

  constructor(network: Carrier, sender: Station, message: Message, image: BoltImage) {
    this.#network = network;
    this.#sender = sender;
    this.#message = message;
    this.#chunks = image.chunks[Symbol.asyncIterator]();
    this.result = this.#ended.promise;
    if (!sender.open) {
      this.#end(false);
      return;
    }
    sender.underway.add(this.#atSender);
    this.#moved();
    this.#carry(sender, message.to, (receiver) => this.#begin(receiver));
  }

  #begin(receiver: Station): void {
    if (this.#over) return;
    if (!receiver.admits(this.#sender)) {
      this.#end(false);
      return;
    }
    this.#receiver = receiver;
    receiver.underway.add(this.#atReceiver);
    const end: IteratorResult<Uint8Array, undefined> = { done: true, value: undefined };
    const pieces = { next: () => this.#next(), return: async () => end };
    this.#network.observe.delivered?.(this.#message);
    receiver.host.receiveSnapshot(this.#message, { [Symbol.asyncIterator]: () => pieces }).then(
      // The receiver has it, and the sender knows only if that word comes back.
      () => this.#carry(receiver, this.#sender.id, (sender) => this.#end(sender === this.#sender)),
      () => this.#end(false),
    );
  }

  /** The receiver wants one piece more. */
  #next(): Promise<IteratorResult<Uint8Array, undefined>> {
    return new Promise((resolve, reject) => {
      if (this.#over) {
        if (this.#heard) reject(broken());
        return;
      }
      this.#pull = { resolve, reject };
      this.#moved();
      // The sender reads it when it can.
      this.#sender.take(() => {
        this.#chunks.next().then(
          ({ done, value }) =>
            this.#send(done ? { done, value: undefined } : { done: false, value: Buffer.from(value) }),
          () => this.#end(false),
        );
      });
    });
  }

  #send(piece: IteratorResult<Uint8Array, undefined>): void {
    if (this.#over) return;
    if (this.#network.breaks(this.#sender.id, this.#message.to)) {
      this.#end(false);
      return;
    }
    this.#carry(this.#sender, this.#message.to, (receiver) => {
      const pull = this.#pull;
      if (receiver !== this.#receiver || pull === undefined) return;
      this.#pull = undefined;
      this.#moved();
      pull.resolve(piece);
    });
  }

  #carry(from: Station, to: bigint, arrive: (receiver: Station) => void): void {
    if (this.#over) return;
    const parcel = { from: from.id, to, mayRepeat: false, lose: () => this.#end(false) };
    this.#network.carry({ ...parcel, arrive: (receiver) => this.#over || arrive(receiver) });
  }

  /** Something has moved: the time for that begins anew. */
  #moved(): void {
    this.#timer?.cancel();
    const { clock, stallTimeoutMs } = this.#network;
    this.#timer = clock.after(stallTimeoutMs, () => this.#end(false), { background: true });
  }

  /** @param taken What the sender is told; undefined: it is not there any more. */
  #end(taken: boolean | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#timer?.cancel();
    this.#sender.underway.delete(this.#atSender);
    this.#receiver?.underway.delete(this.#atReceiver);
    this.#chunks.return?.().catch(() => {});
    const pull = this.#pull;
    this.#pull = undefined;
    if (pull && this.#heard) this.#receiver?.gate(() => pull.reject(broken()));
    if (taken !== undefined) this.#sender.gate(() => this.#ended.resolve(taken));
  }
}

function broken(): Error {
  return new Error('the connection broke while an image came');
}

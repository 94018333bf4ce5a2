/**
 * The messages of a client that streams, for a service that reads them one by one.
 *
 * Invariant: what is read is bounded. When `limit` messages wait, `onFull` asks the source to stop, and `onRoom` to go
 * on once the last of them is taken. Ends well when the client has sent all, or when the call is over: a service looks
 * at its signal to tell them apart.
 *
 * @module
 */

const DONE = { done: true, value: undefined } as const;

/** See the head of this file. One reader. */
export class RequestQueue<T> implements AsyncIterableIterator<T> {
  readonly #waiting: T[] = [];
  readonly #limit: number;
  readonly #onFull: () => void;
  readonly #onRoom: () => void;
  #full = false;
  #ended = false;
  #error: unknown;
  #reader: { resolve: (result: IteratorResult<T>) => void; reject: (error: unknown) => void } | undefined;

  constructor(limit: number, onFull: () => void, onRoom: () => void) {
    this.#limit = limit;
    this.#onFull = onFull;
    this.#onRoom = onRoom;
  }

  push(message: T): void {
    if (this.#ended) return;
    if (this.#reader !== undefined) {
      const reader = this.#reader;
      this.#reader = undefined;
      reader.resolve({ done: false, value: message });
      return;
    }
    this.#waiting.push(message);
    if (this.#waiting.length < this.#limit || this.#full) return;
    this.#full = true;
    this.#onFull();
  }

  /** No more comes. With an error, the reader gets it after what is waiting. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    const reader = this.#reader;
    this.#reader = undefined;
    if (reader === undefined) return;
    if (error === undefined) reader.resolve(DONE);
    else reader.reject(error);
  }

  /** The call is over: what waits is dropped. */
  drop(): void {
    this.#waiting.length = 0;
    this.end();
  }

  next(): Promise<IteratorResult<T>> {
    if (this.#waiting.length > 0) {
      const value = this.#waiting.shift() as T;
      if (this.#full && this.#waiting.length === 0) {
        this.#full = false;
        this.#onRoom();
      }
      return Promise.resolve({ done: false, value });
    }
    if (this.#ended) {
      const error = this.#error;
      this.#error = undefined;
      return error === undefined ? Promise.resolve(DONE) : Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
    });
  }

  /** The reader has had enough. What comes after is dropped, and the source may go on. */
  return(): Promise<IteratorResult<T>> {
    this.drop();
    if (this.#full) this.#onRoom();
    this.#full = false;
    return Promise.resolve(DONE);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/**
 * Bodies of requests that may have to be sent again.
 *
 * A text, bytes, a blob or a form can be sent as often as one likes. Of a stream or an iterable nobody knows what is gone
 * once it was begun; as long as it was not, it is as good as new. `fetch` makes an iterable of every body.
 *
 * @module
 */

import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';

type Body = Dispatcher.DispatchOptions['body'];

/** A body, and whether it can be sent (again) in full. */
export interface RepeatableBody {
  readonly body: Body;
  readonly isWhole: () => boolean;
}

const always = (): boolean => true;

const WHOLE: ReadonlySet<string> = new Set(['ArrayBuffer', 'Blob', 'File', 'FormData'].map((tag) => `[object ${tag}]`));

/** Watches over a body. What it gives is to be sent in the body's place. */
export function repeatable(body: unknown): RepeatableBody {
  const given = body as Body;
  if (body === undefined || body === null || typeof body === 'string' || ArrayBuffer.isView(body)) {
    return { body: given, isWhole: always };
  }
  // By their tags: undici's forms and those of Node.js are two classes.
  if (WHOLE.has(Object.prototype.toString.call(body))) return { body: given, isWhole: always };
  if (isStream(body)) return { body: given, isWhole: () => !Readable.isDisturbed(body) && !body.destroyed };
  if (isIterable(body)) {
    const watched = new WatchedIterable(body);
    return { body: watched as unknown as Body, isWhole: () => !watched.begun };
  }
  return { body: given, isWhole: () => false };
}

/** An iterable that notices when it is begun. */
class WatchedIterable {
  readonly #iterable: Bytes;
  begun = false;

  constructor(iterable: Bytes) {
    this.#iterable = iterable;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array | string> {
    this.begun = true;
    yield* this.#iterable;
  }
}

type Bytes = AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string>;

function isStream(body: object): body is Readable {
  return 'pipe' in body && typeof body.pipe === 'function' && 'on' in body;
}

function isIterable(body: object): body is Bytes {
  return Symbol.asyncIterator in body || Symbol.iterator in body;
}

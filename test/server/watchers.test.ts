/** Many watchers of one server: each gets each event once, in order. */
import { describe, expect, it } from 'vitest';
import { KV, PutRequest, Watch, WatchRequest, WatchResponse } from '../../src/protocol/generated/etcdserverpb.ts';
import { MessageSplitter } from '../support/grpc-frames.ts';
import { Target } from './abuse/target.ts';
import { framed, type RawClient } from './rpc/raw-client.ts';

const PUTS = 10;
const WATCHERS = 10_000;

/** One stream with watchers on it. */
class Stream {
  created = 0;
  received = 0;
  /** How many events each watcher has had: they come in the order of the puts. */
  readonly #seen = new Map<bigint, number>();
  readonly #splitter = new MessageSplitter();
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(client: RawClient, watchers: number) {
    const stream = client.open({ path: Watch.watch.path, end: false });
    stream.on('data', (chunk: Buffer) => {
      for (const message of this.#splitter.push(chunk)) this.#receive(WatchResponse.decode(message.subarray(5)));
    });
    const request = framed(
      WatchRequest.encode({ createRequest: { key: Buffer.from('k'), rangeEnd: Buffer.from('l') } }),
    );
    for (let i = 0; i < watchers; i++) stream.write(request);
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.#failure) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #receive({ watchId, created, events }: WatchResponse): void {
    if (created) this.created += 1;
    for (const { kv } of events) {
      const number = Number(Buffer.from(kv?.value ?? []).toString());
      const last = this.#seen.get(watchId) ?? 0;
      if (number !== last + 1) this.#failure ??= new Error(`watcher ${watchId} got event ${number} after ${last}`);
      this.#seen.set(watchId, number);
      this.received += 1;
    }
    this.#wake?.();
  }
}

describe(`${WATCHERS} watchers`, () => {
  it.each([1, 100])('on %i streams get each event once, in order', async (count) => {
    await using target = await Target.start();
    await using client = await target.connect();
    await using writer = await target.connect();
    const each = WATCHERS / count;
    const streams = Array.from({ length: count }, () => new Stream(client, each));
    for (const stream of streams) await stream.until(() => stream.created === each);
    for (let i = 1; i <= PUTS; i++) {
      const put = PutRequest.encode({ key: Buffer.from(`k${i % 3}`), value: Buffer.from(String(i)) });
      expect(await writer.call({ path: KV.put.path, data: [framed(put)] })).toMatchObject({ code: 0 });
    }
    for (const stream of streams) await stream.until(() => stream.received === each * PUTS);
    await client[Symbol.asyncDispose]();
    await writer[Symbol.asyncDispose]();
    await target.expectNothingLeft();
  });
});

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Message, message } from '../../../src/server/raft/types.ts';
import type { BoltImage } from '../../../src/server/snapshot/bolt/writer.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { FakeHost, member, PeerSeat, until } from './fake-host.ts';

const CHUNK = 32 * 1024;

/** An image of so many chunks, and what was done with it. */
class Image implements BoltImage {
  readonly sizeBytes: number;
  readonly chunks: AsyncIterable<Uint8Array>;
  taken = 0;
  /** Let go of, also if nothing was taken. */
  released = 0;

  constructor(count: number, failAt = Number.POSITIVE_INFINITY) {
    this.sizeBytes = count * CHUNK;
    const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
      if (this.taken === failAt) throw new Error('the image fails');
      if (this.taken === count) return { done: true, value: undefined };
      return { done: false, value: Buffer.alloc(CHUNK, this.taken++ % 251) };
    };
    const release = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
      this.released++;
      return { done: true, value: undefined };
    };
    this.chunks = { [Symbol.asyncIterator]: () => ({ next, return: release }) };
  }

  static whole(count: number): Buffer {
    return Buffer.concat(Array.from({ length: count }, (_, i) => Buffer.alloc(CHUNK, i % 251)));
  }
}

const confState = {
  voters: [member(1n), member(2n)],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};
const snapshot = { data: new TextEncoder().encode('{"v2":"store"}'), index: 7, term: 3, confState };
const snap = (to: bigint): Message => message('MsgSnap', { from: member(1n), to: member(to), term: 4, snapshot });

let clock: VirtualClock;
let a: PeerSeat;
let b: PeerSeat;

beforeEach(async () => {
  clock = new VirtualClock();
  a = await PeerSeat.open(new FakeHost(1n, 0xabcn, clock), { clock });
  b = await PeerSeat.open(new FakeHost(2n, 0xabcn, clock), { clock });
  a.host.members.put(2n, b.url);
  b.host.members.put(1n, a.url);
  a.transport.start();
  b.transport.start();
});

afterEach(async () => {
  await a[Symbol.asyncDispose]();
  await b[Symbol.asyncDispose]();
});

describe('a snapshot', () => {
  it('arrives whole, with its message, and is let go of', async () => {
    const image = new Image(500);
    expect(await a.transport.sendSnapshot(snap(2n), image)).toBe(true);
    expect(b.host.images.map(({ message }) => message)).toEqual([snap(2n)]);
    expect(Buffer.compare(b.host.images[0]?.bytes ?? Buffer.alloc(0), Image.whole(500))).toBe(0);
    expect(image.released).toBe(1);
    // It is not also taken for a message.
    expect(b.host.received).toEqual([]);
    const empty = new Image(0);
    expect(await a.transport.sendSnapshot(snap(2n), empty)).toBe(true);
    expect(b.host.images[1]?.bytes).toHaveLength(0);
  });

  it('is read no faster than the other member takes it', async () => {
    const image = new Image(4_000);
    let go = (): void => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    let bytes = 0;
    b.host.takeImage = async (chunks) => {
      for await (const chunk of chunks) {
        bytes += chunk.length;
        await gate;
      }
      return Buffer.alloc(0);
    };
    const sent = a.transport.sendSnapshot(snap(2n), image);
    await until(() => bytes > 0);
    let before = -1;
    while (before < image.taken) {
      before = image.taken;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    // 125 MB; what kernel and buffers hold is a few.
    expect(image.taken).toBeLessThan(1_000);
    go();
    expect(await sent).toBe(true);
    expect(bytes).toBe(image.sizeBytes);
  });

  it('that the receiver can not keep has failed, and can be sent again', async () => {
    const takeImage = b.host.takeImage;
    b.host.takeImage = async (chunks) => {
      for await (const _ of chunks) throw new Error('no space on /var/secret');
      return Buffer.alloc(0);
    };
    const image = new Image(500);
    expect(await a.transport.sendSnapshot(snap(2n), image)).toBe(false);
    expect(image.released).toBe(1);
    expect(JSON.stringify(a.log.all)).not.toContain('secret');
    b.host.takeImage = takeImage;
    expect(await a.transport.sendSnapshot(snap(2n), new Image(5))).toBe(true);
  });

  it('of which the line breaks has failed on both sides: no half is taken for a whole', async () => {
    let ended: unknown = 'not yet';
    b.host.takeImage = async (chunks) => {
      try {
        for await (const _ of chunks) b.cut();
      } catch (error) {
        ended = error;
        throw error;
      }
      ended = 'whole';
      return Buffer.alloc(0);
    };
    const image = new Image(4_000);
    expect(await a.transport.sendSnapshot(snap(2n), image)).toBe(false);
    await until(() => ended !== 'not yet');
    expect(ended).toBeInstanceOf(Error);
    expect(image.released).toBe(1);
    expect(b.host.images).toEqual([]);
  });

  it('whose image fails has failed on both sides', async () => {
    const image = new Image(500, 100);
    const sent = a.transport.sendSnapshot(snap(2n), image);
    expect(await sent).toBe(false);
    expect(b.host.images).toEqual([]);
    expect(image.released).toBe(1);
  });

  it('of which nothing moves is given up after a minute', async () => {
    b.host.takeImage = () => new Promise(() => {});
    const image = new Image(4_000);
    let done: boolean | undefined;
    void a.transport.sendSnapshot(snap(2n), image).then((ok) => {
      done = ok;
    });
    await until(() => image.taken > 10);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await clock.advance(59_000);
    expect(done).toBeUndefined();
    await clock.advance(2_000);
    await until(() => done === false);
    expect(image.released).toBe(1);
  });

  it('ends with the transport', async () => {
    b.host.takeImage = () => new Promise(() => {});
    const image = new Image(4_000);
    const sent = a.transport.sendSnapshot(snap(2n), image);
    await until(() => image.taken > 10);
    await a.transport.close();
    expect(await sent).toBe(false);
    expect(image.released).toBe(1);
  });

  it('for nobody, for one that is away, and for one that knows better is let go of', async () => {
    const images = [new Image(5), new Image(5), new Image(500), new Image(5)] as const;
    expect(await a.transport.sendSnapshot(snap(9n), images[0])).toBe(false);
    b.host.members.removed.add(1n);
    expect(await a.transport.sendSnapshot(snap(2n), images[1])).toBe(false);
    expect(a.host.removals).toBe(1);
    expect(b.host.images).toEqual([]);
    await b[Symbol.asyncDispose]();
    expect(await a.transport.sendSnapshot(snap(2n), images[2])).toBe(false);
    await a.transport.close();
    expect(await a.transport.sendSnapshot(snap(2n), images[3])).toBe(false);
    expect(images.map(({ released }) => released)).toEqual([1, 1, 1, 1]);
  });
});

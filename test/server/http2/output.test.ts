import { describe, expect, it } from 'vitest';
import { Output, Slabs } from '../../../src/server/http2/output.ts';
import { FrameType } from '../../../src/server/http2/protocol.ts';
import { frame } from './wire.ts';

describe('output', () => {
  it('is the caller’s once it is taken, whatever is put together after it', () => {
    const slabs = new Slabs();
    const [first, second] = [new Output(slabs), new Output(slabs)];
    first.frame(FrameType.DATA, 1, 2 ** 31 - 1, Buffer.from('one'));
    const taken = first.take();
    second.frame(FrameType.DATA, 0, 5, Buffer.from('another'));
    expect(Buffer.concat(taken)).toEqual(frame(FrameType.DATA, 1, 2 ** 31 - 1, Buffer.from('one')));
    expect(first.take()).toEqual([]);
  });

  it('of more than a slab holds is in parts, with no frame missing', () => {
    const output = new Output(new Slabs());
    const payloads = Array.from({ length: 30 }, (_, at) => Buffer.alloc(16_384 - at, `${at} `));
    for (const payload of payloads) output.data(7, payload.subarray(0, 5), payload.subarray(5));
    const parts = output.take();
    expect(parts.length).toBeGreaterThan(5);
    expect(Buffer.concat(parts).equals(Buffer.concat(payloads.map((payload) => frame(0, 0, 7, payload))))).toBe(true);
  });
});

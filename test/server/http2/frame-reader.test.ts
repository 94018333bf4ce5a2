import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameReader } from '../../../src/server/http2/frame-reader.ts';
import { PREFACE } from '../../../src/server/http2/protocol.ts';
import { type Came, frame, framesOf } from './wire.ts';

function reader(): { reader: FrameReader; came: Came[] } {
  const came: Came[] = [];
  const sink = {
    frame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
      came.push({ type, flags, streamId, payload: Buffer.from(bytes.subarray(start, end)) });
    },
  };
  return { reader: new FrameReader(sink), came };
}

describe('frames', () => {
  it('are the same, whatever the pieces are that they come in', () => {
    const one = fc.record({
      type: fc.integer({ min: 0, max: 255 }),
      flags: fc.integer({ min: 0, max: 255 }),
      streamId: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      payload: fc.uint8Array({ maxLength: 60 }),
    });
    const cuts = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1 });
    fc.assert(
      fc.property(fc.array(one, { maxLength: 10 }), cuts, (all, lengths) => {
        const frames = all.map(({ type, flags, streamId, payload }) => frame(type, flags, streamId, payload));
        const bytes = Buffer.concat([PREFACE, ...frames]);
        const { reader: cut, came } = reader();
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const length = Math.max(1, lengths[turn % lengths.length] as number);
          cut.push(bytes.subarray(at, at + length));
          at += length;
        }
        expect(came).toEqual(framesOf(Buffer.concat(frames)));
      }),
      { numRuns: 500 },
    );
  });

  it('have ids of 31 bits', () => {
    const { reader: whole, came } = reader();
    whole.push(Buffer.concat([PREFACE, frame(0, 0, 2 ** 31 + 5)]));
    expect(came[0]?.streamId).toBe(5);
  });

  it('of 16,384 bytes are taken, and longer ones refused before they are there', () => {
    const { reader: whole, came } = reader();
    whole.push(Buffer.concat([PREFACE, frame(0, 0, 1, Buffer.alloc(16_384))]));
    expect(came).toHaveLength(1);
    expect(() => whole.push(frame(0, 0, 1, Buffer.alloc(16_385)).subarray(0, 9))).toThrow(
      expect.objectContaining({ code: 6 }),
    );
  });

  it('have the preface before them', () => {
    const { reader: whole } = reader();
    whole.push(PREFACE.subarray(0, 10));
    expect(() => whole.push(Buffer.alloc(14, 'x'))).toThrow(expect.objectContaining({ code: 1 }));
  });
});

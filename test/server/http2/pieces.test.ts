import { describe, expect, it } from 'vitest';
import { addPiece } from '../../../src/server/http2/pieces.ts';
import { collectGarbage } from '../abuse/garbage.ts';
import { type Heard, Served } from './served.ts';
import { data, open } from './wire.ts';

const BYTES = 200_000;

/** A byte at a time, and what it is in one piece. */
function dribble(): { readonly bytes: Buffer; readonly frames: Buffer } {
  const bytes = Buffer.from(Array.from({ length: BYTES }, (_, at) => at % 251));
  const frames = Buffer.concat(Array.from({ length: BYTES }, (_, at) => data(1, bytes.subarray(at, at + 1))));
  return { bytes, frames };
}

describe('pieces of data', () => {
  it('stay in their order, and are few however small they are', () => {
    const pieces: Buffer[] = [];
    let loose = 0;
    const { bytes } = dribble();
    for (let at = 0; at < BYTES; at++) loose = addPiece(pieces, bytes.subarray(at, at + 1), loose);
    expect(pieces.length).toBeLessThan(BYTES / 256 + 256);
    expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
  });

  it('are not copied when they are large, or few', () => {
    const pieces: Buffer[] = [];
    const first = Buffer.alloc(16_384);
    let loose = 0;
    for (let i = 0; i < 255; i++) loose = addPiece(pieces, first, loose);
    expect(pieces.every((piece) => piece === first)).toBe(true);
  });

  it('that come a byte at a time cost a stream that is paused little more than their bytes', () => {
    const served = Served.greeted();
    served.send(open(1));
    const { stream } = served.heard[0] as Heard;
    const heard: Buffer[] = [];
    stream.receiver = { onData: (chunk) => heard.push(chunk), onEnd: () => {}, onClose: () => {}, onDrain: () => {} };
    const { bytes, frames } = dribble();
    stream.pause();
    const before = collectGarbage();
    served.send(frames);
    expect(collectGarbage() - before).toBeLessThan(20 * BYTES);
    stream.resume();
    expect(Buffer.concat(heard).equals(bytes)).toBe(true);
  });
});

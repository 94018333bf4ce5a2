import { describe, expect, it } from 'vitest';
import { ChunkedSource } from '../../../../src/server/snapshot/bolt/chunked-source.ts';

describe('a file in pieces', () => {
  it('reads the same as in one, wherever pieces meet', async () => {
    const whole = Buffer.from(Array.from({ length: 100 }, (_, i) => i));
    const source = new ChunkedSource(async () => {});
    for (const [from, to] of [
      [0, 1],
      [1, 1],
      [1, 40],
      [40, 41],
      [41, 99],
      [99, 100],
    ] as const) {
      source.add(whole.subarray(from, to));
    }
    expect(source.sizeBytes).toBe(100);
    for (let at = 0; at <= 100; at += 1) {
      for (const size of [0, 1, 2, 41, 200]) expect(await source.read(at, size)).toEqual(whole.subarray(at, at + size));
    }
  });

  it('lets others have their turn', async () => {
    let pauses = 0;
    const source = new ChunkedSource(async () => {
      pauses += 1;
    });
    source.add(new Uint8Array(1024 * 1024));
    for (let at = 0; at < 1024 * 1024; at += 4096) await source.read(at, 4096);
    expect(pauses).toBe(3);
  });
});

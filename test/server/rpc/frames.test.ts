import { expect, it } from 'vitest';
import { FrameReader } from '../../../src/server/rpc/frames.ts';
import { collectGarbage } from '../abuse/garbage.ts';
import { framed } from './raw-client.ts';

it('a message that comes a byte at a time costs little more than its bytes', () => {
  const payload = Buffer.from(Array.from({ length: 200_000 }, (_, at) => at % 251));
  const bytes = Buffer.concat([framed(payload), framed(Buffer.of(7))]);
  const reader = new FrameReader(1_000_000, false);
  const before = collectGarbage();
  let at = 0;
  let whole = 0;
  for (; at < payload.length; at++) {
    reader.push(bytes.subarray(at, at + 1));
    if (reader.next() !== undefined) whole += 1;
  }
  expect(whole).toBe(0);
  expect(collectGarbage() - before).toBeLessThan(20 * payload.length);
  const messages: Buffer[] = [];
  for (; at < bytes.length; at++) {
    reader.push(bytes.subarray(at, at + 1));
    const message = reader.next();
    if (message !== undefined) messages.push(Buffer.from(message));
  }
  expect(messages.map((message) => message.length)).toEqual([payload.length, 1]);
  expect(messages[0]?.equals(payload)).toBe(true);
  expect(reader.partial).toBe(false);
});

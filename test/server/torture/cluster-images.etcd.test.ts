import { expect, it } from 'vitest';
import { transferImages } from './cluster-images.ts';

const KEYS = 20_000;
/** What a transfer may take beside what the sender has anyway; docs/server.md states it for a million keys. */
const SENDER_MORE_MIB = 64;
/** What a receiver may have in all: the process itself, and so much for each key. */
const RECEIVER_MIB = 160 + (KEYS * 1.2) / 1024;

it('a member that is far behind, and a new one, get everything while writes go on', { timeout: 300_000 }, async () => {
  const { behind, fresh, held } = await transferImages({ keys: KEYS });
  for (const { writes, images, senderMiB, senderPeakMiB, receiverPeakMiB } of [behind, fresh, held]) {
    expect(writes).toBeGreaterThan(0);
    expect(images).toBeGreaterThan(0);
    if (receiverPeakMiB !== undefined) expect(receiverPeakMiB).toBeLessThan(RECEIVER_MIB);
    if (senderMiB !== undefined) expect(senderPeakMiB).toBeLessThan(senderMiB + SENDER_MORE_MIB);
  }
});

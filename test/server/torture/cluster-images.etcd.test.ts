import { expect, it } from 'vitest';
import { transferImages } from './cluster-images.ts';

const KEYS = 20_000;
/** What a transfer may take beside what the sender has anyway; docs/server.md states it for a million keys. */
const SENDER_MORE_MIB = 200;

it('a member that is far behind, and a new one, get everything while writes go on', { timeout: 300_000 }, async () => {
  const { behind, fresh } = await transferImages({ keys: KEYS });
  for (const { writes, senderMiB, senderPeakMiB } of [behind, fresh]) {
    expect(writes).toBeGreaterThan(0);
    if (senderMiB !== undefined) expect(senderPeakMiB).toBeLessThan(senderMiB + SENDER_MORE_MIB);
  }
});

import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { expectProcessExits, snapshotResources } from '../support/leaks.ts';

const script = path.join(import.meta.dirname, 'scripts', 'stay.ts');

describe('snapshotResources', () => {
  it('names what was added, and is content once it is gone', async () => {
    const before = snapshotResources();
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const timer = setInterval(() => {}, 10_000);
    expect(before.added()).toEqual(expect.arrayContaining(['TCPServerWrap', 'Timeout']));
    await expect(before.expectNothingAdded({ settleMs: 100 })).rejects.toThrow(/TCPServerWrap/);
    clearInterval(timer);
    setTimeout(() => server.close(), 50);
    await before.expectNothingAdded();
  });
});

describe('expectProcessExits', () => {
  it('returns the output of a script that ends', async () => {
    expect((await expectProcessExits(script, ['end'])).stdout).toBe('told to end\n');
  });

  it('rejects with the output when the script stays or fails', async () => {
    await expect(expectProcessExits(script, ['stay'], { timeoutMs: 1_500 })).rejects.toThrow(
      /still running after 1500 ms\ntold to stay/,
    );
    await expect(expectProcessExits(script, ['end', '3'])).rejects.toThrow(/ended with code 3\ntold to end/);
  });
});

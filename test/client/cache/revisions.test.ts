import { describe, expect, it } from 'vitest';
import { RevisionFeed } from '../../../src/client/cache/revisions.ts';
import type { Revision } from '../../../src/protocol/int64.ts';

const at = (revision: bigint): Revision => revision as Revision;

describe('RevisionFeed', () => {
  it('tells the latest, each time that there was one', async () => {
    const revisions = new RevisionFeed(() => {});
    revisions.push(at(1n));
    revisions.push(at(2n));
    expect(await revisions.next()).toEqual({ done: false, value: 2n });
    const next = revisions.next();
    revisions.push(at(3n));
    expect(await next).toEqual({ done: false, value: 3n });
  });

  it('tells of a store that went back', async () => {
    const revisions = new RevisionFeed(() => {});
    revisions.push(at(9n));
    revisions.push(at(4n));
    expect(await revisions.next()).toEqual({ done: false, value: 4n });
  });

  it('gives what waits before it ends, then the error once', async () => {
    const revisions = new RevisionFeed(() => {});
    revisions.push(at(1n));
    revisions.end(new Error('why'));
    revisions.push(at(2n));
    expect(await revisions.next()).toEqual({ done: false, value: 1n });
    await expect(revisions.next()).rejects.toThrow('why');
    expect(await revisions.next()).toEqual({ done: true, value: undefined });
  });

  it('is let go of when its loop is left', async () => {
    let returned = 0;
    const revisions = new RevisionFeed(() => {
      returned += 1;
    });
    revisions.push(at(1n));
    for await (const revision of revisions) {
      expect(revision).toBe(1n);
      revisions.push(at(2n));
      break;
    }
    expect(returned).toBe(1);
    expect(await revisions.next()).toEqual({ done: true, value: undefined });
  });
});

import { createRequire } from 'node:module';
import { afterEach, describe, expect, it } from 'vitest';
import { AuthErrors as E } from '../../../src/server/auth/errors.ts';
import { decoyHash, isUsableHash } from '../../../src/server/auth/passwords.ts';
import { BcryptHasher, PASSWORD_TOO_LONG } from '../../../src/server/auth-io/bcrypt-hasher.ts';

/** The library itself, for hashes that somebody else has made. */
const bcrypt = createRequire(import.meta.url)('bcryptjs') as { hashSync(password: string, cost: number): string };

describe('hashing passwords in a thread', () => {
  let hasher: BcryptHasher;
  afterEach(() => hasher.close());

  it('makes hashes that verify, each with a salt of its own', async () => {
    hasher = new BcryptHasher({ cost: 4 });
    const [one, other] = await Promise.all([hasher.hash('secret'), hasher.hash('secret')]);
    expect(one).not.toBe(other);
    expect(isUsableHash(one as string)).toBe(true);
    expect(await hasher.verify('secret', one as string)).toBe(true);
    expect(await hasher.verify('other', one as string)).toBe(false);
    expect(await hasher.verify('secret', bcrypt.hashSync('secret', 4).replace('$2b$', '$2a$'))).toBe(true);
    expect(await hasher.verify('', decoyHash(4))).toBe(false);
  });

  it('takes ten as the cost unless told otherwise', async () => {
    hasher = new BcryptHasher();
    expect(await hasher.hash('secret')).toMatch(/^\$2b\$10\$/);
  });

  it('never verifies what is no hash, or one that takes too long', async () => {
    hasher = new BcryptHasher();
    for (const hash of ['', 'nonsense', decoyHash(31)]) expect(await hasher.verify('', hash)).toBe(false);
  });

  it('hashes no password that bcrypt would cut off', async () => {
    hasher = new BcryptHasher({ cost: 4 });
    expect(await hasher.hash('ü'.repeat(36))).toMatch(/^\$2b\$/);
    expect(await hasher.hash(`${'ü'.repeat(36)}x`)).toBe(PASSWORD_TOO_LONG);
  });

  it('lets only so many wait, and those in the order they came', async () => {
    hasher = new BcryptHasher({ cost: 4, maxWaiting: 2 });
    const done: number[] = [];
    const jobs = [1, 2, 3].map(async (n) => {
      expect(await hasher.hash('x')).toMatch(/^\$2b\$/);
      done.push(n);
    });
    expect(hasher.waiting).toBe(2);
    expect(await hasher.hash('x')).toBe(E.TooManyRequests);
    await Promise.all(jobs);
    expect(done).toEqual([1, 2, 3]);
    expect(await hasher.hash('x')).toMatch(/^\$2b\$/);
  });

  it('stops waiting at a signal, and gives the place in line free', async () => {
    hasher = new BcryptHasher({ cost: 4, maxWaiting: 1 });
    const [inWork, inLine] = [new AbortController(), new AbortController()];
    const jobs = [hasher.hash('x', inWork.signal), hasher.hash('x', inLine.signal)];
    inLine.abort();
    inWork.abort();
    expect(await Promise.all(jobs)).toEqual([E.Canceled, E.Canceled]);
    expect(hasher.waiting).toBe(0);
    expect(await hasher.hash('x')).toMatch(/^\$2b\$/);
    expect(await hasher.hash('x', AbortSignal.abort())).toBe(E.Canceled);
  });

  it('answers everybody when it is closed, and nobody after', async () => {
    hasher = new BcryptHasher({ cost: 12 });
    const jobs = [hasher.hash('x'), hasher.verify('x', decoyHash(12))];
    await hasher.close();
    expect(await Promise.all(jobs)).toEqual([E.Stopped, E.Stopped]);
    expect(await hasher.hash('x')).toBe(E.Stopped);
    await hasher.close();
  });
});

import { beforeEach, describe, expect, it } from 'vitest';
import { AuthErrors as E } from '../../../src/server/auth/errors.ts';
import { SimpleTokens } from '../../../src/server/auth/simple-tokens.ts';
import { tokenOf } from '../../../src/server/auth/tokens.ts';

const PREFIX = 'abcdefghijklmnop';

describe('simple tokens', () => {
  let now: number;
  let applied: bigint;
  let waits: [bigint, number][];
  let whileWaiting: () => void;
  let bytes: number[];
  let tokens: SimpleTokens;

  beforeEach(() => {
    now = 1_000;
    applied = 50n;
    waits = [];
    whileWaiting = () => {};
    bytes = [];
    tokens = new SimpleTokens({
      now: () => now,
      randomBytes: (count) => Uint8Array.from({ length: count }, () => bytes.shift() ?? 0),
      actor: (username) => ({ username, revision: 7n }),
      appliedIndex: () => applied,
      waitApplied: async (index, timeoutMs) => {
        waits.push([index, timeoutMs]);
        whileWaiting();
      },
    });
  });

  const login = (username: string, index = 42n, prefix = PREFIX) => ({ username, index, prefix, revision: 3n });
  async function give(username: string, index = 42n, prefix = PREFIX): Promise<string> {
    tokens.assign(login(username, index, prefix));
    return tokens.issue(login(username, index, prefix));
  }

  it('name a user at the revision of now', async () => {
    const token = await give('ada');
    expect(token).toBe(`${PREFIX}.42`);
    expect(await tokens.resolve(token)).toEqual({ username: 'ada', revision: 7n });
    expect(waits).toEqual([]);
  });

  it('are sixteen letters that come from nowhere but the random source, each as likely', () => {
    bytes = Array.from({ length: 256 }, (_, byte) => byte);
    const letters = Array.from({ length: 13 }, () => tokens.prefix()).join('');
    // 208 bytes are four times the alphabet; the rest would give the first letters more than their share.
    expect(letters.slice(0, 52)).toBe('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz');
    const counts = new Map<string, number>();
    for (const letter of letters) counts.set(letter, (counts.get(letter) ?? 0) + 1);
    expect(new Set(counts.values())).toEqual(new Set([4]));
    bytes = [...Array.from({ length: 16 }, () => 255), ...Array.from({ length: 16 }, () => 1)];
    expect(tokens.prefix()).toBe('B'.repeat(16));
  });

  it('live as long as they are used', async () => {
    const token = await give('ada');
    for (let i = 0; i < 3; i += 1) {
      now += 299_999;
      expect(await tokens.resolve(token)).toMatchObject({ username: 'ada' });
    }
    now += 300_000;
    expect(await tokens.resolve(token)).toBe(E.InvalidAuthToken);
  });

  it('are not remembered from logins before a restart, which are in the log', async () => {
    tokens = new SimpleTokens({
      now: () => now,
      randomBytes: (count) => new Uint8Array(count),
      actor: (username) => ({ username, revision: 7n }),
      appliedIndex: () => 50n,
      waitApplied: async () => {},
      resumedAt: 42n,
    });
    const [before, after] = [await give('ada', 42n), await give('ada', 43n)];
    expect(await tokens.resolve(before)).toBe(E.InvalidAuthToken);
    expect(await tokens.resolve(after)).toMatchObject({ username: 'ada' });
    expect(tokens.size).toBe(1);
  });

  it('are forgotten once they have run out, the used ones not', async () => {
    const used = await give('ada', 1n);
    await give('bob', 2n);
    now += 200_000;
    await tokens.resolve(used);
    now += 100_000;
    const fresh = await give('eve', 3n);
    expect(tokens.size).toBe(2);
    expect(await tokens.resolve(used)).toMatchObject({ username: 'ada' });
    expect(await tokens.resolve(fresh)).toMatchObject({ username: 'eve' });
  });

  it('are void for one user, or for all', async () => {
    const [ada, also, bob] = [await give('ada', 1n), await give('ada', 2n), await give('bob', 3n)];
    tokens.invalidateUser('ada');
    expect(await tokens.resolve(ada)).toBe(E.InvalidAuthToken);
    expect(await tokens.resolve(also)).toBe(E.InvalidAuthToken);
    expect(await tokens.resolve(bob)).toMatchObject({ username: 'bob' });
    tokens.reset();
    expect(await tokens.resolve(bob)).toBe(E.InvalidAuthToken);
  });

  it('of a login that this member has not seen yet are waited for, but not for long', async () => {
    const token = `${PREFIX}.51`;
    expect(await tokens.resolve(token)).toBe(E.InvalidAuthToken);
    whileWaiting = () => tokens.assign(login('ada', 51n));
    expect(await tokens.resolve(token)).toMatchObject({ username: 'ada' });
    expect(waits).toEqual([
      [51n, 2_000],
      [51n, 2_000],
    ]);
  });

  it.each([
    '',
    'abc.99',
    `${PREFIX}.`,
    `${PREFIX}.x`,
    `${PREFIX}.1.2`,
    PREFIX,
    `${PREFIX}.-1`,
    `${PREFIX}.${'9'.repeat(21)}`,
    `0${PREFIX.slice(1)}.99`,
  ])('of another form are invalid at once: %j', async (token) => {
    expect(await tokens.resolve(token)).toBe(E.InvalidAuthToken);
    expect(waits).toEqual([]);
  });
});

describe('the token of a call', () => {
  it.each([
    [{}, undefined],
    [{ token: 'a', authorization: 'b' }, 'a'],
    [{ authorization: 'b' }, 'b'],
    [{ authorization: 'Bearer b' }, 'b'],
    [{ authorization: 'bearer  b' }, 'b'],
    [{ token: '' }, ''],
  ])('%j is %j', (metadata, token) => {
    expect(tokenOf(metadata)).toBe(token);
  });
});

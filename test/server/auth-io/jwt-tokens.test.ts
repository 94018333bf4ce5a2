import { generateKeyPairSync } from 'node:crypto';
import { SignJWT, UnsecuredJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { AuthErrors as E } from '../../../src/server/auth/errors.ts';
import { type JwtAlgorithm, JwtTokens } from '../../../src/server/auth-io/jwt-tokens.ts';

const NOON = Date.UTC(2030, 0, 1, 12);
const SECRET = Buffer.alloc(64, 7);
const LOGIN = { username: 'ada', revision: 4n, index: 9n, prefix: '' };

const pems = (pair: { privateKey: { export(o: object): unknown }; publicKey: { export(o: object): unknown } }) => ({
  signKey: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  verifyKey: pair.publicKey.export({ type: 'spki', format: 'pem' }) as string,
});
const rsa = pems(generateKeyPairSync('rsa', { modulusLength: 2048 }));
const ec = pems(generateKeyPairSync('ec', { namedCurve: 'P-256' }));
const ed = pems(generateKeyPairSync('ed25519'));
const hs = { signKey: SECRET, verifyKey: SECRET };

function provider(fields: Partial<Parameters<typeof JwtTokens.create>[0]> = {}): Promise<JwtTokens> {
  return JwtTokens.create({ algorithm: 'HS256', ...hs, timeOfDay: () => NOON, ...fields });
}

describe('JWTs', () => {
  it.each<[JwtAlgorithm, object]>([
    ['RS256', rsa],
    ['PS384', rsa],
    ['ES256', ec],
    ['EdDSA', ed],
    ['HS512', hs],
  ])('say who has them and of which revision they are: %s', async (algorithm, keys) => {
    const tokens = await provider({ algorithm, ...keys });
    const token = (await tokens.issue(LOGIN)) as string;
    expect(JSON.parse(Buffer.from(token.split('.')[1] as string, 'base64url').toString())).toEqual({
      username: 'ada',
      revision: 4,
      exp: NOON / 1_000 + 300,
    });
    expect(await tokens.resolve(token)).toEqual({ username: 'ada', revision: 4n });
  });

  it('end with their time', async () => {
    let now = NOON;
    const tokens = await provider({ ttlSeconds: 600, timeOfDay: () => now });
    const token = (await tokens.issue(LOGIN)) as string;
    now = NOON + 599_000;
    expect(await tokens.resolve(token)).toMatchObject({ username: 'ada' });
    now = NOON + 600_000;
    expect(await tokens.resolve(token)).toBe(E.InvalidAuthToken);
  });

  it('of another algorithm, of none, or of another key are invalid', async () => {
    const tokens = await provider({ algorithm: 'RS256', ...rsa });
    const claims = { username: 'root', revision: 4 };
    const exp = NOON / 1_000 + 300;
    // The oldest trick: the public key as the secret of an algorithm that has one.
    const confused = new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).setExpirationTime(exp);
    const foreign = await provider({
      algorithm: 'RS256',
      ...pems(generateKeyPairSync('rsa', { modulusLength: 2048 })),
    });
    const sameKey = await provider({ algorithm: 'RS512', ...rsa });
    const bad = [
      await confused.sign(Buffer.from(rsa.verifyKey)),
      new UnsecuredJWT(claims).setExpirationTime(exp).encode(),
      await foreign.issue(LOGIN),
      await sameKey.issue(LOGIN),
      '',
      'a.b.c',
    ];
    for (const token of bad) expect(await tokens.resolve(token as string)).toBe(E.InvalidAuthToken);
  });

  it.each([
    ['no user', { revision: 4 }],
    ['an empty user', { username: '', revision: 4 }],
    ['a user that is no text', { username: 7, revision: 4 }],
    ['no revision', { username: 'ada' }],
    ['revision 0, which would mean that nobody asks', { username: 'ada', revision: 0 }],
    ['half a revision', { username: 'ada', revision: 1.5 }],
    ['a revision as text', { username: 'ada', revision: '4' }],
  ])('with %s are invalid, though signed', async (_, claims) => {
    const tokens = await provider();
    const signed = new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).setExpirationTime(NOON / 1_000 + 300);
    expect(await tokens.resolve(await signed.sign(SECRET))).toBe(E.InvalidAuthToken);
  });

  it('without an end are invalid', async () => {
    const endless = new SignJWT({ username: 'ada', revision: 4 }).setProtectedHeader({ alg: 'HS256' });
    expect(await (await provider()).resolve(await endless.sign(SECRET))).toBe(E.InvalidAuthToken);
  });

  it('are only checked by who has no key to sign', async () => {
    const tokens = await provider({ algorithm: 'RS256', signKey: undefined, verifyKey: rsa.verifyKey });
    const token = (await (await provider({ algorithm: 'RS256', ...rsa })).issue(LOGIN)) as string;
    expect(await tokens.issue(LOGIN)).toBe(E.AuthFailed);
    expect(await tokens.resolve(token)).toMatchObject({ username: 'ada' });
  });

  it('need keys that fit, and tell nothing of those that do not', async () => {
    const bad = provider({ algorithm: 'RS256', signKey: 'hush', verifyKey: 'hush' });
    await expect(bad).rejects.toThrow(new TypeError('the keys for JWTs are none of RS256'));
  });

  it('have nothing in the log', async () => {
    expect((await provider()).prefix()).toBe('');
  });
});

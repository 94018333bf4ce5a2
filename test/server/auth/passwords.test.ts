import { describe, expect, it } from 'vitest';
import { AuthUserAddRequest, AuthUserChangePasswordRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import { type AuthError, AuthErrors as E } from '../../../src/server/auth/errors.ts';
import {
  checkPassword,
  decoyHash,
  hashUserAdd,
  hashUserChangePassword,
  isUsableHash,
  type PasswordHasher,
} from '../../../src/server/auth/passwords.ts';
import { message, newUser, storeWithRoot } from './support.ts';

const DIGEST = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0';
/** No hash but it looks like one: of the password's length. */
const fake = (password: string): string => `$2b$10$${String(password.length).padStart(2, '0')}${DIGEST.slice(2)}`;

class FakeHasher implements PasswordHasher {
  readonly cost = 10;
  readonly verified: string[] = [];
  refusal: AuthError | undefined;
  whileVerifying: () => void = () => {};

  async hash(password: string): Promise<string | AuthError> {
    return this.refusal ?? fake(password);
  }

  async verify(password: string, hash: string): Promise<boolean | AuthError> {
    this.verified.push(hash);
    this.whileVerifying();
    return this.refusal ?? (hash === fake(password) || hash === decoyHash(10));
  }
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

describe('a request with a password', () => {
  const add = (fields: object) =>
    hashUserAdd(message(AuthUserAddRequest, { name: 'ada', ...fields }), new FakeHasher());
  const change = (fields: object) =>
    hashUserChangePassword(message(AuthUserChangePasswordRequest, { name: 'ada', ...fields }), new FakeHasher());

  it('has a hash instead before it reaches the log', async () => {
    for (const request of [await add({ password: 'secret' }), await change({ password: 'secret' })]) {
      expect(request).toMatchObject({ name: 'ada', password: '', hashedPassword: base64(fake('secret')) });
    }
  });

  it('may be empty for a new user, as with etcd, and locks out where it is changed to that', async () => {
    expect(await add({})).toMatchObject({ hashedPassword: base64(fake('')) });
    expect(await change({})).toMatchObject({ password: '', hashedPassword: '' });
  });

  it('has none for a user without one, whatever it says', async () => {
    const request = await add({ password: 'x', hashedPassword: base64(fake('x')), options: { noPassword: true } });
    expect(request).toMatchObject({ password: '', hashedPassword: '' });
  });

  it('may bring a hash, if logins can afford it', async () => {
    const hashed = { hashedPassword: base64(fake('x')) };
    expect(await add(hashed)).toMatchObject(hashed);
    expect(await change(hashed)).toMatchObject(hashed);
    for (const bad of ['nonsense', fake('x').replace('$10$', '$31$'), `${fake('x')}x`]) {
      expect(await add({ hashedPassword: base64(bad) })).toBe(E.InvalidAuthManagement);
      expect(await change({ hashedPassword: base64(bad) })).toBe(E.InvalidAuthManagement);
    }
    // The password counts where there are both.
    expect(await add({ password: 'longer', ...hashed })).toMatchObject({ hashedPassword: base64(fake('longer')) });
  });

  it('is refused when nobody can hash now', async () => {
    const hasher = Object.assign(new FakeHasher(), { refusal: E.TooManyRequests });
    expect(await hashUserAdd(message(AuthUserAddRequest, { password: 'x' }), hasher)).toBe(E.TooManyRequests);
  });
});

describe('a login', () => {
  function scene() {
    const store = storeWithRoot(true);
    store.userAdd(newUser('ada', fake('secret')));
    store.userAdd(newUser('cert', '', true));
    store.userAdd(newUser('locked', ''));
    store.userAdd(newUser('dear', fake('secret').replace('$10$', '$31$')));
    const hasher = new FakeHasher();
    return {
      store,
      hasher,
      login: (name: string, password: string) => checkPassword(store, hasher, { name, password }),
    };
  }

  it('is right at a revision', async () => {
    const { store, hasher, login } = scene();
    const { revision } = store;
    hasher.whileVerifying = () => store.roleAdd({ name: 'meanwhile' });
    expect(await login('ada', 'secret')).toEqual({ revision });
    expect(store.revision).toBe(revision + 1n);
  });

  it.each([
    ['a wrong password', 'ada', 'other!!', E.AuthFailed],
    ['nobody', 'x', 'secret', E.AuthFailed],
    ['nobody, with the password that the decoy is of', 'x', '', E.AuthFailed],
    ['a user without a password', 'cert', 'secret', E.NoPasswordUser],
    ['a user who is locked out', 'locked', '', E.AuthFailed],
    ['a hash that would take hours', 'dear', 'secret', E.AuthFailed],
  ])('fails for %s, at the price of one hash of the same cost', async (_, name, password, refusal) => {
    const { hasher, login } = scene();
    expect(await login(name, password)).toBe(refusal);
    expect(hasher.verified).toHaveLength(1);
    expect(hasher.verified[0]).toMatch(/^\$2b\$10\$/);
    expect(isUsableHash(hasher.verified[0]!)).toBe(true);
  });

  it('costs nothing while authentication is off, and tells when nobody can check it now', async () => {
    const { store, hasher, login } = scene();
    hasher.refusal = E.TooManyRequests;
    expect(await login('ada', 'secret')).toBe(E.TooManyRequests);
    store.disable();
    expect(await login('ada', 'secret')).toBe(E.AuthNotEnabled);
    expect(hasher.verified).toHaveLength(1);
  });
});

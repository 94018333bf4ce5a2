/**
 * Logging in with a user and a password.
 *
 * @module
 */

import { Auth } from '../../protocol/generated/etcdserverpb.ts';
import { EtcdError } from '../errors.ts';
import type { Caller, CallTraits } from './caller.ts';

// Twice is as good as once: a second login merely makes a second token.
const LOGIN: CallTraits = { kind: 'read', anonymous: true };

/**
 * Gets a token; `undefined` when the cluster has authentication switched off, in which
 * case calls need none.
 *
 * @throws UnauthenticatedError when the user or the password is wrong.
 */
export async function login(caller: Caller, name: string, password: string): Promise<string | undefined> {
  try {
    const { token } = await caller.unary(Auth.authenticate, { name, password }, LOGIN);
    return token;
  } catch (error) {
    if (error instanceof EtcdError && error.etcdCode === 'AuthNotEnabled') return undefined;
    throw error;
  }
}

/**
 * The flag `--auth-token`: `simple`, or `jwt,sign-method=RS256,pub-key=…,priv-key=…,ttl=5m`.
 *
 * The keys are files. Of a private key alone the public one is derived; with a public key alone tokens are only
 * checked. For an `HS…` method the private key's file is the secret. No error quotes a file.
 *
 * @module
 */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { JwtAlgorithm } from '../auth-io/jwt-tokens.ts';
import type { EtcdServerOptions } from '../options.ts';
import { parseDuration } from './duration.ts';
import { SettingsError } from './errors.ts';

const METHOD = /^(?:(?:RS|PS|HS|ES)(?:256|384|512)|EdDSA)$/;

/** @throws {@link SettingsError} */
export async function parseAuthToken(spec: string): Promise<NonNullable<EtcdServerOptions['authToken']>> {
  const [kind, ...pairs] = spec.split(',');
  if (spec === '' || (kind === 'simple' && pairs.length === 0)) return 'simple';
  if (kind !== 'jwt') throw new SettingsError('auth: invalid auth options');
  const options = new Map<string, string>();
  for (const pair of pairs) {
    const split = pair.indexOf('=');
    const key = split < 0 ? pair : pair.slice(0, split);
    if (split < 0 || options.has(key)) throw new SettingsError('auth: invalid auth options');
    options.set(key, pair.slice(split + 1));
  }
  const algorithm = options.get('sign-method') ?? '';
  if (!METHOD.test(algorithm)) throw new SettingsError('auth: invalid auth options', { 'sign-method': algorithm });
  const ttlMs = parseDuration(options.get('ttl') ?? '5m');
  if (ttlMs === undefined || ttlMs <= 0) throw new SettingsError('auth: invalid auth options', { option: 'ttl' });
  const keys = await readKeys(algorithm, options.get('pub-key'), options.get('priv-key'));
  return { algorithm: algorithm as JwtAlgorithm, ...keys, ttlSeconds: ttlMs / 1_000 };
}

interface Keys {
  readonly signKey?: string | Uint8Array;
  readonly verifyKey: string | Uint8Array;
}

async function readKeys(
  method: string,
  publicPath: string | undefined,
  privatePath: string | undefined,
): Promise<Keys> {
  if (publicPath === undefined && privatePath === undefined)
    throw new SettingsError('auth: invalid auth options', { option: 'pub-key or priv-key' });
  const secret = privatePath === undefined ? undefined : await read(privatePath);
  const shown = publicPath === undefined ? undefined : await read(publicPath);
  if (method.startsWith('HS')) {
    if (secret === undefined) throw new SettingsError('auth: key file is empty', { option: 'priv-key' });
    return { signKey: secret, verifyKey: secret };
  }
  try {
    // Both may be of older forms of PEM than the one that is asked for later; a certificate holds a public key too.
    const verifyKey = createPublicKey((shown ?? secret) as Buffer)
      .export({ type: 'spki', format: 'pem' })
      .toString();
    if (secret === undefined) return { verifyKey };
    return { signKey: createPrivateKey(secret).export({ type: 'pkcs8', format: 'pem' }).toString(), verifyKey };
  } catch {
    throw new SettingsError('auth: the keys for tokens are no keys', { 'sign-method': method });
  }
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new SettingsError(`auth: can't read ${path}: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`);
  }
}

/**
 * Tokens that say all there is to know, signed: JWTs with the claims `username`, `revision` and `exp`.
 *
 * No member remembers one, so none can be taken back: it ends with its time, and for keys with the next change of auth,
 * since its revision is old then. Only the algorithm that was configured counts, whatever a token's header says. Tokens
 * are in no error and in no log.
 *
 * `jose` does the work: no dependencies, the algorithm is pinned by an option, the time of day can be passed in, and
 * signatures are made off the event loop. `jsonwebtoken` makes them on it and brings more than ten packages.
 *
 * Source: RFC 7519; etcd's authentication guide (`--auth-token jwt,…`).
 *
 * @module
 */
import { importPKCS8, importSPKI, jwtVerify, SignJWT } from 'jose';
import { type AuthError, AuthErrors } from '../auth/errors.ts';
import type { Actor } from '../auth/store.ts';
import type { AppliedLogin, TokenProvider } from '../auth/tokens.ts';

/** How tokens may be signed. `none` is not among them. */
export type JwtAlgorithm = `${'RS' | 'PS' | 'HS'}${256 | 384 | 512}` | 'ES256' | 'ES384' | 'ES512' | 'EdDSA';

/** Keys, and how long a token lives. */
export interface JwtOptions {
  readonly algorithm: JwtAlgorithm;
  /** PKCS#8 as PEM, or the secret of an `HS…` algorithm. Without it tokens are only checked. */
  readonly signKey?: string | Uint8Array | undefined;
  /** SPKI as PEM, or the secret of an `HS…` algorithm. */
  readonly verifyKey: string | Uint8Array;
  /** How long a token lives, in seconds. Default: 300, as with etcd. */
  readonly ttlSeconds?: number | undefined;
  /** The time of day, in ms since 1970: what `exp` means is for other machines to know too. */
  readonly timeOfDay: () => number;
}

type Key = Awaited<ReturnType<typeof importSPKI>> | Uint8Array;

export class JwtTokens implements TokenProvider {
  readonly #algorithm: JwtAlgorithm;
  readonly #signKey: Key | undefined;
  readonly #verifyKey: Key;
  readonly #ttlSeconds: number;
  readonly #timeOfDay: () => number;

  private constructor(options: JwtOptions, signKey: Key | undefined, verifyKey: Key) {
    this.#algorithm = options.algorithm;
    this.#signKey = signKey;
    this.#verifyKey = verifyKey;
    this.#ttlSeconds = options.ttlSeconds ?? 300;
    this.#timeOfDay = options.timeOfDay;
  }

  /** Reads the keys. Rejects with a TypeError that tells nothing of them when they are none of the algorithm. */
  static async create(options: JwtOptions): Promise<JwtTokens> {
    const { algorithm, signKey, verifyKey } = options;
    const secret = algorithm.startsWith('HS');
    const read = async (key: string | Uint8Array, pem: typeof importSPKI): Promise<Key> => {
      if (secret) return typeof key === 'string' ? Buffer.from(key) : key;
      return pem(typeof key === 'string' ? key : Buffer.from(key).toString(), algorithm);
    };
    try {
      const sign = signKey === undefined ? undefined : await read(signKey, importPKCS8);
      return new JwtTokens(options, sign, await read(verifyKey, importSPKI));
    } catch {
      throw new TypeError(`the keys for JWTs are none of ${algorithm}`);
    }
  }

  /** Nothing of a JWT is in the log. */
  prefix(): string {
    return '';
  }

  assign(): void {}

  async issue({ username, revision }: AppliedLogin): Promise<string | AuthError> {
    if (!this.#signKey) return AuthErrors.AuthFailed;
    const expiresAt = Math.floor(this.#timeOfDay() / 1_000) + this.#ttlSeconds;
    return new SignJWT({ username, revision: Number(revision) })
      .setProtectedHeader({ alg: this.#algorithm, typ: 'JWT' })
      .setExpirationTime(expiresAt)
      .sign(this.#signKey);
  }

  async resolve(token: string): Promise<Actor | AuthError> {
    const algorithms = [this.#algorithm];
    const currentDate = new Date(this.#timeOfDay());
    try {
      const { payload } = await jwtVerify(token, this.#verifyKey, { algorithms, currentDate, requiredClaims: ['exp'] });
      const { username, revision } = payload;
      if (typeof username !== 'string' || username === '') return AuthErrors.InvalidAuthToken;
      // 0 would mean that nobody asks.
      if (typeof revision !== 'number' || !Number.isSafeInteger(revision) || revision < 1)
        return AuthErrors.InvalidAuthToken;
      return { username, revision: BigInt(revision) };
    } catch {
      return AuthErrors.InvalidAuthToken;
    }
  }

  invalidateUser(): void {}

  reset(): void {}
}

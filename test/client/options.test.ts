import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { type EtcdError, InvalidArgumentError } from '../../src/client/errors.ts';
import { Etcd } from '../../src/client/etcd.ts';
import { type EtcdOptions, resolveOptions } from '../../src/client/options.ts';

const CANARY = 'CANARY-3f1a9c5e7b2d4860';

function refusal(options: unknown): string {
  try {
    resolveOptions(options as EtcdOptions);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(`${inspect(error)} ${JSON.stringify(error)}`).not.toContain('CANARY');
    return (error as Error).message;
  }
  throw new Error('accepted');
}

describe('the options', () => {
  it('have defaults for everything', () => {
    const options = resolveOptions({});
    expect(options).toMatchObject({
      timeoutMs: 5_000,
      connectTimeoutMs: 3_000,
      keepalive: { timeMs: 10_000, timeoutMs: 3_000 },
      requireLeader: true,
      secureByDefault: false,
      maxTxnOps: 128,
      retry: { maxAttempts: 20, initialMs: 25, maxMs: 1_000 },
      autoSync: undefined,
    });
    expect(options.endpoints.map(({ name }) => name)).toEqual(['127.0.0.1:2379']);
  });

  it.each([
    [{ endpoints: [] }, 'endpoints'],
    [{ endpoints: 7 }, 'endpoints'],
    [{ endpoints: 'ftp://host' }, 'ftp://host'],
    [{ endpoints: 'host:99999' }, '99999'],
    [{ endpoints: 'host:2379,other:2379' }, 'several are a list'],
    [{ endpoints: 'http://a:CANARY@host,http://b:CANARY@host' }, 'several are a list'],
    [{ endpoints: '[::g]:1' }, '::g'],
    [{ timeoutMs: 0 }, 'timeoutMs'],
    [{ timeoutMs: '5' }, 'timeoutMs'],
    [{ timeoutMs: Number.NaN }, 'timeoutMs'],
    [{ connectTimeoutMs: -1 }, 'connectTimeoutMs'],
    [{ timeout: 5 }, 'timeout is not an option'],
    [{ retry: { attempts: 3 } }, 'retry.attempts is not an option'],
    [{ retry: { maxAttempts: 0.5 } }, 'retry.maxAttempts'],
    [{ maxReceiveBytes: 2 ** 31 }, 'maxReceiveBytes'],
    [{ keepalive: true }, 'keepalive'],
    [{ autoSync: { intervalMs: 0 } }, 'autoSync'],
    [{ clock: {} }, 'clock'],
    [{ tls: { cert: 'x' } }, 'cert and key go together'],
    [{ tls: { ca: '' } }, 'tls'],
    [null, ''],
  ])('refuse %j and name what is wrong', (options, named) => {
    expect(refusal(options)).toContain(named);
  });

  it('refuse pings that a server would close the connection for, unless it is said to allow them', () => {
    expect(refusal({ keepalive: { timeMs: 4_999 } })).toContain('keepalive.timeMs');
    expect(resolveOptions({ keepalive: { timeMs: 5_000 } }).keepalive.timeMs).toBe(5_000);
    expect(resolveOptions({ keepalive: { timeMs: 100, minTimeMs: 100 } }).keepalive.timeMs).toBe(100);
    expect(resolveOptions({ keepalive: false }).keepalive).toEqual({ timeMs: 0, timeoutMs: 0 });
  });

  it('name everything that is wrong in one error', () => {
    const text = refusal({ timeoutMs: 0, connectTimeoutMs: 0, nonsense: 1 });
    for (const name of ['timeoutMs', 'connectTimeoutMs', 'nonsense']) expect(text).toContain(name);
  });

  it.each([
    [{ auth: { username: 'u', password: 7, token: CANARY } }],
    [{ auth: { username: '', password: CANARY } }],
    [{ auth: { user: 'u', password: CANARY } }],
    [{ auth: { token: 7, password: CANARY } }],
    [{ auth: CANARY }],
    [{ tls: { key: CANARY } }],
    [{ tls: { cert: CANARY, key: CANARY, passphrase: 7 } }],
    [{ tls: CANARY }],
    [{ endpoints: `http://root:${CANARY}@host:2379` }],
    [{ endpoints: `http://root:${CANARY}@ho st` }],
  ])('do not repeat a secret, whatever is wrong: case %#', (options) => {
    expect(refusal(options)).not.toContain('CANARY');
  });
});

describe('a client', () => {
  it('shows no secret to whoever looks at it', async () => {
    for (const auth of [{ username: 'u', password: CANARY }, { token: CANARY }, { token: () => CANARY }]) {
      const etcd = new Etcd({ auth, tls: { ca: CANARY, cert: CANARY, key: CANARY, passphrase: CANARY } });
      const shown = [
        inspect(etcd, { depth: 20, showHidden: true, getters: true }),
        JSON.stringify(etcd, (_key, value: unknown) => (typeof value === 'bigint' ? `${value}` : value)),
        inspect(etcd.endpoints, { depth: 20 }),
        String(etcd),
      ];
      expect(shown.join('\n')).not.toContain('CANARY');
      await etcd.close();
    }
  });

  it('tells no secret in its errors', async () => {
    const auth = { username: 'u', password: CANARY };
    await using plain = new Etcd({ endpoints: '127.0.0.1:1', auth, timeoutMs: 100 });
    await using secure = new Etcd({
      endpoints: 'https://127.0.0.1:1',
      auth: { token: CANARY },
      tls: { cert: `-----BEGIN CERTIFICATE-----\n${CANARY}`, key: CANARY, passphrase: CANARY },
      timeoutMs: 100,
    });
    for (const etcd of [plain, secure]) {
      const error = await etcd.put('k', CANARY).catch((cause: EtcdError) => cause);
      expect(error).toBeInstanceOf(Error);
      expect(`${inspect(error, { depth: 20, showHidden: true })} ${JSON.stringify(error)}`).not.toContain('CANARY');
    }
  });
});

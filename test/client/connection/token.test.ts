import { describe, expect, it } from 'vitest';
import { TokenSource } from '../../../src/client/connection/token.ts';
import { UnauthenticatedError, UnavailableError } from '../../../src/client/errors.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { AUTHENTICATE, FakeCluster, failing, OK, outcome, RANGE } from './fake-cluster.ts';

const CREDENTIALS = { username: 'alice', password: 'secret' };
const BAD_TOKEN = failing(GrpcCode.UNAUTHENTICATED, 'etcdserver: invalid auth token');
const OLD_REVISION = failing(GrpcCode.INVALID_ARGUMENT, 'etcdserver: revision of auth store is old');
const WRONG_PASSWORD = failing(
  GrpcCode.INVALID_ARGUMENT,
  'etcdserver: authentication failed, invalid user ID or password',
);

/** A cluster whose members accept the tokens that `valid` holds, and hand out new ones. */
function guarded(size = 1): { cluster: FakeCluster; valid: Set<string> } {
  const cluster = new FakeCluster(size, { credentials: CREDENTIALS });
  const valid = new Set<string>();
  for (const member of cluster.members) {
    member.reply = (path, call) => {
      if (path === AUTHENTICATE) {
        const token = `token-${++issued}`;
        valid.add(token);
        return { answer: { token } };
      }
      return valid.has(call.metadata['token'] ?? '') ? OK : BAD_TOKEN;
    };
  }
  return { cluster, valid };
}

let issued = 0;

/** A JWT as far as a client looks into it. */
function jwt(lifeMs: number): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'RS256' })}.${part({ exp: (Date.now() + lifeMs) / 1000, id: ++issued })}.signature`;
}

describe('a login', () => {
  it('is one for a hundred first calls', async () => {
    const { cluster } = guarded(3);
    await Promise.all(Array.from({ length: 100 }, () => cluster.read()));
    expect(cluster.count(AUTHENTICATE)).toBe(1);
    expect(cluster.count(RANGE)).toBe(100);
  });

  it('is one for a hundred calls whose token was refused, and each is sent once more', async () => {
    const { cluster, valid } = guarded(3);
    await cluster.warm();
    valid.clear();
    await Promise.all(Array.from({ length: 100 }, () => cluster.write()));
    expect(cluster.count(AUTHENTICATE)).toBe(1);
    expect(cluster.members.flatMap((member) => member.calls).filter(({ path }) => path.endsWith('/Put'))).toHaveLength(
      200,
    );
    expect(cluster.pool.members.every(({ healthy }) => healthy)).toBe(true);
  });

  it('follows a change of roles, which makes every JWT old', async () => {
    const { cluster } = guarded();
    await cluster.warm();
    const [member] = cluster.members;
    const { reply } = member!;
    let refusals = 1;
    member!.reply = (path, call) => (path === RANGE && refusals-- > 0 ? OLD_REVISION : reply(path, call));
    await cluster.read();
    expect(cluster.count(AUTHENTICATE)).toBe(1);
    expect(cluster.count(RANGE)).toBe(2);
  });

  it('is given up after two, when every token is refused', async () => {
    const { cluster } = guarded();
    const [member] = cluster.members;
    member!.reply = (path) => (path === AUTHENTICATE ? { answer: { token: 'useless' } } : BAD_TOKEN);
    await expect(cluster.write()).rejects.toMatchObject({ code: 'unauthenticated', applied: 'no', attempts: 3 });
    expect(cluster.count(AUTHENTICATE)).toBe(3);
  });

  it('with a wrong password fails at once, and is not tried again for half a second', async () => {
    const { cluster } = guarded();
    cluster.members[0]!.reply = (path) => (path === AUTHENTICATE ? WRONG_PASSWORD : OK);
    const calls = Array.from({ length: 50 }, () => outcome(cluster.read()));
    await cluster.clock.settle();
    for (const { error } of calls) expect(error).toBeInstanceOf(UnauthenticatedError);
    expect(cluster.count(AUTHENTICATE)).toBe(1);
    for (let i = 0; i < 100; i++) {
      await expect(cluster.read()).rejects.toBeInstanceOf(UnauthenticatedError);
      await cluster.clock.advance(10);
    }
    expect(cluster.count(AUTHENTICATE)).toBe(2);
    expect(cluster.count(RANGE)).toBe(0);
  });

  it('that nobody answers is tried again while the call has time', async () => {
    const { cluster } = guarded();
    const [member] = cluster.members;
    member!.refuses = 'refused';
    const seen = outcome(cluster.read({ timeoutMs: 20_000 }));
    await cluster.clock.advance(12_000);
    expect(seen.state).toBe('pending');
    member!.refuses = undefined;
    await cluster.clock.advance(3_000);
    expect(seen.state).toBe('resolved');
  });

  it('is not needed when authentication is off', async () => {
    const cluster = new FakeCluster(1, { credentials: CREDENTIALS });
    const off = failing(GrpcCode.FAILED_PRECONDITION, 'etcdserver: authentication is not enabled');
    cluster.members[0]!.reply = (path) => (path === AUTHENTICATE ? off : OK);
    await cluster.read();
    await cluster.read();
    expect(cluster.count(AUTHENTICATE)).toBe(1);
    expect(cluster.members[0]!.callsOf(RANGE).map(({ metadata }) => metadata['token'])).toEqual([undefined, undefined]);
  });

  it('lets the members be asked again that would not answer a stranger', async () => {
    const { cluster, valid } = guarded(2);
    for (const member of cluster.members) {
      const facts = { answer: { header: { clusterId: 42n, memberId: 1n }, ...member.facts } };
      const answerTo = member.answerTo.bind(member);
      member.answerTo = (path, call) =>
        path.endsWith('/Status') ? (valid.has(call.metadata['token'] ?? '') ? facts : BAD_TOKEN) : answerTo(path, call);
    }
    await cluster.read();
    await cluster.clock.settle();
    expect(cluster.pool.members.map(({ facts }) => facts.version)).toEqual(['3.5.30', '3.5.30']);
  });
});

describe('a token', () => {
  it('without a login is used as it is, and never replaced', async () => {
    const cluster = new FakeCluster(1, { credentials: { token: 'fixed' } });
    await cluster.read();
    expect(cluster.members[0]!.callsOf(RANGE)[0]!.metadata['token']).toBe('fixed');
    cluster.members[0]!.reply = () => BAD_TOKEN;
    await expect(cluster.read()).rejects.toMatchObject({ code: 'unauthenticated', attempts: 1 });
  });

  it('from a function is asked for anew when it is refused', async () => {
    let asked = 0;
    const cluster = new FakeCluster(1, { credentials: { token: async () => `mine-${++asked}` } });
    cluster.members[0]!.reply = (_path, call) => (call.metadata['token'] === 'mine-2' ? OK : BAD_TOKEN);
    await Promise.all(Array.from({ length: 20 }, () => cluster.read()));
    expect(asked).toBe(2);
  });

  it.each([
    ['fails', () => Promise.reject(new Error('vault is sealed'))],
    ['gives nothing', () => undefined as unknown as string],
  ])('from a function that %s is an error of its own', async (_what, token) => {
    const cluster = new FakeCluster(1, { credentials: { token } });
    const error = await cluster.read().catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(UnauthenticatedError);
  });

  it('that says when it ends is replaced before, while calls go on with it', async () => {
    const clock = new VirtualClock();
    let logins = 0;
    const tokens = new TokenSource(
      CREDENTIALS,
      async () => {
        logins += 1;
        if (logins > 1) await new Promise<void>((resolve) => clock.after(500, resolve));
        return jwt(10_000);
      },
      clock,
    );
    const first = await tokens.get();
    await clock.advance(7_900);
    expect(tokens.peek()).toMatchObject({ ready: true, token: first });
    expect(logins).toBe(1);
    await clock.advance(200);
    // From four fifths on: the old one is still good, and nobody waits.
    expect(tokens.peek()).toMatchObject({ ready: true, token: first });
    expect(tokens.peek().ready).toBe(true);
    expect(logins).toBe(2);
    await clock.advance(600);
    expect(tokens.peek().token).not.toBe(first);
    expect(logins).toBe(2);
  });

  it('that cannot be replaced in time is used to its end', async () => {
    const clock = new VirtualClock();
    let fail = false;
    let logins = 0;
    const login = async (): Promise<string> => {
      logins += 1;
      if (fail) throw new UnavailableError('nobody there');
      return jwt(10_000);
    };
    const tokens = new TokenSource(CREDENTIALS, login, clock);
    await tokens.get();
    fail = true;
    await clock.advance(9_500);
    for (let i = 0; i < 10; i++) {
      expect(tokens.peek().ready).toBe(true);
      await clock.settle();
    }
    await clock.advance(600);
    expect(tokens.peek().ready).toBe(false);
    await expect(tokens.get()).rejects.toBeInstanceOf(UnavailableError);
    fail = false;
    await tokens.get();
    expect(logins).toBeGreaterThan(2);
  });

  it('that is refused late does not take its successor with it', async () => {
    const clock = new VirtualClock();
    let logins = 0;
    const tokens = new TokenSource(CREDENTIALS, async () => `t${++logins}`, clock);
    const old = await tokens.get();
    tokens.invalidate(old);
    await tokens.get();
    tokens.invalidate(old);
    expect(tokens.peek()).toMatchObject({ ready: true, token: 't2' });
  });
});

describe('a client certificate', () => {
  it('has its call sent again when a member is behind with the roles', async () => {
    const cluster = new FakeCluster(1);
    await cluster.warm();
    let refusals = 1;
    cluster.members[0]!.reply = () => (refusals-- > 0 ? OLD_REVISION : OK);
    await cluster.write();
    cluster.members[0]!.reply = () => OLD_REVISION;
    await expect(cluster.write()).rejects.toMatchObject({ etcdCode: 'AuthOldRevision', applied: 'no', attempts: 3 });
  });
});

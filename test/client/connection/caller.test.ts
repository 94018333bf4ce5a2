import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { AbortError, ClosedError, DeadlineError, InvalidArgumentError } from '../../../src/client/errors.ts';
import { KV } from '../../../src/protocol/generated/etcdserverpb.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { AUTHENTICATE, FakeCluster, failing, OK, outcome, PUT, RANGE } from './fake-cluster.ts';

const BROKEN = failing(GrpcCode.UNAVAILABLE, 'Connection dropped');

describe('a write', () => {
  it('is sent once when its outcome is unknown', async () => {
    const cluster = new FakeCluster(3);
    await cluster.warm();
    for (const member of cluster.members) member.reply = () => BROKEN;
    await expect(cluster.write()).rejects.toMatchObject({ code: 'unavailable', applied: 'maybe', attempts: 1 });
    expect(cluster.count(PUT)).toBe(1);
  });

  it('goes to another member when it provably never left', async () => {
    const cluster = new FakeCluster(3);
    await cluster.warm();
    let refused = 0;
    const refuse = failing(GrpcCode.UNAVAILABLE, 'Stream refused by server', 'no');
    for (const member of cluster.members) member.reply = () => (refused++ < 2 ? refuse : OK);
    await cluster.write();
    expect(cluster.members.map((member) => member.callsOf(PUT).length)).toEqual([1, 1, 1]);
  });

  it('says "no" when nobody could be connected to', async () => {
    const cluster = new FakeCluster(2);
    for (const member of cluster.members) member.refuses = 'refused';
    const put = outcome(cluster.write());
    await cluster.clock.advance(5_000);
    expect(put.error).toMatchObject({ code: 'unavailable', applied: 'no', attempts: 0 });
    expect(cluster.count(PUT)).toBe(0);
  });

  it('keeps "maybe" through what happens after', async () => {
    const cluster = new FakeCluster(1);
    await cluster.warm();
    const [member] = cluster.members;
    member!.reply = () => failing(GrpcCode.UNAVAILABLE, 'etcdserver: request timed out');
    const call = cluster.caller.unary(KV.put, {}, { kind: 'idempotent' });
    const seen = outcome(call);
    await cluster.clock.settle();
    member!.refuses = 'refused';
    member!.cut();
    await cluster.clock.advance(5_000);
    expect(seen.error).toMatchObject({ applied: 'maybe', code: 'deadline' });
    expect(seen.error.message).toContain('may have been applied');
  });

  it('keeps "maybe" when the client is closed between two attempts', async () => {
    const cluster = new FakeCluster(1);
    await cluster.warm();
    cluster.members[0]!.reply = () => failing(GrpcCode.UNAVAILABLE, 'etcdserver: request timed out');
    const seen = outcome(cluster.caller.unary(KV.put, {}, { kind: 'idempotent' }));
    await cluster.clock.settle();
    expect(seen.state).toBe('pending');
    cluster.pool.close();
    await cluster.clock.advance(5_000);
    expect(seen.error).toBeInstanceOf(ClosedError);
    expect(seen.error).toMatchObject({ applied: 'maybe', attempts: 1 });
  });

  it('keeps "maybe" when the login for the next attempt is refused', async () => {
    const cluster = new FakeCluster(1, { credentials: { username: 'u', password: 'p' } });
    const [member] = cluster.members;
    member!.reply = (path) => (path === AUTHENTICATE ? { answer: { token: 't' } } : OK);
    await cluster.warm();
    const replies = [
      failing(GrpcCode.UNAVAILABLE, 'etcdserver: request timed out'),
      failing(GrpcCode.UNAUTHENTICATED, 'etcdserver: invalid auth token'),
    ];
    const refused = failing(
      GrpcCode.INVALID_ARGUMENT,
      'etcdserver: authentication failed, invalid user ID or password',
    );
    member!.reply = (path) => (path === AUTHENTICATE ? refused : (replies.shift() ?? OK));
    const seen = outcome(cluster.caller.unary(KV.put, {}, { kind: 'idempotent' }));
    await cluster.clock.advance(5_000);
    expect(seen.error).toMatchObject({ code: 'unauthenticated', applied: 'maybe', attempts: 2 });
  });

  it('says what is known of another call, if it asks about that', async () => {
    const asks = { kind: 'read', applied: 'maybe' } as const;
    const cluster = new FakeCluster(1);
    cluster.members[0]!.refuses = 'refused';
    const late = outcome(cluster.caller.unary(KV.range, {}, asks));
    const aborted = cluster.caller.unary(KV.range, {}, asks, { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: 'aborted', applied: 'maybe', attempts: 0 });
    await cluster.clock.advance(5_000);
    expect(late.error).toMatchObject({ code: 'deadline', applied: 'maybe', attempts: 0 });
    const waiting = outcome(cluster.caller.unary(KV.range, {}, asks));
    await cluster.clock.settle();
    cluster.pool.close();
    await cluster.clock.settle();
    expect(waiting.error).toMatchObject({ code: 'closed', applied: 'maybe' });
    await expect(cluster.caller.unary(KV.range, {}, asks)).rejects.toMatchObject({ code: 'closed', applied: 'maybe' });
  });
});

describe('a read', () => {
  it('goes on to a member that answers, without a pause', async () => {
    const cluster = new FakeCluster(3);
    await cluster.warm();
    let broken = 0;
    for (const member of cluster.members) member.reply = () => (broken++ < 2 ? BROKEN : OK);
    const startedAt = cluster.clock.now();
    await cluster.read();
    expect(cluster.clock.now()).toBe(startedAt);
    expect(cluster.members.map((member) => member.callsOf(RANGE).length)).toEqual([1, 1, 1]);
  });

  it('leaves half of its time for another member when one is silent', async () => {
    const cluster = new FakeCluster(2);
    await cluster.warm();
    let calls = 0;
    for (const member of cluster.members) member.reply = () => (calls++ === 0 ? 'silence' : OK);
    const seen = outcome(cluster.read());
    await cluster.clock.advance(2_499);
    expect(seen.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(seen.state).toBe('resolved');
    expect(cluster.pool.members.filter(({ healthy }) => healthy)).toHaveLength(1);
    expect(cluster.count(RANGE)).toBe(2);
  });

  it('gives the only member all of its time', async () => {
    const cluster = new FakeCluster(1);
    await cluster.warm();
    cluster.members[0]!.reply = () => 'silence';
    const seen = outcome(cluster.read());
    await cluster.clock.advance(4_999);
    expect(seen.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(seen.error).toBeInstanceOf(DeadlineError);
    expect(cluster.members[0]!.callsOf(RANGE).map(({ timeoutMs }) => timeoutMs)).toEqual([5_000]);
  });

  it('pauses between rounds when the other member cannot serve it', async () => {
    // A healthy learner is another member, but not for a linearizable read.
    const cluster = new FakeCluster(2);
    cluster.members[1]!.facts.isLearner = true;
    await cluster.warm();
    const busy = failing(GrpcCode.RESOURCE_EXHAUSTED, 'etcdserver: too many requests');
    cluster.members[0]!.reply = () => busy;
    const seen = outcome(cluster.read());
    await cluster.clock.advance(0);
    expect(cluster.count(RANGE)).toBe(1);
    await cluster.clock.advance(5_000);
    expect(seen.error).toMatchObject({ code: 'deadline' });
    // 13.75, 27.5, 55 … up to 550 ms: some dozen attempts, not twenty in one moment.
    expect(cluster.count(RANGE)).toBeLessThan(16);
  });

  it('gives up after the most attempts, with the last failure', async () => {
    const cluster = new FakeCluster(1, { retry: { initialMs: 1, maxMs: 1, maxAttempts: 4 } });
    await cluster.warm();
    cluster.members[0]!.reply = () => failing(GrpcCode.RESOURCE_EXHAUSTED, 'etcdserver: too many requests');
    const seen = outcome(cluster.read());
    await cluster.clock.advance(5_000);
    expect(seen.error).toMatchObject({ etcdCode: 'TooManyRequests', attempts: 4, endpoint: 'm1:2379' });
    expect(cluster.count(RANGE)).toBe(4);
  });
});

describe('a deadline', () => {
  it('is 5 s unless the client or the call says otherwise', async () => {
    for (const [client, call, expected] of [
      [undefined, undefined, 5_000],
      [700, undefined, 700],
      [700, 300, 300],
    ] as const) {
      const cluster = new FakeCluster(1, client === undefined ? {} : { timeoutMs: client });
      await cluster.warm();
      cluster.members[0]!.reply = () => 'silence';
      const seen = outcome(cluster.write({ timeoutMs: call }));
      await cluster.clock.advance(expected - 1);
      expect(seen.state).toBe('pending');
      await cluster.clock.advance(1);
      expect(seen.error).toMatchObject({ name: 'DeadlineError', code: 'deadline', applied: 'maybe' });
      expect(cluster.clock.pending.foreground).toBe(0);
    }
  });

  it('ends a wait for a connection, and says what it waited for', async () => {
    const cluster = new FakeCluster(1);
    cluster.members[0]!.refuses = 'hang';
    const seen = outcome(cluster.read({ timeoutMs: 400 }));
    await cluster.clock.advance(400);
    expect(seen.error).toBeInstanceOf(DeadlineError);
    expect(seen.error).toMatchObject({ applied: 'no', attempts: 0 });
    cluster.pool.close();
  });

  it('ends a wait for a leader, and says so', async () => {
    const cluster = new FakeCluster(2);
    for (const member of cluster.members) member.facts.leader = 0n;
    const seen = outcome(cluster.write());
    await cluster.clock.advance(5_000);
    expect(seen.error).toMatchObject({ code: 'deadline', applied: 'no' });
    expect((seen.error.cause as Error).message).toContain('no member has a leader');
    expect(cluster.count(PUT)).toBe(0);
  });

  it('says when there are only learners', async () => {
    const cluster = new FakeCluster(1);
    cluster.members[0]!.facts.isLearner = true;
    const seen = outcome(cluster.read());
    await cluster.clock.advance(5_000);
    expect((seen.error.cause as Error).message).toContain('only learners');
  });

  it.each([0, -1, Number.NaN, '5' as unknown as number])('of %s is refused', async (timeoutMs) => {
    const cluster = new FakeCluster(1);
    await expect(cluster.read({ timeoutMs })).rejects.toBeInstanceOf(InvalidArgumentError);
  });

  it('can be endless', async () => {
    const cluster = new FakeCluster(1);
    cluster.members[0]!.refuses = 'refused';
    const seen = outcome(cluster.read({ timeoutMs: Number.POSITIVE_INFINITY }));
    await cluster.clock.advance(600_000);
    expect(seen.state).toBe('pending');
    cluster.members[0]!.refuses = undefined;
    await cluster.clock.advance(2_000);
    expect(seen.state).toBe('resolved');
    // Down for ten minutes: about one connection a second, not more.
    expect(cluster.members[0]!.connects).toBeLessThan(700);
  });
});

describe('an abort', () => {
  const reason = new Error('the user went away');

  async function aborted(
    arrange: (cluster: FakeCluster) => void,
    options: { cluster?: FakeCluster; afterMs?: number; write?: boolean } = {},
  ): Promise<Error> {
    const { cluster = new FakeCluster(1), afterMs = 10, write = true } = options;
    arrange(cluster);
    const controller = new AbortController();
    const call = write ? cluster.write({ signal: controller.signal }) : cluster.read({ signal: controller.signal });
    const seen = outcome(call);
    await cluster.clock.advance(afterMs);
    expect(seen.state).toBe('pending');
    controller.abort(reason);
    await cluster.clock.settle();
    expect(seen.error).toBeInstanceOf(AbortError);
    expect(seen.error).toMatchObject({ name: 'AbortError', code: 'aborted', cause: reason });
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
    return seen.error;
  }

  it('before the call sends nothing', async () => {
    const cluster = new FakeCluster(1);
    await cluster.warm();
    const call = cluster.write({ signal: AbortSignal.abort(reason) });
    await expect(call).rejects.toMatchObject({ name: 'AbortError', cause: reason, applied: 'no' });
    expect(cluster.count(PUT)).toBe(0);
  });

  it('while connecting says "no"', async () => {
    const error = await aborted((cluster) => {
      cluster.members[0]!.refuses = 'hang';
    });
    expect(error).toMatchObject({ applied: 'no', attempts: 0 });
  });

  it('while nobody can be connected to says "no"', async () => {
    const error = await aborted((cluster) => {
      cluster.members[0]!.refuses = 'refused';
    });
    expect(error).toMatchObject({ applied: 'no', attempts: 0 });
  });

  it('during the login says "no", and does not end the login of others', async () => {
    const cluster = new FakeCluster(1, { credentials: { username: 'u', password: 'p' } });
    let answer = false;
    cluster.members[0]!.reply = (path) =>
      path.endsWith('Authenticate') ? (answer ? { answer: { token: 't' } } : 'silence') : OK;
    const other = outcome(cluster.read({ timeoutMs: 20_000 }));
    const error = await aborted(() => {}, { cluster });
    expect(error).toMatchObject({ applied: 'no', attempts: 0 });
    expect(other.state).toBe('pending');
    answer = true;
    await cluster.clock.advance(6_000);
    expect(other.state).toBe('resolved');
  });

  it('in flight says "maybe" of a write and "no" of a read, and leaves the member in good standing', async () => {
    for (const write of [true, false]) {
      const cluster = new FakeCluster(1);
      await cluster.warm();
      const silent = (): void => {
        cluster.members[0]!.reply = () => 'silence';
      };
      const error = await aborted(silent, { cluster, write });
      expect(error).toMatchObject({ applied: write ? 'maybe' : 'no', attempts: 1 });
      expect(cluster.pool.members[0]!.healthy).toBe(true);
    }
  });

  it('while backing off keeps what is known', async () => {
    const cluster = new FakeCluster(1, { retry: { initialMs: 5_000, maxMs: 5_000, maxAttempts: 20 } });
    await cluster.warm();
    const error = await aborted(
      () => {
        cluster.members[0]!.reply = () => failing(GrpcCode.RESOURCE_EXHAUSTED, 'etcdserver: too many requests');
      },
      { cluster },
    );
    expect(error).toMatchObject({ applied: 'no', attempts: 1 });
  });

  it('leaves no listener on a long-lived signal', async () => {
    const cluster = new FakeCluster(1, { credentials: { username: 'u', password: 'p' } });
    cluster.members[0]!.reply = (path) => (path.endsWith('Authenticate') ? { answer: { token: 't' } } : OK);
    const { signal } = new AbortController();
    let most = 0;
    for (let i = 0; i < 10_000; i++) {
      if (i % 1_000 === 0) cluster.members[0]!.cut();
      if (i % 1_500 === 0) cluster.tokens.invalidate(cluster.tokens.peek().token);
      const call = cluster.read({ signal });
      if (i % 1_000 === 0) await cluster.clock.advance(1_000);
      await call;
      most = Math.max(most, getEventListeners(signal, 'abort').length);
    }
    expect(most).toBe(0);
    expect(cluster.clock.pending.all).toBe(0);
  });
});

describe('closing', () => {
  it('fails what is in flight, what waits, and what comes after', async () => {
    const cluster = new FakeCluster(2);
    await cluster.warm();
    for (const member of cluster.members) member.reply = () => 'silence';
    const write = outcome(cluster.write());
    const read = outcome(cluster.read());
    await cluster.clock.settle();
    cluster.pool.close();
    cluster.pool.close();
    await cluster.clock.settle();
    expect(write.error).toBeInstanceOf(ClosedError);
    expect(write.error).toMatchObject({ applied: 'maybe', attempts: 1 });
    expect(read.error).toMatchObject({ code: 'closed', applied: 'no' });
    await expect(cluster.read()).rejects.toBeInstanceOf(ClosedError);
    expect(cluster.clock.pending.all).toBe(0);
  });

  it('during a connection rejects who waits for it', async () => {
    const cluster = new FakeCluster(1);
    cluster.members[0]!.refuses = 'hang';
    const read = outcome(cluster.read());
    const aimed = outcome(cluster.read({ endpoint: 'm1:2379' }));
    await cluster.clock.settle();
    cluster.pool.close();
    await cluster.clock.settle();
    expect(read.error).toBeInstanceOf(ClosedError);
    expect(aimed.error).toBeInstanceOf(ClosedError);
  });
});

describe('a request', () => {
  it('that cannot be encoded is bad input', async () => {
    const cluster = new FakeCluster(1);
    await cluster.warm();
    const call = cluster.caller.unary(KV.range, { revision: 2n ** 80n }, { kind: 'read' });
    await expect(call).rejects.toBeInstanceOf(InvalidArgumentError);
  });

  it('asks for a leader unless told otherwise', async () => {
    const cluster = new FakeCluster(1);
    await cluster.warm();
    await cluster.read();
    await cluster.read({ requireLeader: false });
    await cluster.serializableRead();
    const asked = cluster.members[0]!.callsOf(RANGE).map(({ metadata }) => metadata['hasleader']);
    expect(asked).toEqual(['true', undefined, undefined]);
  });
});

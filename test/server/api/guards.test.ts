import { describe, expect, it } from 'vitest';
import {
  Auth,
  KV,
  Lease,
  type LeaseKeepAliveRequest,
  Maintenance,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { Health } from '../../../src/protocol/generated/grpc_health_v1.ts';
import { Election } from '../../../src/protocol/generated/v3electionpb.ts';
import { Lock } from '../../../src/protocol/generated/v3lockpb.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import { MemberGuard } from '../../../src/server/api/guards.ts';
import { Identities } from '../../../src/server/api/identity.ts';
import { callOf } from './machine-member.ts';
import { bytes, ELECTION_MS, refusalOf, Served } from './served.ts';

const LED = { metadata: { hasleader: 'true' } };
const NO_LEADER = '14 etcdserver: no leader';
const LEARNER = '14 etcdserver: rpc not supported for learner';

/** What a client sends over a stream, message by message; open until it is ended. */
class Requests implements AsyncIterable<Init<LeaseKeepAliveRequest>> {
  readonly #waiting: ((result: IteratorResult<Init<LeaseKeepAliveRequest>>) => void)[] = [];
  readonly #sent: Init<LeaseKeepAliveRequest>[] = [];

  send(ID: bigint): void {
    const next = this.#waiting.shift();
    if (next) next({ done: false, value: { ID } });
    else this.#sent.push({ ID });
  }

  [Symbol.asyncIterator](): AsyncIterator<Init<LeaseKeepAliveRequest>> {
    return {
      next: () => {
        const sent = this.#sent.shift();
        if (sent) return Promise.resolve({ done: false, value: sent });
        return new Promise((resolve) => this.#waiting.push(resolve));
      },
    };
  }
}

describe('who asks', () => {
  it('is nobody while authentication is off, whatever token is sent', async () => {
    const served = new Served();
    const { header } = await served.call(KV.put, { key: bytes('a') }, { metadata: { token: 'stale.1' } });
    expect(header?.revision).toBe(2n);
    expect(served.member.proposed[0]?.header).toMatchObject({ username: '', authRevision: 0n });
  });

  it('is refused before permissions are looked at: without a token, and with a bad one', async () => {
    const served = new Served();
    const { user } = await served.enableAuth('ann', 'a/');
    const put = (options: object) => refusalOf(served.call(KV.put, { key: bytes('b') }, options));
    expect(await put({})).toBe('3 etcdserver: user name is empty');
    expect(await put({ metadata: { token: 'nonsense' } })).toBe('16 etcdserver: invalid auth token');
    expect(await put(user)).toBe('7 etcdserver: permission denied');
  });

  it('is not asked by what is for everybody: who logs in may bring a token that is over', async () => {
    const served = new Served();
    await served.enableAuth('ann', 'a/');
    const stale = { metadata: { token: 'stale.1' } };
    const login = { name: 'ann', password: 'wrong' };
    expect(await refusalOf(served.call(Auth.authenticate, login, stale))).toMatch(/^3 .*authentication failed/);
    // Of what it is made of, the first asks.
    expect(await refusalOf(served.call(Lock.lock, { name: bytes('l') }, stale))).toBe(
      '2 etcdserver: invalid auth token',
    );
  });

  it('is told by either name of the metadata', async () => {
    const served = new Served();
    const { user } = await served.enableAuth('ann', 'a/');
    const token = user.metadata?.token ?? '';
    for (const authorization of [token, `Bearer ${token}`]) {
      const { header } = await served.call(KV.put, { key: bytes('a/x') }, { metadata: { authorization } });
      expect(header?.revision).toBeGreaterThan(1n);
    }
    expect(served.member.proposed.at(-1)?.header?.username).toBe('ann');
  });

  it('is told by the certificate, if those are checked and there is no token', async () => {
    const put = async (
      clientCertAuth: boolean,
      commonName: string,
      via: 'grpc' | 'gateway' = 'grpc',
      token?: string,
    ) => {
      const served = new Served({ clientCertAuth });
      const { root } = await served.enableAuth('ann', 'a/');
      const metadata = token === 'root' ? (root.metadata ?? {}) : token === undefined ? {} : { token };
      const key = bytes('a/x');
      return refusalOf(served.call(KV.put, { key }, { commonName, via, metadata }));
    };
    expect(await put(true, 'ann')).toBe('not refused');
    expect(await put(false, 'ann')).toBe('3 etcdserver: user name is empty');
    expect(await put(true, 'bob')).toBe('7 etcdserver: permission denied');
    expect(await put(true, '')).toBe('7 etcdserver: permission denied');
    // The token counts, also a bad one.
    expect(await put(true, 'bob', 'grpc', 'root')).toBe('not refused');
    expect(await put(true, 'ann', 'grpc', 'nonsense')).toBe('16 etcdserver: invalid auth token');
    expect(await put(true, 'ann', 'gateway', 'root')).toMatch(
      /^3 CommonName of client sending a request against gateway/,
    );
    expect(await put(true, '', 'gateway')).toBe('3 etcdserver: user name is empty');
  });

  it('refuses maintenance with codes of its own, unlike etcd 3.5', async () => {
    const served = new Served();
    const { user } = await served.enableAuth('ann', 'a/');
    expect(await refusalOf(served.call(Maintenance.defragment))).toBe('3 etcdserver: user name is empty');
    expect(await refusalOf(served.call(Maintenance.hash, {}, user))).toBe('7 etcdserver: permission denied');
    const snapshot = served.stream(Maintenance.snapshot, {}, user);
    expect(await refusalOf(snapshot.ended)).toBe('7 etcdserver: permission denied');
    expect(snapshot.received).toEqual([]);
    expect(await refusalOf(served.call(Maintenance.status, {}, user))).toBe('not refused');
  });

  it('is asked for each message of a stream', async () => {
    const served = new Served();
    const { root, user } = await served.enableAuth('ann', 'a/');
    await served.call(Lease.leaseGrant, { TTL: 60n, ID: 5n }, user);
    const requests = new Requests();
    const stream = served.bidi(Lease.leaseKeepAlive, requests, user);
    requests.send(5n);
    await served.settle();
    expect(stream.received).toMatchObject([{ ID: 5n, TTL: 60n }]);
    await served.call(Auth.userDelete, { name: 'ann' }, root);
    requests.send(5n);
    expect(await refusalOf(stream.ended)).toBe('16 etcdserver: invalid auth token');
  });
});

describe('hasleader', () => {
  it('refuses at once what asks for a leader, and nothing else', async () => {
    const served = new Served();
    served.member.lead(0n);
    expect(await refusalOf(served.call(Maintenance.status, {}, LED))).toBe(NO_LEADER);
    expect(await refusalOf(served.stream(Health.watch, {}, LED).ended)).toBe(NO_LEADER);
    expect(await refusalOf(served.bidi(Lease.leaseKeepAlive, new Requests(), LED).ended)).toBe(NO_LEADER);
    expect(await refusalOf(served.call(Maintenance.status))).toBe('not refused');
  });

  it('cuts streams after three election timeouts without one, and their handlers clean up', async () => {
    const served = new Served();
    const { clock } = served.member;
    const keepAlive = served.bidi(Lease.leaseKeepAlive, new Requests(), LED);
    const observe = served.stream(Election.observe, { name: bytes('e') }, LED);
    const plain = served.stream(Election.observe, { name: bytes('e') });
    await served.settle();
    const ends: string[] = [];
    for (const [name, { ended }] of Object.entries({ keepAlive, observe, plain })) {
      void refusalOf(ended).then((refusal) => ends.push(`${name} ${refusal}`));
    }
    served.member.lead(0n);
    await clock.advance(3 * ELECTION_MS - 1);
    expect(ends).toEqual([]);
    expect(served.member.state.watches.counts.upToDate).toBe(2);
    await clock.advance(1);
    expect(ends).toEqual([`keepAlive ${NO_LEADER}`, `observe ${NO_LEADER}`]);
    expect(served.member.state.watches.counts.upToDate).toBe(1);
    expect(served.member.leaderListeners).toBe(0);
  });

  it('ends the requests of a stream that is cut, so that its handler ends', async () => {
    const { member } = new Served();
    const guard = new MemberGuard(member, {
      identities: new Identities(member, false),
      electionTimeoutMs: ELECTION_MS,
    });
    let done = false;
    const method = guard.bidi(Lease.leaseKeepAlive, async (requests) => {
      for await (const request of requests) expect(request).toBeUndefined();
      done = true;
    });
    if (method.kind !== 'bidi') throw new TypeError(method.kind);
    const call = callOf(Lease.leaseKeepAlive.path, LED);
    const ended = refusalOf(method.handle(new Requests(), call, { send: () => true, drained: async () => {} }));
    member.lead(0n);
    await member.clock.advance(3 * ELECTION_MS);
    expect([await ended, done]).toEqual([NO_LEADER, true]);
  });

  it('forgets the time without a leader when there is one again', async () => {
    const served = new Served();
    const { clock } = served.member;
    const stream = served.stream(Health.watch, {}, LED);
    await served.settle();
    served.member.lead(0n);
    await clock.advance(3 * ELECTION_MS - 1);
    served.member.lead(0x12n);
    expect(clock.pending.all).toBe(0);
    served.member.lead(0n);
    await clock.advance(3 * ELECTION_MS - 1);
    let ended = false;
    void stream.ended.catch(() => {
      ended = true;
    });
    await served.settle();
    expect(ended).toBe(false);
    await clock.advance(1);
    expect(ended).toBe(true);
  });

  it('leaves nothing behind when the client ends the stream', async () => {
    const served = new Served();
    const abort = new AbortController();
    const stream = served.stream(Health.watch, {}, { ...LED, signal: abort.signal });
    await served.settle();
    expect(served.member.leaderListeners).toBe(1);
    served.member.lead(0n);
    abort.abort();
    await stream.ended;
    expect(served.member.leaderListeners).toBe(0);
    expect(served.member.clock.pending.all).toBe(0);
  });
});

describe('a learner', () => {
  it('serves its status, reads of its own, and snapshots', async () => {
    const served = new Served();
    served.member.position = { ...served.member.position, isLearner: true };
    const key = bytes('a');
    expect(await refusalOf(served.call(Maintenance.status))).toBe('not refused');
    expect(await refusalOf(served.call(KV.range, { key, serializable: true }))).toBe('not refused');
    expect(await refusalOf(served.stream(Maintenance.snapshot, {}).ended)).toBe('not refused');
  });

  it('serves nothing else', async () => {
    const served = new Served();
    served.member.position = { ...served.member.position, isLearner: true };
    const key = bytes('a');
    expect(await refusalOf(served.call(KV.range, { key }))).toBe(LEARNER);
    expect(await refusalOf(served.call(KV.put, { key }))).toBe(LEARNER);
    expect(await refusalOf(served.call(Health.check))).toBe(LEARNER);
    expect(await refusalOf(served.stream(KV.rangeStream, { key, serializable: true }).ended)).toBe(LEARNER);
    expect(await refusalOf(served.bidi(Lease.leaseKeepAlive, new Requests()).ended)).toBe(LEARNER);
  });
});

/**
 * Faults that other elections have or had, each by its number: etcd's Go client ("Go"), its users, npm's etcd3, jetcd
 * and Curator. Those of leading by callback are in `election-run`, those that need three members in `three-members`.
 */
import { expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { ElectionView } from '../../recipes/election/view.ts';
import { LostError } from '../../recipes/errors.ts';
import { Session } from '../../recipes/session.ts';
import { ClosedError, Etcd } from '../../src/index.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import {
  compactAll,
  DELETE,
  expectEmpty,
  goKey,
  keysOf,
  Program,
  RANGE,
  stateOf,
  TXN,
  until,
  untilKeys,
  WATCH,
} from './election-support.ts';

describeOnEtcd('elections: named faults of others', (suite) => {
  const newName = (): string => suite.prefix().slice(0, -1);

  it('Go #19597, PR #12547, PR #22387, charts #326, PR #327: a candidate whose lease is gone fails at once, and is never the leader', async () => {
    await using a = await Program.start(suite);
    // Its keepalive would only tell it after twenty seconds.
    await using b = await Program.start(suite, { ttlSeconds: 60 });
    await using c = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const zombie = new Election(b.session, name).campaign();
    await untilKeys(a.etcd, `${name}/`, 2);
    const next = new Election(c.session, name).campaign();
    await untilKeys(a.etcd, `${name}/`, 3);
    await a.etcd.leases.revoke(b.session.id);
    const failure: unknown = await zombie.then(
      () => 'elected',
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(LostError);
    expect(leader.held).toBe(true);
    await leader.resign();
    await (await next).resign();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('Go #19597, charts #326: a candidate that wakes up together with the end of its own lease is no phantom leader', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite, { proxied: true });
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    // What it would learn from watching comes late: it sees the leader gone, and nothing of its own key.
    const candidate = new Election(b.session, name).campaign();
    const outcome = candidate.catch((error: unknown) => error);
    await untilKeys(a.etcd, `${name}/`, 2);
    const [, own] = await new ElectionView(a.etcd, name).candidates();
    await a.etcd.txn({ then: [a.etcd.op.delete(leader.key), a.etcd.op.delete(own!.key)] });
    expect(await outcome).toBeInstanceOf(LostError);
    await until(() => !leader.held);
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('Go #12334, jetcd #833: a candidate stops waiting when its session ends, and a closing session does not wait for it', async () => {
    await using a = await Program.start(suite);
    await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]!.address });
    await using b = await Program.start(suite, { endpoint: proxy.address, ttlSeconds: 1 });
    await using c = await Program.start(suite);
    const name = newName();
    await using leader = await new Election(a.session, name).campaign();
    const cutOff = expect(new Election(b.session, name).campaign()).rejects.toMatchObject({
      code: 'lost',
      reason: 'session',
    });
    await untilKeys(a.etcd, `${name}/`, 2);
    const closing = new Election(c.session, name).campaign();
    const closed = expect(closing).rejects.toMatchObject({ code: 'lost', reason: 'session' });
    await untilKeys(a.etcd, `${name}/`, 3);
    await c.session.close();
    await closed;
    proxy.blackhole();
    await cutOff;
    await untilKeys(a.etcd, `${name}/`, 1);
    expect(leader.held).toBe(true);
    proxy.heal();
  });

  it('Go #21128, #9715: a candidate stays one when the history it waits on is compacted', async () => {
    await using a = await Program.start(suite);
    await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]!.address });
    await using b = await Program.start(suite, { endpoint: proxy.address, ttlSeconds: 30 });
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const waiting = new Election(b.session, name).campaign();
    await untilKeys(a.etcd, `${name}/`, 2);
    proxy.refuse();
    proxy.cut();
    await compactAll(a.etcd);
    await proxy.accept();
    expect(await stateOf(waiting)).toBe('pending');
    proxy.refuse();
    proxy.cut();
    await leader.resign();
    await compactAll(a.etcd);
    await proxy.accept();
    const second = await waiting;
    expect(second.term).toBeGreaterThan(leader.term);
    await second.resign();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('Go #22123: a resignation whose reply is lost is one all the same', async () => {
    await using a = await Program.start(suite, { proxied: true });
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    a.proxy!.rule({ path: DELETE, nth: 1, action: 'swallow-reply' });
    await leader.resign();
    expect(leader.held).toBe(false);
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([]);
    // One that never arrived is sent until it has.
    const again = await new Election(a.session, name).campaign();
    a.proxy!.rule({ path: DELETE, nth: 1, times: 2, action: 'reset-after' });
    await again.resign();
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([]);
  });

  it('Go #18163: an observer that was late names the oldest of several candidates', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite);
    const name = newName();
    // Both arrive after the observer's list and before its watch.
    const rule = a.proxy!.rule({ path: WATCH, nth: 1, action: { delayMs: 300 } });
    const states = new ElectionView(a.etcd, name).observe();
    expect((await states.next()).value).toMatchObject({ kind: 'vacant' });
    const seen = states.next();
    await rule.waitApplied();
    const oldest = await goKey(b.etcd, `${name}/`, 'oldest');
    const younger = await goKey(b.etcd, `${name}/`, 'younger');
    expect((await seen).value).toMatchObject({ kind: 'leader', value: 'oldest', key: oldest.key });
    await states.return(undefined);
    for (const { lease } of [oldest, younger]) await b.etcd.leases.revoke(lease);
  });

  it('npm etcd3: a campaign whose reply is lost, with writes of others in between, is won all the same', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite);
    const name = newName();
    const rule = a.proxy!.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const campaign = new Election(a.session, name).campaign({ value: 'a' });
    await rule.waitApplied();
    await b.etcd.put(`${suite.prefix()}other`, '1');
    const leader = await campaign;
    expect(await keysOf(b.etcd, `${name}/`)).toEqual([leader.key]);
    expect((await b.etcd.get(leader.key))!.createRevision).toBe(leader.term);
    await leader.kv.put(`${name}-data`, 'x');
    await leader.resign();
    await expectEmpty(b.etcd, `${name}/`);
  });

  it('npm etcd3 #158, #176, #110, CURATOR-444: who is cut off knows that it leads no more before the next one leads', async () => {
    await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]!.address });
    await using a = await Program.start(suite, { endpoint: proxy.address, ttlSeconds: 2 });
    await using b = await Program.start(suite);
    const name = newName();
    const first = await new Election(a.session, name).campaign();
    const next = new Election(b.session, name).campaign();
    await untilKeys(b.etcd, `${name}/`, 2);
    const order: string[] = [];
    first.signal.addEventListener('abort', () => order.push('first lost'));
    proxy.blackhole();
    const second = await next;
    order.push('second elected');
    expect(order).toEqual(['first lost', 'second elected']);
    expect(first.held).toBe(false);
    expect(() => first.assertHeld()).toThrow(LostError);
    proxy.heal();
    await expect(first.kv.put(`${name}-data`, 'stale')).rejects.toThrow(LostError);
    await second.kv.put(`${name}-data`, 'fresh');
    expect((await b.etcd.get(`${name}-data`))!.value).toBe('fresh');
  });

  it('npm etcd3 #158: after a restart that left its old candidate behind, the new one leads when that is gone', async () => {
    const name = newName();
    await using b = await Program.start(suite);
    const crashed = await Program.start(suite, { ttlSeconds: 1 });
    const old = await new Election(crashed.session, name).campaign({ value: 'same' });
    await crashed.etcd.close();
    expect(old.held).toBe(false);
    const leader = await new Election(b.session, name).campaign({ value: 'same' });
    expect(await b.etcd.get(old.key)).toBeUndefined();
    expect(leader.term).toBeGreaterThan(old.term);
    await expect(old.kv.put(`${name}-data`, 'stale')).rejects.toThrow();
  });

  it("Go #22082: who has lost its leadership deletes nothing of its session's next one by resigning", async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const election = new Election(a.session, newName());
    const old = await election.campaign();
    await b.etcd.delete(old.key);
    const now = await election.campaign();
    await expect(old.resign()).rejects.toBeInstanceOf(LostError);
    await old[Symbol.asyncDispose]();
    now.assertHeld();
    expect(await keysOf(b.etcd, election.prefix)).toEqual([now.key]);
    await now.resign();
  });

  it('Go: a second campaign of one session is another candidate, and changes nothing of the leader', async () => {
    await using a = await Program.start(suite);
    const election = new Election(a.session, newName());
    const first = await election.campaign({ value: 'first' });
    const second = election.campaign({ value: 'second' });
    await untilKeys(a.etcd, election.prefix, 2);
    expect(await stateOf(second)).toBe('pending');
    expect(await election.leader()).toMatchObject({ value: 'first', term: first.term });
    await first.resign();
    expect((await second).term).toBeGreaterThan(first.term);
    await (await second).resign();
  });

  it("kube-vip PR #1725, Go #7815, PR #7819: an observer's loop never ends without a word", async () => {
    await using a = await Program.start(suite, { proxied: true });
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const closed = new Etcd({ endpoints: suite.cluster.endpoints });
    const states = new ElectionView(closed, name).observe();
    await states.next();
    const ended = expect(states.next()).rejects.toBeInstanceOf(ClosedError);
    await closed.close();
    await ended;
    const denied = { code: 7, message: 'etcdserver: permission denied' };
    const rule = a.proxy!.rule({ path: RANGE, action: { status: denied, forward: false } });
    const refused = new ElectionView(a.etcd, name).observe();
    await expect(refused.next()).rejects.toMatchObject({ code: 'permission-denied' });
    rule.remove();
    // What passes is no end: the watch is broken off, and what it needs to go on is compacted.
    const through = new ElectionView(a.etcd, name).observe();
    expect((await through.next()).value).toMatchObject({ term: leader.term });
    const next = through.next();
    await a.proxy!.waitFor((calls) => calls.some((call) => call.path === WATCH && call.responseMessages >= 2));
    const broken = { afterMessages: 0, ending: 'reset' } as const;
    a.proxy!.rule({ path: WATCH, nth: 1, times: 2, action: broken });
    a.proxy!.cut();
    await leader.proclaim('again');
    await compactAll(a.etcd);
    expect((await next).value).toMatchObject({ term: leader.term, value: 'again' });
    await through.return(undefined);
    await leader.resign();
  });

  it('CURATOR-620, -652, -653, -696: who comes back after its session does not lead by its old key, though that is there', async () => {
    await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]!.address });
    await using a = await Program.start(suite, { endpoint: proxy.address, ttlSeconds: 1 });
    await using b = await Program.start(suite);
    const name = newName();
    const latch = new Election(a.session, name).latch({ value: 'a' });
    const leader = await latch.elected();
    // The server has not got to deleting the key yet: somebody keeps the lease alive.
    const kept = await b.etcd.leases.keepAlive(a.session.id);
    proxy.blackhole();
    await until(() => !leader.held);
    proxy.heal();
    await until(() => latch.error !== undefined);
    expect(latch.leading).toBe(false);
    await expect(leader.kv.put(`${name}-data`, 'late')).rejects.toBeInstanceOf(LostError);
    // Under a new session it stands behind its old self, and behind whoever was there before it.
    const next = new Election(b.session, name).campaign({ value: 'b' });
    await untilKeys(b.etcd, `${name}/`, 2);
    await using session = await Session.open(a.etcd, { ttlSeconds: 10 });
    const again = new Election(session, name).campaign({ value: 'a' });
    await untilKeys(b.etcd, `${name}/`, 3);
    expect(await stateOf(again)).toBe('pending');
    await kept.revoke();
    expect((await next).term).toBeGreaterThan(leader.term);
    expect(await stateOf(again)).toBe('pending');
    await (await next).resign();
    await (await again).resign();
    await expectEmpty(b.etcd, `${name}/`);
  });

  it('CURATOR-504, -644, -645: candidates whose keys vanish before they look stand again, and do not chase each other', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite, { proxied: true });
    await using operator = await Program.start(suite);
    const name = newName();
    const leader = await new Election(operator.session, name).campaign();
    // The one ahead is gone between a candidate's look and its watch.
    const late = [a, b].map(({ proxy }) => proxy!.rule({ path: WATCH, nth: 1, action: { delayMs: 200 } }));
    await using one = new Election(a.session, name).latch({ value: 'a' });
    await using two = new Election(b.session, name).latch({ value: 'b' });
    await untilKeys(operator.etcd, `${name}/`, 3);
    await Promise.all(late.map((rule) => rule.waitApplied()));
    await leader.resign();
    await until(() => one.leading || two.leading);
    // Both lose their keys at one revision.
    const before = a.kvCalls + b.kvCalls;
    await operator.etcd.delete({ prefix: `${name}/` });
    const keys = await untilLed();
    // Each has noticed, has taken its old key away, has entered, and the one behind waits.
    expect(a.kvCalls + b.kvCalls - before).toBeLessThanOrEqual(8);
    expect(await keysOf(operator.etcd, `${name}/`)).toEqual(keys);

    async function untilLed(): Promise<string[]> {
      let found: string[] = [];
      await until(async () => {
        found = await keysOf(operator.etcd, `${name}/`);
        return found.length === 2 && one.leading !== two.leading;
      });
      return found;
    }
  });
});

describeOnEtcd(
  'elections under authentication',
  (suite) => {
    it('Go #17623, jetcd #1336: a candidate that has waited longer than its token lives is elected all the same', async () => {
      const admin = new Etcd({ endpoints: suite.cluster.endpoints });
      await admin.auth.users.add('root', { password: 'secret' });
      await admin.auth.users.grantRole('root', 'root');
      await admin.auth.enable();
      await admin.close();
      const auth = { username: 'root', password: 'secret' };
      await using one = new Etcd({ endpoints: suite.cluster.endpoints, auth });
      await using two = new Etcd({ endpoints: suite.cluster.endpoints, auth });
      await using first = await Session.open(one, { ttlSeconds: 30 });
      await using second = await Session.open(two, { ttlSeconds: 30 });
      const name = suite.prefix().slice(0, -1);
      const leader = await new Election(first, name).campaign();
      const waiting = new Election(second, name).campaign();
      await untilKeys(one, `${name}/`, 2);
      // Every token is gone, as after the time it lives; the leader\'s own call logs in anew.
      await suite.cluster.members[0]!.restart();
      await leader.proclaim('still here');
      await leader.resign();
      const next = await waiting;
      await next.kv.put(`${name}-data`, 'next');
      await next.resign();
    });
  },
  { authTokenTtlSeconds: 1 },
);

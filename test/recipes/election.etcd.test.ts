import { expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { type ElectionState, ElectionView } from '../../recipes/election/view.ts';
import { LostError, WaitTimeoutError } from '../../recipes/errors.ts';
import { AbortError, Etcd } from '../../src/index.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { snapshotResources } from '../support/leaks.ts';
import { compactAll, expectEmpty, keysOf, Program, TXN, until, untilKeys, WATCH } from './election-support.ts';

describeOnEtcd('elections', (suite) => {
  const newName = (): string => suite.prefix().slice(0, -1);

  it('take one round trip to win alone, proclaim, resign, and look; and one to win on waking up', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite, { proxied: true });
    const name = newName();
    const first = new Election(a.session, name);
    const before = a.kvCalls;
    const leader = await first.campaign({ value: 'a' });
    expect(a.kvCalls - before).toBe(1);
    await leader.proclaim('a2');
    expect(a.kvCalls - before).toBe(2);
    expect(await first.leader()).toMatchObject({ kind: 'leader', term: leader.term, value: 'a2', key: leader.key });
    expect(a.kvCalls - before).toBe(3);
    const start = b.kvCalls;
    const waiting = new Election(b.session, name).campaign({ value: 'b' });
    await b.proxy!.waitFor((calls) => calls.some((call) => call.path === WATCH && call.responseMessages >= 2));
    expect(b.kvCalls - start).toBe(1);
    await leader.resign();
    expect(a.kvCalls - before).toBe(4);
    const second = await waiting;
    expect(b.kvCalls - start).toBe(2);
    expect(second.term).toBeGreaterThan(leader.term);
    await second.resign();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('are won in the order of arrival, in growing terms, and a resignation wakes one candidate', async () => {
    const name = newName();
    await using a = await Program.start(suite);
    const leader = await new Election(a.session, name).campaign({ value: '0' });
    const order: string[] = [];
    const terms: bigint[] = [leader.term];
    const programs: Program[] = [];
    const runs: Promise<void>[] = [];
    for (let n = 1; n <= 4; n++) {
      const program = await Program.start(suite, { proxied: true });
      programs.push(program);
      const election = new Election(program.session, name);
      runs.push(
        election.campaign({ value: String(n) }).then(async (won) => {
          order.push(won.value);
          terms.push(won.term);
          await won.resign();
        }),
      );
      await untilKeys(a.etcd, `${name}/`, n + 1);
    }
    expect((await new ElectionView(a.etcd, name).candidates()).map(({ value }) => value)).toEqual([
      '0',
      '1',
      '2',
      '3',
      '4',
    ]);
    await leader.resign();
    await Promise.all(runs);
    expect(order).toEqual(['1', '2', '3', '4']);
    expect(terms).toEqual([...terms].sort((x, y) => (x < y ? -1 : 1)));
    // One to enter, one to confirm: nobody looked in vain.
    for (const { proxy } of programs) expect(proxy!.count(TXN)).toBe(2);
    for (const program of programs) await program[Symbol.asyncDispose]();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('charts #326: are observed: leaders, their values, and vacancies, with terms', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const stop = new AbortController();
    const states = new ElectionView(b.etcd, name).observe({ signal: stop.signal });
    const next = async (): Promise<ElectionState> => (await states.next()).value as ElectionState;
    expect(await next()).toMatchObject({ kind: 'vacant' });
    const leader = await new Election(a.session, name).campaign({ value: 'a' });
    expect(await next()).toMatchObject({ kind: 'leader', term: leader.term, value: 'a' });
    await leader.proclaim('a2');
    expect(await next()).toMatchObject({ kind: 'leader', term: leader.term, value: 'a2' });
    // A candidate that waits changes nothing for observers.
    const upcoming = next();
    const waiting = new Election(b.session, name).campaign({ value: 'b' });
    await untilKeys(a.etcd, `${name}/`, 2);
    await leader.resign();
    const second = await waiting;
    expect(await upcoming).toMatchObject({ kind: 'leader', term: second.term, value: 'b' });
    await second.resign();
    expect(await next()).toMatchObject({ kind: 'vacant' });
    const ended = states.next();
    stop.abort();
    await expect(ended).rejects.toThrow(AbortError);
  });

  it('Go #7815, PR #7819: are observed by a slow reader as they stand, and through a compaction', async () => {
    await using a = await Program.start(suite);
    await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]!.address });
    await using observer = new Etcd({ endpoints: [proxy.address] });
    const name = newName();
    const election = new Election(a.session, name);
    const states = new ElectionView(observer, name).observe();
    const leader = await election.campaign({ value: '0' });
    expect((await states.next()).value).toMatchObject({ value: '0' });
    for (let n = 1; n <= 20; n++) await leader.proclaim(String(n));
    let seen = (await states.next()).value as ElectionState;
    let reads = 1;
    while (seen.kind !== 'leader' || seen.value !== '20') {
      seen = (await states.next()).value as ElectionState;
      reads++;
    }
    expect(reads).toBeLessThanOrEqual(20);
    // While the observer is away, the term changes, and the history that it would need is forgotten.
    proxy.refuse();
    proxy.cut();
    await leader.resign();
    const second = await election.campaign({ value: 'after' });
    await compactAll(a.etcd);
    await proxy.accept();
    let state = (await states.next()).value as ElectionState;
    while (state.kind !== 'leader') state = (await states.next()).value as ElectionState;
    expect(state).toMatchObject({ kind: 'leader', term: second.term, value: 'after' });
    await states.return(undefined);
  });

  it('Consul TestAPI_LockDeleteKey: tell the leader when an operator deletes its key, and do not mistake that for a resignation', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const lost = new Promise<unknown>((resolve) => {
      leader.signal.addEventListener('abort', () => resolve(leader.signal.reason));
    });
    await b.etcd.delete(leader.key);
    expect(await lost).toMatchObject({ reason: 'key-gone' });
    await expect(leader.proclaim('x')).rejects.toThrow(LostError);
    await expect(leader.resign()).rejects.toThrow(LostError);
    expect(a.session.alive).toBe(true);
  });

  it('fence off a leader whose key an operator has written over: the others take it for none', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const old = await new Election(a.session, name).campaign();
    await b.etcd.put(old.key, 'no lease any more');
    const now = await new Election(b.session, name).campaign({ timeoutMs: 5_000 });
    await now.kv.put(`${name}-data`, 'new');
    await expect(old.kv.put(`${name}-data`, 'stale')).rejects.toThrow(LostError);
    expect((await b.etcd.get(`${name}-data`))!.value).toBe('new');
    await now.resign();
    await expectEmpty(b.etcd, `${name}/`);
  });

  it('Go #11456, #11457, #11788: fence the leader’s writes by a term that never changes; without that a deposed leader does harm', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const data = `${name}-data`;
    for (const fenced of [false, true]) {
      const old = await new Election(a.session, name).campaign();
      // Behind its back, and before it can have heard of it.
      const { key, term } = old;
      await old.kv.put(data, 'old');
      const deposed = b.etcd.txn({ then: [b.etcd.op.delete(key)] });
      const write = deposed.then(async () => {
        const now = await new Election(b.session, name).campaign();
        expect(now.term).toBeGreaterThan(term);
        await now.kv.put(data, 'new');
        return now;
      });
      const now = await write;
      if (fenced) await expect(old.kv.put(data, 'stale')).rejects.toThrow(LostError);
      else await a.etcd.put(data, 'stale');
      expect((await b.etcd.get(data))!.value).toBe(fenced ? 'new' : 'stale');
      // Redisson's FencedLock gives a stale holder the token of the next.
      expect(old.term).toBe(term);
      await now.resign();
    }
  });

  it('Go #20418: let the store, and no read, decide about every kind of call of leader.kv', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite);
    const name = newName();
    const root = suite.prefix();
    const leader = await new Election(a.session, name).campaign();
    const kv = leader.kv.keyspace(root);
    const before = a.kvCalls;
    const put = await kv.put('a', '1');
    expect(put.revision).toBeGreaterThan(leader.term);
    const read = await kv.get('a');
    expect(read).toMatchObject({ key: 'a', value: '1', modRevision: put.revision });
    expect((await kv.range({ all: true })).kvs.map(({ key }) => key)).toEqual(['a']);
    const done = await kv.txn({ if: [a.etcd.key(`${root}a`).version.equals(5n)], then: [], else: [kv.op.get('a')] });
    expect(done.succeeded).toBe(false);
    expect((await kv.delete('a', { prevKv: true })).previous[0]!.value).toBe('1');
    expect(a.kvCalls - before).toBe(5);
    // It cannot know yet: no event is let through. The store does.
    a.proxy!.rule({ path: WATCH, action: 'hang' });
    const quiet = await new Election(a.session, `${name}-2`).campaign();
    await b.etcd.delete(quiet.key);
    const fenced = quiet.kv.keyspace(root);
    await expect(fenced.txn({ then: [fenced.op.put('b', '1')] })).rejects.toThrow(LostError);
    for (const call of [
      () => fenced.put('b', '1'),
      () => fenced.get('b'),
      () => fenced.range({ all: true }),
      () => fenced.delete('b'),
    ]) {
      await expect(call()).rejects.toThrow(LostError);
    }
    expect(await keysOf(b.etcd, root)).toEqual([]);
  });

  it('leave nothing behind when a campaign is given up, times out, or is refused', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite, { proxied: true });
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const election = new Election(b.session, name);
    await expect(election.campaign({ timeoutMs: 100 })).rejects.toThrow(WaitTimeoutError);
    await untilKeys(a.etcd, `${name}/`, 1);
    const stop = new AbortController();
    const given = election.campaign({ signal: stop.signal });
    await untilKeys(a.etcd, `${name}/`, 2);
    stop.abort();
    await expect(given).rejects.toThrow(AbortError);
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([leader.key]);
    // Given up while it is unknown whether it had entered.
    const rule = b.proxy!.rule({ path: TXN, nth: 1, action: 'swallow-reply', via: 'hang' });
    const unknown = expect(election.campaign({ timeoutMs: 200 })).rejects.toThrow(WaitTimeoutError);
    await rule.waitApplied();
    await unknown;
    await until(async () => (await keysOf(a.etcd, `${name}/`)).length === 1);
    await expect(election.campaign({ timeoutMs: -1 })).rejects.toMatchObject({ code: 'invalid-argument' });
    await leader.resign();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('website #710, Go #6278, #10354: keep names apart that look nested, and are not disturbed by keys that strayed there', async () => {
    await using a = await Program.start(suite);
    const name = newName();
    await a.etcd.put(`${name}/last-run`, '17');
    await a.etcd.put(`${name}/abc`, 'no lease');
    const inner = await new Election(a.session, `${name}/x`).campaign({ value: 'inner' });
    const outer = await new Election(a.session, name).campaign({ value: 'outer', timeoutMs: 5_000 });
    expect(await new ElectionView(a.etcd, name).leader()).toMatchObject({ value: 'outer' });
    expect(await new ElectionView(a.etcd, `${name}/x`).leader()).toMatchObject({ value: 'inner' });
    await inner.resign();
    await outer.resign();
    expect(await new ElectionView(a.etcd, name).leader()).toBeUndefined();
  });

  it('proclaim in order, also when replies are lost, and keep the key on its lease', async () => {
    await using a = await Program.start(suite, { proxied: true });
    const name = newName();
    const leader = await new Election(a.session, name).campaign({ value: '0' });
    a.proxy!.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    await Promise.all(['1', '2', '3'].map((value) => leader.proclaim(value)));
    expect(leader.value).toBe('3');
    const kv = await a.etcd.get(leader.key);
    expect(kv).toMatchObject({ value: '3', lease: a.session.id, createRevision: leader.term });
    await a.session.close();
    await expect(leader.proclaim('4')).rejects.toThrow(LostError);
  });

  it('leave no timer, socket or listener behind', async () => {
    const before = snapshotResources();
    const name = newName();
    {
      await using a = await Program.start(suite);
      const leader = await new Election(a.session, name).campaign({ health: { check: () => true } });
      const states = new ElectionView(a.etcd, name).observe();
      await states.next();
      await states.return(undefined);
      await leader.handOver({ key: 'nobody', token: (leader.term + 1n) as typeof leader.term });
      await leader.resign();
    }
    await before.expectNothingAdded();
  });
});

import { expect, it } from 'vitest';
import { LostError, WaitTimeoutError } from '../../recipes/errors.ts';
import { Group, type GroupChange } from '../../recipes/membership/group.ts';
import { Membership } from '../../recipes/membership/membership.ts';
import { AbortError, json } from '../../src/index.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { compactAll, DELETE, expectEmpty, keysOf, Program, stateOf, TXN, until } from './election-support.ts';

describeOnEtcd('membership', (suite) => {
  const newName = (): string => suite.prefix().slice(0, -1);

  it('takes one round trip to join, update, leave and look', async () => {
    await using a = await Program.start(suite, { proxied: true });
    const name = newName();
    const group = new Membership(a.session, name, { codec: json<{ zone: string }>() });
    const start = a.kvCalls;
    const me = await group.join({ id: 'w/1', data: { zone: 'a' } });
    expect(a.kvCalls - start).toBe(1);
    await me.update({ zone: 'b' });
    expect(a.kvCalls - start).toBe(2);
    const [seen, ...others] = await group.members();
    expect(a.kvCalls - start).toBe(3);
    expect(others).toEqual([]);
    expect(seen).toMatchObject({ id: 'w/1', data: { zone: 'b' }, lease: a.session.id, key: me.key });
    expect(me.present).toBe(true);
    await me.leave();
    expect(a.kvCalls - start).toBe(4);
    expect(me.present).toBe(false);
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([]);
    await expect(me.update({ zone: 'c' })).rejects.toMatchObject({ code: 'released' });
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([]);
    await expect(group.join({ id: 'x' })).rejects.toMatchObject({ code: 'invalid-argument' });
  });

  it('lists members in the order of their joining, and tells of changes, also to a slow reader', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const first = await new Membership(a.session, name).join({ id: 'z', data: '1' });
    const stop = new AbortController();
    const changes = new Group(b.etcd, name).changes({ signal: stop.signal });
    const next = async (): Promise<unknown[]> => {
      const { type, member } = (await changes.next()).value as GroupChange<string>;
      return [type, member.id, member.data];
    };
    expect(await next()).toEqual(['joined', 'z', '1']);
    const second = await new Membership(b.session, name).join({ id: 'a', data: '2' });
    expect(await next()).toEqual(['joined', 'a', '2']);
    expect((await new Group(a.etcd, name).members()).map(({ id }) => id)).toEqual(['z', 'a']);
    await first.update((before) => `${before}!`);
    expect(await next()).toEqual(['updated', 'z', '1!']);
    // While the reader is away: what came and went is not told, what is, is.
    const passing = await new Membership(b.session, name).join({ id: 'passing' });
    await first.update('x');
    await passing.leave();
    await second.leave();
    await first.update('y');
    const told = new Map<string, unknown[]>();
    while (!(told.has('a') && told.get('z')?.[2] === 'y')) {
      const change = await next();
      told.set(change[1] as string, change);
    }
    expect(told.get('a')).toEqual(['left', 'a', '2']);
    expect(told.get('z')).toEqual(['updated', 'z', 'y']);
    const ended = changes.next();
    stop.abort();
    await expect(ended).rejects.toThrow(AbortError);
  });

  it('gives an id to one member at a time: the next one waits for it, or gives up and leaves nothing', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const first = await new Membership(a.session, name).join({ id: 'w', data: 'first' });
    const second = new Membership(b.session, name);
    await expect(second.join({ id: 'w', timeoutMs: 100 })).rejects.toThrow(WaitTimeoutError);
    await until(async () => (await keysOf(a.etcd, `${name}/`)).length === 1);
    const waiting = second.join({ id: 'w', data: 'second' });
    await until(async () => (await keysOf(a.etcd, `${name}/`)).length === 2);
    expect((await second.members()).map(({ data }) => data)).toEqual(['first']);
    expect(await stateOf(waiting)).toBe('pending');
    await first.leave();
    const me = await waiting;
    expect((await second.members()).map(({ data }) => data)).toEqual(['second']);
    await me.leave();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('comes back when an operator deletes its key, with what it said last, and not after it has left', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const group = new Membership(a.session, name);
    const me = await group.join({ id: 'w', data: '1' });
    await me.update('2');
    for (let n = 0; n < 3; n++) {
      const { key } = me;
      await b.etcd.delete(key);
      await until(async () => (await group.members()).length === 1);
      expect((await group.members())[0]).toMatchObject({ id: 'w', data: '2' });
      expect((await group.members())[0]!.key).not.toBe(key);
      await until(() => me.present);
    }
    expect(me.signal.aborted).toBe(false);
    // Deleted between the update's condition and its knowledge: the update puts it again.
    await b.etcd.delete(me.key);
    await me.update('3');
    expect((await group.members()).map(({ data }) => data)).toEqual(['3']);
    await b.etcd.delete(me.key);
    await me.leave();
    await expectEmpty(a.etcd, `${name}/`);
    expect(me.signal.reason).toMatchObject({ reason: 'released' });
  });

  it('comes back through a compaction and a lost connection', async () => {
    await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]!.address });
    await using a = await Program.start(suite, { endpoint: proxy.address, ttlSeconds: 30 });
    await using b = await Program.start(suite);
    const name = newName();
    const me = await new Membership(a.session, name).join({ id: 'w', data: '1' });
    proxy.refuse();
    proxy.cut();
    await b.etcd.delete(me.key);
    await compactAll(b.etcd);
    await proxy.accept();
    await until(async () => (await new Group(b.etcd, name).members()).length === 1);
    await me.leave();
    await expectEmpty(b.etcd, `${name}/`);
  });

  it('is joined once when the reply is lost, and left for certain', async () => {
    await using a = await Program.start(suite, { proxied: true });
    const name = newName();
    a.proxy!.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const me = await new Membership(a.session, name).join({ id: 'w' });
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([me.key]);
    a.proxy!.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    await me.update('2');
    expect((await a.etcd.get(me.key))!.value).toBe('2');
    a.proxy!.rule({ path: DELETE, nth: 1, action: 'swallow-reply' });
    await me.leave();
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([]);
    const stop = new AbortController();
    const rule = a.proxy!.rule({ path: TXN, nth: 1, action: 'swallow-reply', via: 'hang' });
    const given = new Membership(a.session, name).join({ id: 'w', signal: stop.signal });
    await rule.waitApplied();
    stop.abort();
    await expect(given).rejects.toThrow(AbortError);
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('ends with the session, and says so', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const me = await new Membership(a.session, name).join();
    const lost = new Promise<unknown>((resolve) => {
      me.signal.addEventListener('abort', () => resolve(me.signal.reason));
    });
    await b.etcd.leases.revoke(a.session.id);
    expect(await lost).toMatchObject({ reason: 'session' });
    await expect(me.update('x')).rejects.toThrow(LostError);
    await me.leave();
    expect(await keysOf(b.etcd, `${name}/`)).toEqual([]);
    const other = await new Membership(b.session, name).join();
    await b.session.close();
    expect(other.present).toBe(false);
    expect(await keysOf(b.etcd, `${name}/`)).toEqual([]);
  });

  it('is not confused by keys that strayed into the group', async () => {
    await using a = await Program.start(suite);
    const name = newName();
    await a.etcd.put(`${name}/members/w/notes`, 'x');
    await a.etcd.put(`${name}/members/w/abc-def`, 'no lease');
    await a.etcd.put(`${name}/members/plain`, 'x');
    const me = await new Membership(a.session, name).join({ id: 'w', data: 'me', timeoutMs: 5_000 });
    expect((await new Group(a.etcd, name).members()).map(({ data }) => data)).toEqual(['me']);
    await me.leave();
  });
});

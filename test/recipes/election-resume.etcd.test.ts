/** Leading on after a restart, with the key that the former object has left. */
import { expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { type ElectionState, ElectionView } from '../../recipes/election/view.ts';
import { LostError, WaitTimeoutError } from '../../recipes/errors.ts';
import { Session } from '../../recipes/session.ts';
import { Etcd, type Revision } from '../../src/index.ts';
import { describeOnEtcd, type EtcdSuite } from '../support/fixtures.ts';
import { GrpcFaultProxy } from '../support/grpc-fault-proxy.ts';
import { expectEmpty, keysOf, Program, stateOf, TXN, untilKeys, WATCH } from './election-support.ts';

/** Leads, and is gone without a word: what a process that was killed leaves. */
async function crashed(suite: EtcdSuite, name: string, value = 'first') {
  const program = await Program.start(suite, { ttlSeconds: 30 });
  const { key, term } = await new Election(program.session, name).campaign({ value });
  await program.etcd.close();
  return { key, term, lease: program.session.id };
}

/** The process after its restart, under the lease of the one before. */
async function restarted(suite: EtcdSuite, lease: Session['id']) {
  const proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
  const etcd = new Etcd({ endpoints: [proxy.address] });
  const session = await Session.resume(etcd, lease);
  return {
    etcd,
    session,
    proxy,
    async [Symbol.asyncDispose]() {
      await session.close();
      await etcd.close();
      await proxy[Symbol.asyncDispose]();
    },
  };
}

describeOnEtcd('resuming a leadership', (suite) => {
  const newName = (): string => suite.prefix().slice(0, -1);

  it('keeps the term: one round trip, and neither observers nor candidates notice', async () => {
    await using other = await Program.start(suite, { proxied: true });
    const name = newName();
    const saved = await crashed(suite, name);
    const states = new ElectionView(other.etcd, name).observe();
    const next = async (): Promise<ElectionState> => (await states.next()).value as ElectionState;
    expect(await next()).toMatchObject({ kind: 'leader', term: saved.term });
    const waiting = new Election(other.session, name).campaign({ value: 'second' });
    await untilKeys(other.etcd, `${name}/`, 2);
    const upcoming = next();
    await using again = await restarted(suite, saved.lease);
    const leader = await new Election(again.session, name).resume(saved);
    expect(again.proxy.count(TXN)).toBe(1);
    expect(leader).toMatchObject({ key: saved.key, term: saved.term, value: 'first', held: true });
    await leader.kv.put(`${name}-data`, 'still mine');
    expect(await stateOf(waiting)).toBe('pending');
    await leader.proclaim('first, again');
    expect(await upcoming).toMatchObject({ kind: 'leader', term: saved.term, value: 'first, again' });
    await leader.resign();
    const second = await waiting;
    expect(await next()).toMatchObject({ kind: 'leader', term: second.term });
    await expect(leader.kv.put(`${name}-data`, 'late')).rejects.toBeInstanceOf(LostError);
    await second.resign();
    await states.return(undefined);
    await expectEmpty(other.etcd, `${name}/`);
  });

  it('Go ResumeElection: stays in the same queue, which others campaign in and look at', async () => {
    await using other = await Program.start(suite);
    const name = newName();
    const saved = await crashed(suite, name, 'resumed');
    await using again = await restarted(suite, saved.lease);
    const election = new Election(again.session, name);
    const leader = await election.resume(saved);
    expect(await election.leader()).toMatchObject({ key: saved.key, term: saved.term });
    expect(await election.tryCampaign()).toMatchObject({ elected: false, leader: { key: saved.key } });
    const listener = suite.cluster.spawnEtcdctl(['elect', '-l', name]);
    const heard: string[] = [];
    listener.stdout.setEncoding('utf8').on('data', (text: string) => heard.push(...text.split('\n')));
    while (!heard.includes('resumed')) await stateOf(other.etcd.revision());
    listener.kill('SIGKILL');
    const waiting = new Election(other.session, name).campaign();
    await untilKeys(other.etcd, `${name}/`, 2);
    await leader.resign();
    await (await waiting).resign();
    await expectEmpty(other.etcd, `${name}/`);
  });

  it('is refused, and changes nothing, when one of key, create revision and lease is not that of the record', async () => {
    await using b = await Program.start(suite);
    const name = newName();
    const saved = await crashed(suite, name);
    await using again = await restarted(suite, saved.lease);
    const { key, term } = saved;
    const mine = new Election(again.session, name);
    const before = await b.etcd.revision();
    const gone = { name: 'LostError', reason: 'key-gone' };
    await expect(new Election(b.session, name).resume(saved)).rejects.toMatchObject(gone);
    await expect(mine.resume({ key, term: (term + 1n) as Revision })).rejects.toMatchObject(gone);
    await expect(mine.resume({ key: `${key}0`, term })).rejects.toMatchObject(gone);
    for (const wrong of [`${name}x/abc`, `${name}/last-run`, name]) {
      await expect(mine.resume({ key: wrong, term })).rejects.toMatchObject({ code: 'invalid-argument' });
    }
    expect(await b.etcd.revision()).toBe(before);
    // Written over by an operator, so that it hangs on no lease any more.
    await b.etcd.put(key, '');
    await expect(mine.resume(saved)).rejects.toMatchObject(gone);
    // Deleted, and put back under the right lease: another leader may have been in between.
    await b.etcd.delete(key);
    await b.etcd.put(key, '', { lease: saved.lease });
    await expect(mine.resume(saved)).rejects.toMatchObject(gone);
    expect(await keysOf(b.etcd, `${name}/`)).toEqual([key]);
  });

  it('waits on for a candidate that did not lead yet, in its old place', async () => {
    await using a = await Program.start(suite);
    await using c = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const gone = await Program.start(suite, { ttlSeconds: 30 });
    const lost = new Election(gone.session, name).campaign({ value: 'b' }).catch((error: unknown) => error);
    await untilKeys(a.etcd, `${name}/`, 2);
    const { key, token } = (await new ElectionView(a.etcd, name).candidates())[1]!;
    await gone.etcd.close();
    await lost;
    const third = new Election(c.session, name).campaign({ value: 'c' });
    await untilKeys(a.etcd, `${name}/`, 3);
    await using again = await restarted(suite, gone.session.id);
    const resuming = new Election(again.session, name).resume({ key, term: token });
    await again.proxy.waitFor((calls) => calls.some((call) => call.path === WATCH && call.responseMessages >= 2));
    expect(await stateOf(resuming)).toBe('pending');
    await leader.resign();
    expect(await resuming).toMatchObject({ term: token, value: 'b' });
    expect(await stateOf(third)).toBe('pending');
    await (await resuming).resign();
    await (await third).resign();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('leaves nothing when it waits and is given up', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const key = `${name}/${b.session.id.toString(16)}-0a`;
    const { revision } = await b.etcd.put(key, 'b', { lease: b.session.lease });
    const resuming = new Election(b.session, name).resume({ key, term: revision }, { timeoutMs: 100 });
    await expect(resuming).rejects.toBeInstanceOf(WaitTimeoutError);
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([leader.key]);
    await leader.resign();
  });

  it('leads on though answers are lost, and cannot when the lease has run out', async () => {
    await using a = await Program.start(suite);
    const name = newName();
    const saved = await crashed(suite, name);
    {
      await using again = await restarted(suite, saved.lease);
      again.proxy.rule({ path: TXN, nth: 1, times: 2, action: 'swallow-reply' });
      const leader = await new Election(again.session, name).resume(saved);
      await leader.kv.put(`${name}-data`, 'mine');
      expect(await keysOf(a.etcd, `${name}/`)).toEqual([saved.key]);
    }
    await expectEmpty(a.etcd, `${name}/`);
    await expect(Session.resume(a.etcd, saved.lease)).rejects.toMatchObject({ code: 'lease-not-found' });
    await expect(new Election(a.session, name).resume(saved)).rejects.toBeInstanceOf(LostError);
  });
});

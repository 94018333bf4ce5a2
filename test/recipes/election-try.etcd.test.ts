/** Standing for election without waiting. */
import { expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { UnhealthyError } from '../../recipes/election/health.ts';
import type { Leadership } from '../../recipes/election/leadership.ts';
import { AbortError } from '../../src/index.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { expectEmpty, goKey, keysOf, Program, TXN, untilKeys } from './election-support.ts';

describeOnEtcd('trying to be elected', (suite) => {
  const newName = (): string => suite.prefix().slice(0, -1);

  it('takes one round trip, won or refused; a refusal writes nothing and tells who leads', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite, { proxied: true });
    const name = newName();
    const won = await new Election(a.session, name).tryCampaign({ value: 'a' });
    if (!won.elected) throw new Error('nobody else was there');
    expect(a.kvCalls).toBe(1);
    expect(won.leadership.value).toBe('a');
    await won.leadership.kv.put(`${name}-data`, 'mine');
    const before = await a.etcd.revision();
    const refused = await new Election(b.session, name).tryCampaign({ value: 'b' });
    expect(b.kvCalls).toBe(1);
    const { key, term } = won.leadership;
    expect(refused).toEqual({ elected: false, leader: { kind: 'leader', key, term, value: 'a', revision: term } });
    expect(await a.etcd.revision()).toBe(before);
    await won.leadership.resign();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('is refused by candidates of Go, and not by keys that have strayed there', async () => {
    await using a = await Program.start(suite);
    const name = newName();
    const election = new Election(a.session, name);
    await a.etcd.put(`${name}/last-run`, '17');
    const stray = await goKey(a.etcd, `${name}/x/`, 'of another election');
    const won = await election.tryCampaign();
    expect(won.elected).toBe(true);
    if (won.elected) await won.leadership.resign();
    const go = await goKey(a.etcd, `${name}/`, 'go');
    expect(await election.tryCampaign()).toMatchObject({ elected: false, leader: { value: 'go', key: go.key } });
    for (const { lease } of [stray, go]) await a.etcd.leases.revoke(lease);
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([`${name}/last-run`]);
  });

  it('has one winner of many at once, and the others leave nothing', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const tries = Array.from({ length: 20 }, (_, n) =>
      new Election((n % 2 === 0 ? a : b).session, name).tryCampaign({ value: String(n) }),
    );
    const results = await Promise.all(tries);
    const won = results.flatMap((result): Leadership[] => (result.elected ? [result.leadership] : []));
    expect(won).toHaveLength(1);
    const told = results.flatMap((result) => (result.elected ? [] : [result.leader.term]));
    expect(told).toEqual(Array.from({ length: 19 }, () => won[0]!.term));
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([won[0]!.key]);
    await won[0]!.resign();
  });

  it('is certain when answers are lost: leads with the key that entered, or has left none', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite, { proxied: true });
    const name = newName();
    a.proxy!.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    const won = await new Election(a.session, name).tryCampaign();
    if (!won.elected) throw new Error('nobody else was there');
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([won.leadership.key]);
    b.proxy!.rule({ path: TXN, nth: 1, action: 'swallow-reply' });
    expect(await new Election(b.session, name).tryCampaign()).toMatchObject({ elected: false });
    // Given up while it is not known whether it has entered.
    await won.leadership.resign();
    const stop = new AbortController();
    const rule = b.proxy!.rule({ path: TXN, nth: 1, action: 'swallow-reply', via: 'hang' });
    const given = new Election(b.session, name).tryCampaign({ signal: stop.signal });
    await rule.waitApplied();
    await untilKeys(a.etcd, `${name}/`, 1);
    stop.abort();
    await expect(given).rejects.toBeInstanceOf(AbortError);
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('does not stand when it is not healthy, and resigns when it no longer is', async () => {
    await using a = await Program.start(suite, { proxied: true });
    const name = newName();
    const election = new Election(a.session, name);
    let healthy = false;
    const health = { check: () => healthy, intervalMs: 10, failures: 2 };
    await expect(election.tryCampaign({ health })).rejects.toBeInstanceOf(UnhealthyError);
    expect(a.kvCalls).toBe(0);
    const stop = new AbortController();
    const unanswered = { check: () => new Promise<boolean>(() => stop.abort()) };
    const given = election.tryCampaign({ health: unanswered, signal: stop.signal });
    await expect(given).rejects.toBeInstanceOf(AbortError);
    healthy = true;
    const won = await election.tryCampaign({ health });
    if (!won.elected) throw new Error('nobody else was there');
    healthy = false;
    await expectEmpty(a.etcd, `${name}/`);
    expect(won.leadership.signal.reason).toMatchObject({ reason: 'released', cause: expect.any(UnhealthyError) });
  });

  it('is refused by a session that is over, a signal that has fired, and a value that is none', async () => {
    await using a = await Program.start(suite);
    const election = new Election(a.session, newName());
    await expect(election.tryCampaign({ value: 1 as never })).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(election.tryCampaign({ signal: AbortSignal.abort() })).rejects.toBeInstanceOf(AbortError);
    await a.session.close();
    await expect(election.tryCampaign()).rejects.toMatchObject({ code: 'lease-lost' });
  });
});

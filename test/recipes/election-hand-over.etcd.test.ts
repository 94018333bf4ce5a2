import { expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { orderKey } from '../../recipes/election/hand-over.ts';
import type { Leadership } from '../../recipes/election/leadership.ts';
import type { ElectionCandidate } from '../../recipes/election/view.ts';
import { LostError, WaitTimeoutError } from '../../recipes/errors.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { compactAll, expectEmpty, goKey, keysOf, Program, TXN, until, untilKeys } from './election-support.ts';

describeOnEtcd('handing over', (suite) => {
  const newName = (): string => suite.prefix().slice(0, -1);

  /** Candidates that resign as soon as they lead; `won` has their values in order. */
  async function queue(a: Program, name: string, programs: readonly Program[], first = 1) {
    const won: Leadership[] = [];
    const runs: Promise<void>[] = [];
    let n = first;
    for (const program of programs) {
      const value = String(n);
      runs.push(
        new Election(program.session, name).campaign({ value }).then(async (leader) => {
          won.push(leader);
          await leader.resign();
        }),
      );
      n++;
      await untilKeys(a.etcd, `${name}/`, n);
    }
    return { won, done: Promise.all(runs) };
  }

  async function named(a: Program, name: string, value: string): Promise<ElectionCandidate> {
    const candidates = await new Election(a.session, name).candidates();
    return candidates.find((candidate) => candidate.value === value)!;
  }

  it('makes the named candidate the next leader; the others come after it, in later terms', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite);
    await using c = await Program.start(suite, { proxied: true });
    await using d = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign({ value: '0' });
    const { won, done } = await queue(a, name, [b, b, c, d]);
    expect(await leader.handOver(await named(a, name, '3'))).toBe(true);
    expect(leader.held).toBe(false);
    await done;
    expect(won.map(({ value }) => value)[0]).toBe('3');
    expect(won.map(({ value }) => value).sort()).toEqual(['1', '2', '3', '4']);
    // The one behind was not woken and kept its place: right behind the successor.
    expect(won[1]!.value).toBe('4');
    const terms = [leader.term, ...won.map(({ term }) => term)];
    expect(terms).toEqual([...terms].sort((x, y) => (x < y ? -1 : 1)));
    await expectEmpty(a.etcd, `${name}/`);
    expect(await a.etcd.get(orderKey(`${name}/`))).toBeUndefined();
  });

  it('is three round trips when the named candidate is next anyway, and writes nothing to it', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite, { proxied: true });
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const { won, done } = await queue(a, name, [b]);
    const to = await named(a, name, '1');
    const before = a.kvCalls;
    expect(await leader.handOver(to)).toBe(true);
    expect(a.kvCalls - before).toBe(3);
    await done;
    expect(won[0]!.term).toBe(to.token);
    expect(b.proxy!.count(TXN)).toBe(2);
  });

  it('falls back: waits for candidates that do not step back as long as it may, and leads on', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const go = await goKey(b.etcd, `${name}/`, 'go');
    const { won, done } = await queue(a, name, [b], 2);
    const to = await named(a, name, '2');
    await expect(leader.handOver(to, { timeoutMs: 200 })).rejects.toThrow(WaitTimeoutError);
    leader.assertHeld();
    await leader.kv.put(`${name}-data`, 'still mine');
    expect(await a.etcd.get(orderKey(`${name}/`))).toBeUndefined();
    const trying = leader.handOver(to);
    await until(async () => (await a.etcd.get(orderKey(`${name}/`))) !== undefined);
    await expect(leader.handOver(to)).rejects.toMatchObject({ code: 'held-by-another' });
    await b.etcd.leases.revoke(go.lease);
    expect(await trying).toBe(true);
    await done;
    expect(won[0]!.term).toBe(to.token);
    await a.etcd.delete(`${name}-data`);
  });

  it('leads on when the named candidate has left, or leaves meanwhile', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const go = await goKey(b.etcd, `${name}/`, 'in the way');
    const stop = new AbortController();
    const candidate = new Election(b.session, name).campaign({ value: 'named', signal: stop.signal });
    const gone = expect(candidate).rejects.toThrow();
    await untilKeys(a.etcd, `${name}/`, 3);
    const to = await named(a, name, 'named');
    const trying = leader.handOver(to);
    await until(async () => (await a.etcd.get(orderKey(`${name}/`))) !== undefined);
    stop.abort();
    await gone;
    expect(await trying).toBe(false);
    expect(await leader.handOver(to)).toBe(false);
    leader.assertHeld();
    await expect(leader.handOver({ key: leader.key, token: leader.term })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    await b.etcd.leases.revoke(go.lease);
    await leader.resign();
    await expectEmpty(a.etcd, `${name}/`);
    expect(await a.etcd.get(orderKey(`${name}/`))).toBeUndefined();
  });

  it('ends when the leader is deposed, and survives lost replies and compactions', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite, { proxied: true });
    await using c = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const { won, done } = await queue(a, name, [b, c]);
    // The order, the waking, and the stepping back are each applied without an answer.
    a.proxy!.rule({ path: TXN, nth: 1, times: 3, action: 'swallow-reply' });
    b.proxy!.rule({ path: TXN, nth: 2, action: 'swallow-reply' });
    const handing = leader.handOver(await named(a, name, '2'));
    await compactAll(c.etcd);
    expect(await handing).toBe(true);
    await done;
    expect(won.map(({ value }) => value)).toEqual(['2', '1']);
    const deposed = await new Election(a.session, name).campaign();
    const go = await goKey(c.etcd, `${name}/`);
    const late = new Election(b.session, name).campaign({ value: 'late' });
    await untilKeys(c.etcd, `${name}/`, 3);
    const trying = deposed.handOver(await named(a, name, 'late'));
    await until(async () => (await c.etcd.get(orderKey(`${name}/`))) !== undefined);
    await c.etcd.delete(deposed.key);
    await expect(trying).rejects.toThrow(LostError);
    await until(async () => (await c.etcd.get(orderKey(`${name}/`))) === undefined);
    await c.etcd.leases.revoke(go.lease);
    await (await late).resign();
    await expectEmpty(c.etcd, `${name}/`);
  });

  it('never has a candidate that steps back in the queue without a key, or with two when it is given up', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite, { proxied: true });
    await using c = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const stop = new AbortController();
    const stepping = new Election(b.session, name).campaign({ value: 'stepping', signal: stop.signal });
    const given = expect(stepping).rejects.toThrow();
    await untilKeys(a.etcd, `${name}/`, 2);
    const named3 = new Election(c.session, name).campaign({ value: 'named' });
    await untilKeys(a.etcd, `${name}/`, 3);
    const counts: number[] = [];
    const rule = b.proxy!.rule({ path: TXN, nth: 2, action: 'swallow-reply', via: 'hang' });
    const handing = leader.handOver(await named(a, name, 'named'));
    await rule.waitApplied();
    counts.push((await keysOf(a.etcd, `${name}/`)).length);
    stop.abort();
    await given;
    expect(await handing).toBe(true);
    const successor = await named3;
    await untilKeys(a.etcd, `${name}/`, 1);
    expect(counts.every((count) => count === 3 || count === 2)).toBe(true);
    await successor.resign();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('lets a candidate that has stepped back give up from its new place', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign();
    const go = await goKey(b.etcd, `${name}/`, 'in the way');
    const stop = new AbortController();
    const stepping = new Election(b.session, name).campaign({ value: 'stepping', signal: stop.signal });
    const given = expect(stepping).rejects.toThrow();
    await untilKeys(a.etcd, `${name}/`, 3);
    const next = new Election(b.session, name).campaign({ value: 'named' });
    await untilKeys(a.etcd, `${name}/`, 4);
    const to = await named(a, name, 'named');
    const handing = leader.handOver(to);
    await until(async () => (await named(a, name, 'stepping')).token > to.token);
    stop.abort();
    await given;
    expect(await keysOf(a.etcd, `${name}/`)).toHaveLength(3);
    await b.etcd.leases.revoke(go.lease);
    expect(await handing).toBe(true);
    await (await next).resign();
    await expectEmpty(a.etcd, `${name}/`);
  });
});

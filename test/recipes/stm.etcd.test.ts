/** The STM on real etcd: what each level promises, phantoms, and the named faults of other STMs. */
import { expect, it } from 'vitest';
import { type Isolation, type StmTransaction, stm } from '../../recipes/stm/stm.ts';
import { Etcd, EtcdError, json } from '../../src/index.ts';
import { errorOf } from '../conformance/helpers.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { countCalls, GRANT, grpcProxy, RANGE, TXN } from './lock-bed.ts';

const LEVELS = ['serializable-snapshot', 'serializable', 'repeatable-reads', 'read-committed'] as const;

/** Does something once, in the first attempt. */
function once(tx: StmTransaction, act: () => Promise<unknown>): Promise<unknown> {
  return tx.attempt === 1 ? act() : Promise.resolve();
}

describeOnEtcd('stm', (suite) => {
  const open = (): Etcd => new Etcd({ endpoints: suite.cluster.endpoints });
  const textAt = async (etcd: Etcd, key: string): Promise<string | undefined> => (await etcd.get(key))?.value;

  it('takes one round trip for reads of one turn, and one for the commit', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    const p = suite.prefix();
    await etcd.put(`${p}a`, '100');
    const transfer = () =>
      stm(etcd, async (tx) => {
        const [a, b] = await Promise.all([tx.get(`${p}a`), tx.get(`${p}b`)]);
        tx.put(`${p}a`, String(Number(a) - 10));
        tx.put(`${p}b`, String(Number(b ?? 0) + 10));
        return tx.get(`${p}b`);
      });
    expect(await transfer()).toMatchObject({ value: '10', attempts: 1 });
    const counted = countCalls(proxy);
    const grants = proxy.count(GRANT);
    const done = await transfer();
    expect(done).toMatchObject({ value: '20', attempts: 1 });
    expect(counted()).toEqual({ [TXN]: 2 });
    expect([grants, proxy.count(GRANT)]).toEqual([1, 1]);
    expect((await etcd.get(`${p}a`))?.modRevision).toBe(done.revision);
    expect(await textAt(etcd, `${p}a`)).toBe('80');
  });

  it('reads without a commit when it writes nothing, and still at one revision', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    await using other = open();
    const p = suite.prefix();
    await other.txn({ then: [other.op.put(`${p}a`, '1'), other.op.put(`${p}b`, '1')] });
    const counted = countCalls(proxy);
    const { value, attempts } = await stm(etcd, async (tx) => {
      const a = await tx.get(`${p}a`);
      await other.txn({ then: [other.op.put(`${p}a`, '2'), other.op.put(`${p}b`, '2')] });
      const listed = await tx.range({ prefix: p });
      return [a, await tx.get(`${p}b`), ...listed.map((entry) => entry.value)];
    });
    expect({ value, attempts }).toEqual({ value: ['1', '1', '1', '1'], attempts: 1 });
    expect(counted()).toEqual({ [RANGE]: 2 });
  });

  it('retries with what the refusal brought along: the commit is all that a retry costs', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    await using other = open();
    const p = suite.prefix();
    await stm(etcd, (tx) => tx.put(`${p}warm`, ''));
    const counted = countCalls(proxy);
    const { attempts } = await stm(etcd, async (tx) => {
      const [n] = await Promise.all([tx.get(`${p}n`), tx.get(`${p}m`)]);
      const listed = await tx.range({ prefix: `${p}l/` });
      await once(tx, () => other.txn({ then: [other.op.put(`${p}n`, '5'), other.op.put(`${p}l/1`, 'x')] }));
      tx.put(`${p}sum`, `${n ?? 0} ${listed.length}`);
    });
    expect(attempts).toBe(2);
    expect(counted()).toEqual({ [TXN]: 3, [RANGE]: 1 });
    expect(await textAt(etcd, `${p}sum`)).toBe('5 1');
  });

  it.each([
    // [what another does between read and commit, attempts at each level]
    ['changes what was read', 'read', [2, 2, 2, 1]],
    ['deletes what was read (Go #7184)', 'delete', [2, 2, 2, 1]],
    ['creates what was read and missing', 'create', [2, 2, 2, 1]],
    ['changes what is only written', 'written', [2, 1, 1, 1]],
    ['changes something else', 'else', [1, 1, 1, 1]],
  ] as const)('levels: another %s', async (_what, act, expected) => {
    await using etcd = open();
    const attempts: number[] = [];
    for (const isolation of LEVELS) {
      const p = suite.prefix();
      await etcd.put(`${p}read`, 'r');
      await etcd.put(`${p}written`, 'w');
      const acts = {
        read: () => etcd.put(`${p}read`, 'r'),
        delete: () => etcd.delete(`${p}read`),
        create: () => etcd.put(`${p}missing`, ''),
        written: () => etcd.put(`${p}written`, 'w'),
        else: () => etcd.put(`${p}else`, ''),
      };
      const done = await stm(
        etcd,
        async (tx) => {
          await Promise.all([tx.get(`${p}read`), tx.get(`${p}missing`)]);
          await once(tx, acts[act]);
          tx.put(`${p}written`, 'mine');
        },
        { isolation },
      );
      attempts.push(done.attempts);
      expect(await textAt(etcd, `${p}written`)).toBe('mine');
    }
    expect(attempts).toEqual(expected);
  });

  it('levels: which of them show one revision while others write', async () => {
    await using etcd = open();
    const seen: Partial<Record<Isolation, unknown>> = {};
    for (const isolation of LEVELS) {
      const p = suite.prefix();
      await etcd.txn({ then: [etcd.op.put(`${p}a`, '1'), etcd.op.put(`${p}b`, '1')] });
      await stm(
        etcd,
        async (tx) => {
          const a = await tx.get(`${p}a`);
          await once(tx, () => etcd.txn({ then: [etcd.op.put(`${p}a`, '2'), etcd.op.put(`${p}b`, '2')] }));
          seen[isolation] ??= [a, await tx.get(`${p}b`), await tx.get(`${p}a`)];
          tx.put(`${p}done`, '');
        },
        { isolation },
      );
    }
    expect(seen).toEqual({
      'serializable-snapshot': ['1', '1', '1'],
      serializable: ['1', '1', '1'],
      'repeatable-reads': ['1', '2', '1'],
      'read-committed': ['1', '2', '1'],
    });
  });

  // Go #7383, #9188 have no ranges; pachyderm PR #3718 had to add what a deletion needs.
  it.each([
    ['inserted', (etcd: Etcd, p: string) => etcd.put(`${p}l/b`, '')],
    ['inserted at the end', (etcd: Etcd, p: string) => etcd.put(`${p}l/zzz`, '')],
    ['deleted', (etcd: Etcd, p: string) => etcd.delete(`${p}l/a`)],
    ['changed', (etcd: Etcd, p: string) => etcd.put(`${p}l/c`, 'new')],
    [
      'deleted and put back',
      async (etcd: Etcd, p: string) => {
        await etcd.delete(`${p}l/a`);
        await etcd.put(`${p}l/a`, '1');
      },
    ],
  ] as const)('sees a phantom: a key of a range is %s', async (_what, act) => {
    await using etcd = open();
    for (const isolation of LEVELS) {
      const p = suite.prefix();
      for (const key of ['a', 'c']) await etcd.put(`${p}l/${key}`, '1');
      const { attempts } = await stm(
        etcd,
        async (tx) => {
          const all = await tx.range({ prefix: `${p}l/` });
          await once(tx, () => act(etcd, p));
          tx.put(`${p}count`, String(all.length));
        },
        { isolation },
      );
      expect({ isolation, attempts }).toEqual({ isolation, attempts: isolation === 'read-committed' ? 1 : 2 });
      if (isolation === 'read-committed') continue;
      expect(await textAt(etcd, `${p}count`)).toBe(String(await etcd.count({ prefix: `${p}l/` })));
    }
  });

  it('guards an empty range, and a limited one as far as its last key and no further', async () => {
    await using etcd = open();
    const p = suite.prefix();
    const attemptsWhen = async (
      act: () => Promise<unknown>,
      target: Parameters<StmTransaction['range']>[0],
      options?: Parameters<StmTransaction['range']>[1],
    ): Promise<number> => {
      const { attempts } = await stm(etcd, async (tx) => {
        await tx.range(target, options);
        await once(tx, act);
        tx.put(`${p}out`, '');
      });
      return attempts;
    };
    expect(await attemptsWhen(() => etcd.put(`${p}empty/x`, ''), { prefix: `${p}empty/` })).toBe(2);
    for (const key of ['b', 'd', 'f', 'h']) await etcd.put(`${p}l/${key}`, '');
    const all = { prefix: `${p}l/` };
    expect(await attemptsWhen(() => etcd.put(`${p}l/e`, ''), all, { limit: 2 })).toBe(1);
    expect(await attemptsWhen(() => etcd.delete(`${p}l/h`), all, { limit: 2 })).toBe(1);
    expect(await attemptsWhen(() => etcd.put(`${p}l/a`, ''), all, { limit: 2 })).toBe(2);
    expect(await attemptsWhen(() => etcd.delete(`${p}l/b`), all, { limit: 2 })).toBe(2);
    // Now a d e f are there.
    expect(await attemptsWhen(() => etcd.put(`${p}l/b`, ''), all, { limit: 2, order: 'descending' })).toBe(1);
    expect(await attemptsWhen(() => etcd.put(`${p}l/g`, ''), all, { limit: 2, order: 'descending' })).toBe(2);
    expect(await attemptsWhen(() => etcd.delete(`${p}l/f`), all, { limit: 2, order: 'descending' })).toBe(2);
    expect(await attemptsWhen(() => etcd.put(`${p}l/e`, ''), { from: `${p}l/a`, to: `${p}l/e` })).toBe(1);
    expect(await attemptsWhen(() => etcd.put(`${p}l/dd`, ''), { from: `${p}l/a`, to: `${p}l/e` })).toBe(2);
    // A key can be named alone, and it ends where the next begins.
    expect(await attemptsWhen(() => etcd.put(`${p}l/a0`, ''), `${p}l/a`)).toBe(1);
    expect(await attemptsWhen(() => etcd.put(`${p}l/a`, ''), `${p}l/a`)).toBe(2);
  });

  it('shows its own writes: in gets, in ranges, and in ranges with a limit', async () => {
    await using etcd = open();
    const p = suite.prefix();
    for (const key of ['b', 'd', 'f']) await etcd.put(`${p}${key}`, 'old');
    await stm(etcd, async (tx) => {
      const mine = tx.keyspace(p);
      mine.put('a', 'new');
      mine.put('d', 'new');
      mine.delete('b');
      mine.put('e', 'new');
      const show = async (...args: Parameters<StmTransaction['range']>) =>
        (await mine.range(...args)).map(({ key, value }) => `${key}=${value}`).join(' ');
      expect(await Promise.all(['a', 'b', 'd', 'f'].map((key) => mine.get(key)))).toEqual([
        'new',
        undefined,
        'new',
        'old',
      ]);
      expect(await show({ all: true })).toBe('a=new d=new e=new f=old');
      expect(await show({ all: true }, { limit: 2 })).toBe('a=new d=new');
      expect(await show({ all: true }, { limit: 2, order: 'descending' })).toBe('f=old e=new');
      expect(await show({ from: 'b', to: 'f' })).toBe('d=new e=new');
      // What is deleted here makes room for the next one, which has to be fetched for that.
      expect(await show({ from: 'b' }, { limit: 1 })).toBe('d=new');
      expect(await show({ from: 'e', to: 'z' }, { limit: 2 })).toBe('e=new f=old');
      mine.delete('d');
      mine.delete('e');
      expect(await show({ from: 'b' }, { limit: 1 })).toBe('f=old');
      mine.put('d', 'new');
      expect(await show({ from: 'b' })).toBe('d=new f=old');
      mine.put('b', 'again');
      expect(await show({ prefix: 'b' }, { limit: 1 })).toBe('b=again');
      expect(await mine.revision('a')).toBe(0n);
      expect(await mine.revision('f')).toBe((await etcd.get(`${p}f`))?.modRevision);
    });
    const { kvs } = await etcd.range({ prefix: p });
    expect(kvs.map((kv) => `${kv.key.slice(p.length)}=${kv.value}`).join(' ')).toBe('a=new b=again d=new f=old');
  });

  it('npm etcd3 #90: reads and writes below a prefix with a codec, and hangs keys on leases', async () => {
    await using etcd = open();
    const p = suite.prefix();
    await using lease = await etcd.lease({ ttlSeconds: 30 });
    await stm(etcd, async (tx) => {
      const users = tx.keyspace(p, json<{ name: string }>());
      expect(await users.get('1')).toBeUndefined();
      users.put('1', { name: 'Ada' }, { lease });
      expect(await users.get('1')).toEqual({ name: 'Ada' });
    });
    expect(await etcd.get(`${p}1`)).toMatchObject({ value: '{"name":"Ada"}', lease: lease.id });
    await stm(etcd, (tx) => tx.put(`${p}1`, 'x', { ignoreLease: true }));
    expect(await etcd.get(`${p}1`)).toMatchObject({ value: 'x', lease: lease.id });
    await lease.revoke();
    const error = await errorOf(stm(etcd, (tx) => tx.put(`${p}2`, '', { lease })));
    expect(error).toMatchObject({ code: 'lease-not-found', applied: 'no' });
  });

  it('prevents write skew at every level that checks its reads', async () => {
    await using etcd = open();
    const held: Partial<Record<Isolation, boolean>> = {};
    for (const isolation of LEVELS) {
      const p = suite.prefix();
      await etcd.txn({ then: [etcd.op.put(`${p}on-call/a`, 'yes'), etcd.op.put(`${p}on-call/b`, 'yes')] });
      // Each goes off call if another stays on; both have read before either commits.
      let arrived = 0;
      let open!: () => void;
      const both = new Promise<void>((resolve) => {
        open = resolve;
      });
      const leave = (who: string) =>
        stm(
          etcd,
          async (tx) => {
            const on = await tx.range({ prefix: `${p}on-call/` });
            if (++arrived === 2) open();
            await both;
            if (on.filter(({ value }) => value === 'yes').length > 1) tx.put(`${p}on-call/${who}`, 'no');
          },
          { isolation },
        );
      await Promise.all([leave('a'), leave('b')]);
      const { kvs } = await etcd.range({ prefix: `${p}on-call/` });
      held[isolation] = kvs.some(({ value }) => value === 'yes');
    }
    expect(held).toEqual({
      'serializable-snapshot': true,
      serializable: true,
      'repeatable-reads': true,
      'read-committed': false,
    });
  });

  it('keeps the sum of a bank: 8 clients, transfers and audits at once', async () => {
    const p = suite.prefix();
    const accounts = ['a', 'b', 'c', 'd'];
    const clients = Array.from({ length: 8 }, open);
    await clients[0]!.txn({ then: accounts.map((name) => clients[0]!.op.put(p + name, '100')) });
    let retries = 0;
    const audits = new Set<number>();
    await Promise.all(
      clients.map(async (etcd, index) => {
        for (let round = 0; round < 8; round++) {
          const from = accounts[(index + round) % 4]!;
          const to = accounts[(index + round + 1 + (index % 3)) % 4]!;
          const { attempts } = await stm(etcd, async (tx) => {
            const [a, b] = await Promise.all([tx.get(p + from), tx.get(p + to)]);
            tx.put(p + from, String(Number(a) - 7));
            tx.put(p + to, String(Number(b) + 7));
          });
          retries += attempts - 1;
          const { value } = await stm(etcd, (tx) => tx.range({ prefix: p }));
          audits.add(value.reduce((sum, entry) => sum + Number(entry.value), 0));
        }
      }),
    );
    expect([...audits]).toEqual([400]);
    // Else nobody was ever in the way, and nothing was tested.
    expect(retries).toBeGreaterThan(0);
    await Promise.all(clients.map((etcd) => etcd.close()));
  });

  it('npm etcd3: no conflict where nobody interferes, though what it reads was written at different revisions', async () => {
    await using etcd = open();
    const p = suite.prefix();
    await etcd.put(`${p}from`, '100');
    await etcd.put(`${p}between`, '');
    await etcd.put(`${p}to`, '0');
    const { attempts } = await stm(
      etcd,
      async (tx) => {
        const from = Number(await tx.get(`${p}from`));
        const to = Number(await tx.get(`${p}to`));
        tx.put(`${p}from`, String(from - 10));
        tx.put(`${p}to`, String(to + 10));
      },
      { maxAttempts: 1 },
    );
    expect(attempts).toBe(1);
    expect(await textAt(etcd, `${p}to`)).toBe('10');
  });

  it('npm etcd3: no lost write after the read of a key that is missing', async () => {
    await using etcd = open();
    const p = suite.prefix();
    await etcd.put(`${p}balance`, '1');
    const { attempts } = await stm(etcd, async (tx) => {
      await tx.get(`${p}missing`);
      await once(tx, () => etcd.put(`${p}balance`, '1000'));
      tx.put(`${p}balance`, '2');
    });
    expect(attempts).toBe(2);
  });

  it('Go #11963: asks again, by way of the leader, where a member has not got to the revision yet', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    const p = suite.prefix();
    await etcd.put(`${p}b`, 'there');
    const message = 'etcdserver: mvcc: required revision is a future revision';
    const rule = proxy.rule({ path: RANGE, nth: 2, action: { status: { code: 11, message }, forward: false } });
    const { value, attempts } = await stm(etcd, async (tx) => [await tx.get(`${p}a`), await tx.get(`${p}b`)]);
    expect({ value, attempts, applied: rule.applied }).toEqual({
      value: [undefined, 'there'],
      attempts: 1,
      applied: 1,
    });
  });

  it('Go: what the work throws reaches the caller, and nothing is written', async () => {
    await using proxy = await grpcProxy(suite);
    await using etcd = new Etcd({ endpoints: [proxy.address] });
    const p = suite.prefix();
    for (const work of [
      (tx: StmTransaction) => {
        tx.put(`${p}x`, '1');
        throw new RangeError('not enough');
      },
      async (tx: StmTransaction) => {
        tx.put(`${p}x`, String(await tx.get(`${p}x`)));
        throw new RangeError('not enough');
      },
    ]) {
      expect(await errorOf(stm(etcd, work))).toBeInstanceOf(RangeError);
    }
    expect(proxy.count(TXN)).toBe(0);
    expect(await etcd.count({ prefix: p })).toBe(0);
  });

  it('begins again when the revision it reads at is compacted meanwhile', async () => {
    await using etcd = open();
    const p = suite.prefix();
    const { value, attempts } = await stm(etcd, async (tx) => {
      await tx.get(`${p}a`);
      await once(tx, async () => {
        await etcd.put(`${p}b`, '1');
        await etcd.compact((await etcd.put(`${p}b`, '2')).revision);
      });
      // Whoever swallows the news does not get around it.
      const b = await tx.get(`${p}b`).catch((error: unknown) => error as EtcdError);
      tx.put(`${p}c`, String(b instanceof EtcdError ? 'error' : b));
      return b;
    });
    expect({ value, attempts }).toEqual({ value: '2', attempts: 2 });
    expect(await textAt(etcd, `${p}c`)).toBe('2');
  });
});

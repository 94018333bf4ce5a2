/** The STM on a cluster of three whose leader is stopped, killed and left without a quorum while transactions run. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { UnknownOutcomeError } from '../../recipes/errors.ts';
import { type Isolation, stm } from '../../recipes/stm/stm.ts';
import { type ChangeEvent, Etcd, EtcdError, type Revision } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { endWithTest, historyOf, QUICK, strandLeader, strikeLeaders, THREE_MEMBERS } from './leader-faults.ts';
import { uniqueName, until } from './lock-bed.ts';

const ACCOUNTS = ['a', 'b', 'c', 'd', 'e'];
const OPENING = 100;
const TILLS = ['p', 'q', 'r', 's', 't', 'u', 'v', 'w'];
/** The levels at which a sum that was read is a sum that was there. */
const LEVELS: readonly Isolation[] = ['serializable-snapshot', 'serializable', 'repeatable-reads'];

/** What tellers were told of their transfers, each of which leaves a receipt. */
class Told {
  readonly committed = new Map<string, Revision>();
  readonly refused: string[] = [];
  readonly unknown: string[] = [];
  retries = 0;

  async note(id: string, transfer: () => ReturnType<typeof stm>): Promise<void> {
    try {
      const { revision, attempts } = await transfer();
      this.committed.set(id, revision!);
      this.retries += attempts - 1;
    } catch (error) {
      if (error instanceof UnknownOutcomeError) this.unknown.push(id);
      else {
        // Whatever is thrown besides says that nothing was written.
        expect(error).toBeInstanceOf(EtcdError);
        expect((error as EtcdError).applied).toBe('no');
        this.refused.push(id);
        await sleep(20);
      }
    }
  }
}

/** The sum of all accounts, at every revision at which one of them was written. */
function sumsOf(events: readonly ChangeEvent[], accounts: string): Set<number> {
  const balances = new Map<string, number>();
  const sums = new Set<number>();
  for (const [index, event] of events.entries()) {
    if (event.type !== 'put' || !event.kv.key.startsWith(accounts)) continue;
    balances.set(event.kv.key, Number(event.kv.value));
    if (events[index + 1]?.revision === event.revision) continue;
    sums.add([...balances.values()].reduce((sum, balance) => sum + balance, 0));
  }
  return sums;
}

describeOnRealEtcd(
  'The STM while leaders fall',
  (suite) => {
    it('keeps the sum of a bank at every revision, and tells of each transfer what became of it', async (test) => {
      const name = uniqueName(suite);
      const accounts = `${name}/accounts/`;
      const clients = Array.from({ length: 6 }, () =>
        endWithTest(test, new Etcd({ endpoints: suite.cluster.endpoints, ...QUICK })),
      );
      const [first] = clients as [Etcd];
      const { op } = first;
      const from = await first.revision();
      await first.txn({ then: ACCOUNTS.map((account) => op.put(accounts + account, String(OPENING))) });
      const told = new Told();
      const audits = new Set<number>();
      const enough = new AbortController();
      const tell = async (etcd: Etcd, teller: number): Promise<void> => {
        const isolation = LEVELS[teller % LEVELS.length];
        for (let n = 0; !enough.signal.aborted; n++) {
          const id = `${teller}-${n}`;
          const [payer, payee] = [ACCOUNTS[(teller + n) % 5]!, ACCOUNTS[(teller + n + 1 + (n % 3)) % 5]!];
          await told.note(id, () =>
            stm(
              etcd,
              async (tx) => {
                const bank = tx.keyspace(accounts);
                const [a, b] = await Promise.all([bank.get(payer), bank.get(payee)]);
                bank.put(payer, String(Number(a) - 7));
                bank.put(payee, String(Number(b) + 7));
                tx.put(`${name}/receipts/${id}`, '');
              },
              { isolation, maxAttempts: 10_000, markerPrefix: `${name}/markers/` },
            ),
          );
          if (n % 4 > 0 || isolation === 'repeatable-reads') continue;
          const audit = stm(etcd, (tx) => tx.range({ prefix: accounts }), { isolation });
          const rows = await audit.then(({ value }) => value).catch(() => undefined);
          if (rows !== undefined) audits.add(rows.reduce((sum, { value }) => sum + Number(value), 0));
        }
      };
      /** Many tills that nobody else uses, so that at any moment many commits are on their way. */
      const take = async (etcd: Etcd, till: string): Promise<void> => {
        for (let n = 0; !enough.signal.aborted; n++) {
          const id = `${till}-${n}`;
          await told.note(id, () =>
            stm(
              etcd,
              async (tx) => {
                tx.put(`${name}/tills/${till}`, String(Number((await tx.get(`${name}/tills/${till}`)) ?? 0) + 1));
                tx.put(`${name}/receipts/${id}`, '');
              },
              { markerPrefix: `${name}/markers/` },
            ),
          );
        }
      };
      const tills = clients.flatMap((etcd, n) => TILLS.map((till) => take(etcd, `${n}${till}`)));
      const tellers = clients.map(tell);
      await strikeLeaders(test, suite.cluster, ['stop', 'kill', 'stop'], () => told.committed.size);
      await strandLeader(suite.cluster);
      const before = told.committed.size;
      await until(() => told.committed.size > before + 10);
      enough.abort();
      await Promise.all([...tellers, ...tills]);
      const events = await historyOf(first, `${name}/`, from);
      expect([...sumsOf(events, accounts)]).toEqual([ACCOUNTS.length * OPENING]);
      expect([...audits]).toEqual([ACCOUNTS.length * OPENING]);
      // A receipt is the transfer's own: there once, at the revision that was told, or never.
      const receipts = events.filter(({ kv }) => kv.key.startsWith(`${name}/receipts/`));
      const written = receipts.map(({ kv }) => kv.key.slice(`${name}/receipts/`.length));
      expect(new Set(written).size).toBe(written.length);
      const at = new Map(receipts.map(({ revision }, index) => [written[index]!, revision]));
      expect([...told.committed].filter(([id, revision]) => at.get(id) !== revision)).toEqual([]);
      expect(told.refused.filter((id) => at.has(id))).toEqual([]);
      expect(written.filter((id) => !told.committed.has(id) && !told.unknown.includes(id))).toEqual([]);
      const taken = (await first.range({ prefix: `${name}/tills/` })).kvs.map(({ value }) => Number(value));
      const ofTills = written.filter((id) => TILLS.includes(id[1]!));
      expect(taken.reduce((sum, n) => sum + n, 0)).toBe(ofTills.length);
      expect(told.retries).toBeGreaterThan(0);
      const { committed, refused, unknown, retries } = told;
      const figures = { committed: committed.size, refused: refused.length, unknown: unknown.length, retries };
      await test.annotate(JSON.stringify(figures));
      await Promise.all(clients.map((etcd) => etcd.close()));
    });
  },
  THREE_MEMBERS,
);

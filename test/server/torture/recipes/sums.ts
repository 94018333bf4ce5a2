/** What is added up, by the counter and by transactions in memory: each addition counts once. */
import { Counter } from '../../../../recipes/counter.ts';
import { UnknownOutcomeError } from '../../../../recipes/errors.ts';
import { stm } from '../../../../recipes/stm/stm.ts';
import type { Etcd } from '../../../../src/index.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';
import { attempt, type Field, many, rest, shifts, Work } from './work.ts';

export class Counting extends Work {
  added = 0;
  /** Additions of which nobody knows. */
  unknown = 0;

  constructor() {
    super('counter');
  }

  override users(field: Field): Promise<void>[] {
    return many(2, () =>
      shifts(field, field.stop, (session) => {
        const counter = new Counter(session, this.name);
        return () => this.#add(counter);
      }),
    );
  }

  async #add(counter: Counter): Promise<void> {
    const error = await attempt(async () => {
      await counter.add(1n);
      this.added += 1;
      this.done += 1;
    });
    if (error instanceof UnknownOutcomeError) this.unknown += 1;
    if (error) throw error;
    await rest();
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const value = Number(
      events.findLast(({ type, key }) => type === 'put' && key === `${this.name}/value`)?.value ?? 0,
    );
    if (value >= this.added && value <= this.added + this.unknown) return [];
    return [`the counter is ${value} after ${this.added} additions, and ${this.unknown} that nobody knows of`];
  }
}

const ACCOUNTS = ['a', 'b', 'c', 'd'] as const;
const OPENING = 100;
const AMOUNT = 7;

export class Banking extends Work {
  transfers = 0;
  /** Transfers of which nobody knows. */
  unknown = 0;
  readonly #accounts = `${this.name}/accounts/`;
  readonly #receipts = `${this.name}/receipts/`;

  constructor() {
    super('bank');
  }

  override users(field: Field): Promise<void>[] {
    return many(2, (i) => this.#transfer(field, i));
  }

  /** Moves money between accounts: what it was told of each transfer, its receipt has to bear out. */
  async #transfer(field: Field, teller: number): Promise<void> {
    const etcd = field.nextClient();
    for (let n = 0; !field.stop.aborted; n += 1) {
      const at = teller + n;
      const [payer, payee] = [ACCOUNTS[at % 4] as string, ACCOUNTS[(at + 1 + (n % 3)) % 4] as string];
      const error = await attempt(async () => {
        await this.#move(etcd, payer, payee, `${teller}-${n}`);
        this.transfers += 1;
        this.done += 1;
      });
      if (error instanceof UnknownOutcomeError) this.unknown += 1;
      await rest();
    }
  }

  async #move(etcd: Etcd, payer: string, payee: string, receipt: string): Promise<void> {
    await stm(etcd, async (tx) => {
      const bank = tx.keyspace(this.#accounts);
      const [from, to] = await Promise.all([bank.get(payer), bank.get(payee)]);
      bank.put(payer, String(Number(from ?? OPENING) - AMOUNT));
      bank.put(payee, String(Number(to ?? OPENING) + AMOUNT));
      tx.put(this.#receipts + receipt, '');
    });
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const found: string[] = [];
    const balances = new Map<string, number>(ACCOUNTS.map((name) => [this.#accounts + name, OPENING]));
    const sum = OPENING * ACCOUNTS.length;
    let receipts = 0;
    for (const [at, { type, key, value, revision }] of events.entries()) {
      if (type === 'put' && key.startsWith(this.#receipts)) receipts += 1;
      if (type === 'put' && key.startsWith(this.#accounts)) balances.set(key, Number(value));
      // What one transaction does is seen as one.
      if (events[at + 1]?.revision === revision) continue;
      const total = [...balances.values()].reduce((a, b) => a + b, 0);
      if (total !== sum) found.push(`the accounts have ${total} at revision ${revision}`);
    }
    const { transfers, unknown } = this;
    if (receipts < transfers || receipts > transfers + unknown)
      found.push(`${receipts} receipts of ${transfers} transfers, and ${unknown} that nobody knows of`);
    return found;
  }
}

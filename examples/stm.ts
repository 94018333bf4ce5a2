/**
 * Transactions in memory: read and write as if alone. Transfers between accounts from many sides, and the sum stays.
 *
 *   node --import tsx examples/stm.ts
 *
 * @module
 */
import { stm } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

await using etcd = await connect();
const accounts = ['a', 'b', 'c', 'd'].map((name) => `accounts/${name}`);
for (const account of accounts) await etcd.put(account, '100');

async function transfer(from: string, to: string, amount: number): Promise<void> {
  await stm(etcd, async (tx) => {
    const [a, b] = (await Promise.all([tx.get(from), tx.get(to)])).map(Number) as [number, number];
    if (a < amount) return;
    tx.put(from, String(a - amount));
    tx.put(to, String(b + amount));
  });
}

const transfers = Array.from({ length: 40 }, (_, n) => {
  const from = accounts[n % 4] as string;
  const to = accounts[(n + 1 + (n % 3)) % 4] as string;
  return transfer(from, to, 1 + (n % 50));
});
await Promise.all(transfers);

const { value: sum } = await stm(etcd, async (tx) => {
  const balances = await Promise.all(accounts.map((account) => tx.get(account)));
  return balances.reduce((total, balance) => total + Number(balance), 0);
});
console.log(`after 40 transfers at once the four accounts hold ${sum}`);

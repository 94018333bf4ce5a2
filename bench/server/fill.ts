/**
 * Fills a server with small keys, a hundred to a transaction: `fill.ts <host:port> <keys>`.
 *
 * @module
 */
import { KV, TxnRequest } from '../../src/protocol/generated/etcdserverpb.ts';
import { LoadConnection } from './connection.ts';

const KEYS_PER_TXN = 100;
const IN_FLIGHT = 8;

const [endpoint = '', keys] = process.argv.slice(2);
const txns = Math.ceil(Number(keys) / KEYS_PER_TXN);
let next = 0;

function txn(number: number): Uint8Array {
  const success = Array.from({ length: KEYS_PER_TXN }, (_, i) => {
    const key = Buffer.from(`bench/small/${number * KEYS_PER_TXN + i}`);
    return { requestPut: { key, value: Buffer.from('a value of 16 by') } };
  });
  return TxnRequest.encode({ success });
}

const connection = await LoadConnection.open(endpoint, KV.txn.path, (ok) => {
  if (!ok) throw new Error('a transaction was refused');
  ended += 1;
  if (ended === txns) connection.close();
  else if (next < txns) connection.send(txn(next++));
});
let ended = 0;
while (next < Math.min(IN_FLIGHT, txns)) connection.send(txn(next++));
connection.flush();

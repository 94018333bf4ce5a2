/** Reconnects again and again, and reports the heap as it goes; run with --expose-gc. */

import { Etcd } from '../../../../src/client/etcd.ts';
import { FaultProxy } from '../../../support/fault-proxy.ts';

const [target = '', countText = '2000'] = process.argv.slice(2);
const count = Number(countText);
const gc = (globalThis as { gc?: () => void }).gc;
if (gc === undefined) throw new Error('run with --expose-gc');

await using proxy = await FaultProxy.start({ target });
await using etcd = new Etcd({ endpoints: proxy.address, timeoutMs: 10_000, random: () => 0 });
const samples: number[] = [];
for (let i = 0; i < count; i++) {
  proxy.cut();
  // A read may meet the cut; then it is sent again on the next connection.
  await etcd.get('reconnect');
  if ((i + 1) % (count / 10) === 0) {
    for (let round = 0; round < 3; round++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    samples.push(process.memoryUsage().heapUsed);
  }
}
const sockets = process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
console.log(JSON.stringify({ opened: proxy.stats.opened, samples, sockets }));

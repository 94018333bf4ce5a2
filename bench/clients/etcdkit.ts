/**
 * This package, as it is built.
 *
 * @module
 */

import { Etcd, type EtcdOptions } from '../../dist/src/index.js';
import type { BenchClient } from './client.ts';

async function make(options: EtcdOptions): Promise<BenchClient> {
  const etcd = new Etcd(options);
  await etcd.connect();
  return {
    put: (key, value) => etcd.put(key, value),
    get: (key) => etcd.get(key),
    async watch(key, onEvent) {
      const watcher = etcd.watch(key);
      const read = async (): Promise<void> => {
        for await (const _event of watcher) onEvent();
      };
      read().catch(() => {}); // the client is closed at the end, which is how these watches end
      await watcher.ready;
    },
    close: () => etcd.close(),
  };
}

export const makePlain = (endpoint: string): Promise<BenchClient> => make({ endpoints: endpoint });

export const makeCoalesced = (endpoint: string): Promise<BenchClient> =>
  make({ endpoints: endpoint, coalesce: { gets: true, puts: true } });

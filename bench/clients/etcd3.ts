/**
 * npm `etcd3`, the peer.
 *
 * @module
 */

import { Etcd3 } from 'etcd3';
import type { BenchClient } from './client.ts';

export async function make(endpoint: string): Promise<BenchClient> {
  const etcd = new Etcd3({ hosts: `http://${endpoint}` });
  await etcd.get('warm-up');
  return {
    put: (key, value) => etcd.put(key).value(value).exec(),
    get: (key) => etcd.get(key).string(),
    async watch(key, onEvent) {
      const watcher = await etcd.watch().key(key).create();
      watcher.on('put', onEvent);
    },
    close: () => etcd.close(),
  };
}

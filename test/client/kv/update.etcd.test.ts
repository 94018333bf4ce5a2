/** What counting costs on real etcd. */
import { expect, it } from 'vitest';
import { Etcd } from '../../../src/client/etcd.ts';
import { describeOnEtcd } from '../../support/fixtures.ts';
import { GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';

const KV_CALLS = /^\/etcdserverpb\.KV\//;

describeOnEtcd('increment', (suite) => {
  it('takes one round trip for a key that is missing or was counted before, and two for any other', async () => {
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
    await using etcd = new Etcd({ endpoints: proxy.address });
    await using other = new Etcd({ endpoints: suite.cluster.endpoints });
    const key = `${suite.prefix()}n`;
    const costs: [bigint, number][] = [];
    const count = async (by: bigint): Promise<void> => {
      const before = proxy.calls.filter(({ path }) => KV_CALLS.test(path)).length;
      const sum = await etcd.increment(key, { by });
      costs.push([sum, proxy.calls.filter(({ path }) => KV_CALLS.test(path)).length - before]);
    };
    await count(1n);
    await count(2n);
    expect(await other.increment(key)).toBe(4n);
    await count(-10n);
    await count(1n);
    // As it was, although not the same: that is as good.
    await other.put(key, '-6');
    await other.put(key, '-5');
    await count(1n);
    await other.delete(key);
    await count(1n);
    await count(1n);
    await other.put(key, '007');
    await count(1n);
    expect(costs).toEqual([
      [1n, 1],
      [3n, 1],
      [-6n, 2],
      [-5n, 1],
      [-4n, 1],
      [1n, 2],
      [2n, 1],
      [8n, 2],
    ]);
  });
});

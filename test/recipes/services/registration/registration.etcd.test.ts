/** What a registration asks of a real etcd, and that it means there what it means on the bundled server. */
import { expect, it } from 'vitest';
import { jsonLayout } from '../../../../recipes/services/json-layout.ts';
import { Registration } from '../../../../recipes/services/registration/registration.ts';
import { Etcd } from '../../../../src/index.ts';
import { describeOnRealEtcd } from '../../../support/fixtures.ts';
import { GrpcFaultProxy } from '../../../support/grpc-fault-proxy.ts';

describeOnRealEtcd(
  'a registration on etcd',
  (suite) => {
    it('takes two round trips to register, one to update, two to leave, and comes back from what befalls it', async () => {
      const layout = jsonLayout({ prefix: suite.prefix() });
      const target = suite.cluster.members[0]!.address;
      await using proxy = await GrpcFaultProxy.start({ target });
      await using etcd = new Etcd({ endpoints: [proxy.address] });
      await using eye = new Etcd({ endpoints: [target] });
      const calls = (): string[] =>
        proxy.calls.map(({ path }) => path.split('/').at(-1)!).filter((call) => /Txn|Grant|Revoke|Put/.test(call));
      await etcd.connect();
      const before = calls().length;
      const spec = { name: 'orders', id: 'a', address: '10.0.0.7', port: 8080 };
      const registration = await Registration.start(etcd, layout, spec, { ttlSeconds: 5, rejoinJitterMs: 0 });
      expect(calls().slice(before)).toEqual(['LeaseGrant', 'Txn']);
      await registration.update({ weight: 3 });
      expect(calls().slice(before + 2)).toEqual(['Txn']);

      const { key } = registration;
      const first = (await eye.get(key))!;
      const puts = eye.watch(key, { only: 'put' });
      await puts.ready;
      const next = puts[Symbol.asyncIterator]();
      await eye.delete(key);
      expect((await next.next()).value).toMatchObject({ type: 'put', isCreate: true });
      await eye.leases.revoke(first.lease!);
      const { value: event } = await next.next();
      expect(event).toMatchObject({ type: 'put', isCreate: true });
      expect(JSON.parse((event as { kv: { value: string } }).kv.value)).toMatchObject({ weight: 3, status: 'up' });
      await registration.update({ weight: 4 });

      const settled = calls().length;
      await registration.deregister();
      expect(calls().slice(settled)).toEqual(['Txn', 'LeaseRevoke']);
      expect(await eye.get(key)).toBeUndefined();
      await next.return?.();
    });
  },
  { versions: ['3.5'] },
);

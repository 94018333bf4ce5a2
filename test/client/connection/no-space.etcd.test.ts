/** What a full store does with writes, and what the client says of them. */
import { expect, it } from 'vitest';
import type { EtcdError } from '../../../src/client/errors.ts';
import { Etcd } from '../../../src/client/etcd.ts';
import { describeOnEtcd } from '../../support/fixtures.ts';

const VALUE = 'v'.repeat(200_000);
const AT_ONCE = 30;

describeOnEtcd(
  'a store that gets full',
  (suite) => {
    it('may have taken a write that it answers with "no space": the client does not say that it has not', async () => {
      await using etcd = new Etcd({ endpoints: suite.cluster.endpoints, timeoutMs: 30_000 });
      const refused = new Map<string, EtcdError>();
      // Many at once pass the first look at what is left, and only some of them fit: etcd applies the others too.
      for (let round = 0; refused.size === 0; round++) {
        const keys = Array.from({ length: AT_ONCE }, (_, at) => `${round}/${at}`);
        const note = (key: string) => (error: EtcdError) => refused.set(key, error);
        await Promise.all(keys.map((key) => etcd.put(key, VALUE).catch(note(key))));
      }
      for (const [key, error] of refused) {
        expect(error).toMatchObject({ code: 'no-space', etcdCode: 'NoSpace', attempts: 1 });
        if (error.applied === 'no') expect(await etcd.get(key)).toBeUndefined();
      }
      // From now on it takes nothing, as far as anybody can tell from the answer.
      await expect(etcd.put('k', 'v')).rejects.toMatchObject({ code: 'no-space', applied: 'maybe' });
      expect(await etcd.get('k')).toBeUndefined();
      expect(await etcd.delete({ all: true })).toMatchObject({ deleted: expect.any(Number) });
    }, 60_000);
  },
  { flags: ['--quota-backend-bytes=20000000'] },
);

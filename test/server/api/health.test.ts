import { describe, expect, it } from 'vitest';
import { Maintenance } from '../../../src/protocol/generated/etcdserverpb.ts';
import { Health } from '../../../src/protocol/generated/grpc_health_v1.ts';
import { deferred } from '../../../src/support/signals.ts';
import { refusalOf, Served } from './served.ts';

describe('Health', () => {
  it('knows the server as a whole, and nothing else', async () => {
    const served = new Served();
    expect(await served.call(Health.check)).toEqual({ status: 1 });
    expect(await refusalOf(served.call(Health.check, { service: 'etcdserverpb.KV' }))).toBe('5 unknown service');
  });

  it('asks nobody who they are', async () => {
    const served = new Served();
    await served.enableAuth('ann', 'a/');
    expect(await served.call(Health.check)).toEqual({ status: 1 });
  });

  it('is watched until the caller is gone', async () => {
    const served = new Served();
    const abort = new AbortController();
    const whole = served.stream(Health.watch, {}, { signal: abort.signal });
    const unknown = served.stream(Health.watch, { service: 'x' }, { signal: abort.signal });
    await served.settle();
    expect([whole.received, unknown.received]).toEqual([[{ status: 1 }], [{ status: 3 }]]);
    abort.abort();
    await Promise.all([whole.ended, unknown.ended]);
  });

  it('does not want to be asked during a defragmentation, if it was told so; also when that fails', async () => {
    for (const notServingOnDefragment of [true, false]) {
      const served = new Served({ notServingOnDefragment });
      const abort = new AbortController();
      const watched = served.stream(Health.watch, {}, { signal: abort.signal });
      await served.settle();
      const running = deferred<void>();
      served.member.whileDefragmenting = () => running.promise;
      const defragmented = served.call(Maintenance.defragment);
      await served.settle();
      const during = notServingOnDefragment ? 2 : 1;
      expect(await served.call(Health.check)).toEqual({ status: during });
      running.reject(new Error('it failed'));
      await expect(defragmented).rejects.toThrow('it failed');
      await served.settle();
      expect(await served.call(Health.check)).toEqual({ status: 1 });
      const all = notServingOnDefragment ? [{ status: 1 }, { status: 2 }, { status: 1 }] : [{ status: 1 }];
      expect(watched.received).toEqual(all);
      abort.abort();
      await watched.ended;
    }
  });
});

import { describe, expect, it } from 'vitest';
import { Health } from '../../../src/protocol/generated/grpc_health_v1.ts';
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
});

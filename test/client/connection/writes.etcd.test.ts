/** What becomes of calls whose answer does not come, on real etcd behind a proxy that knows gRPC. */
import http2 from 'node:http2';
import { expect, it } from 'vitest';
import { EtcdError } from '../../../src/client/errors.ts';
import { Etcd } from '../../../src/client/etcd.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { FaultProxy } from '../../support/fault-proxy.ts';
import { describeOnRealEtcd, type EtcdSuite } from '../../support/fixtures.ts';
import { type FaultRule, GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';

const PUT = '/etcdserverpb.KV/Put';
const RANGE = '/etcdserverpb.KV/Range';

async function behindProxy(
  suite: EtcdSuite,
  test: (etcd: Etcd, proxy: GrpcFaultProxy) => Promise<void>,
): Promise<void> {
  const target = new URL(suite.cluster.members[0]!.clientUrl).host;
  await using proxy = await GrpcFaultProxy.start({ target });
  await using etcd = new Etcd({ endpoints: proxy.address });
  await etcd.get('warm');
  await test(etcd, proxy);
}

async function rejected(promise: Promise<unknown>): Promise<EtcdError> {
  const error = await promise.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(EtcdError);
  return error as EtcdError;
}

describeOnRealEtcd('a call whose answer does not come', (suite) => {
  // What npm etcd3 sends three times each.
  for (const code of [1, 2, 4, 8, 10, 13, 14]) {
    it(`a put answered with code ${code} is sent once, and may have been applied`, async () => {
      await behindProxy(suite, async (etcd, proxy) => {
        const key = suite.prefix();
        proxy.rule({ path: PUT, action: { status: { code, message: 'gateway says no' }, forward: true } });
        const error = await rejected(etcd.put(key, 'secret-value'));
        expect(error).toMatchObject({ applied: 'maybe', attempts: 1, grpcCode: code, endpoint: proxy.address });
        expect(error.message).toContain('may have been applied');
        expect(error.message).not.toContain('secret-value');
        expect(proxy.count(PUT)).toBe(1);
        expect((await etcd.get(key))?.value).toBe('secret-value');
      });
    });
  }

  for (const [code, message] of [
    [3, 'etcdserver: key is not provided'],
    [7, 'etcdserver: permission denied'],
    [3, 'bad request, says the gateway'],
    [12, 'unknown method Put'],
  ] as const) {
    it(`a put refused with "${message}" is sent once, and was not applied`, async () => {
      await behindProxy(suite, async (etcd, proxy) => {
        proxy.rule({ path: PUT, action: { status: { code, message }, forward: false } });
        expect(await rejected(etcd.put(suite.prefix(), 'v'))).toMatchObject({ applied: 'no', attempts: 1 });
        expect(proxy.count(PUT)).toBe(1);
      });
    });
  }

  for (const via of ['reset', 'cut'] as const) {
    it(`a put whose answer is swallowed (${via}) may have been applied, and is not sent again`, async () => {
      await behindProxy(suite, async (etcd, proxy) => {
        const key = suite.prefix();
        for (let i = 0; i < 3; i++) await etcd.put(key, `${i}`);
        proxy.rule({ path: PUT, nth: 1, action: 'swallow-reply', via });
        expect(await rejected(etcd.put(key, 'lost'))).toMatchObject({ applied: 'maybe', attempts: 1 });
        expect(proxy.count(PUT)).toBe(4);
        expect(await etcd.get(key)).toMatchObject({ value: 'lost', version: 4n });
      });
    });

    it(`a get whose answer is swallowed (${via}) is sent again`, async () => {
      await behindProxy(suite, async (etcd, proxy) => {
        const key = suite.prefix();
        await etcd.put(key, 'v');
        const before = proxy.count(RANGE);
        proxy.rule({ path: RANGE, nth: 1, action: 'swallow-reply', via });
        expect((await etcd.get(key))?.value).toBe('v');
        expect(proxy.count(RANGE)).toBe(before + 2);
      });
    });
  }

  it('a put that hangs ends at its deadline, and may have been applied', async () => {
    await behindProxy(suite, async (etcd, proxy) => {
      proxy.rule({ path: PUT, action: 'hang' });
      const error = await rejected(etcd.put(suite.prefix(), 'v', { timeoutMs: 300 }));
      expect(error).toMatchObject({ code: 'deadline', applied: 'maybe' });
      expect(proxy.count(PUT)).toBe(1);
    });
  });

  it('a put that is refused before anything happened (REFUSED_STREAM) is sent again, and applied once', async () => {
    await behindProxy(suite, async (etcd, proxy) => {
      const key = suite.prefix();
      proxy.rule({ path: PUT, nth: 1, times: 2, action: 'reset-before' });
      await etcd.put(key, 'v');
      expect(proxy.count(PUT)).toBe(3);
      expect(await etcd.get(key)).toMatchObject({ version: 1n });
    });
  });

  it('a put whose call is reset with another code is not', async () => {
    for (const resetCode of [
      http2.constants.NGHTTP2_CANCEL,
      http2.constants.NGHTTP2_INTERNAL_ERROR,
      http2.constants.NGHTTP2_ENHANCE_YOUR_CALM,
      http2.constants.NGHTTP2_PROTOCOL_ERROR,
    ]) {
      await behindProxy(suite, async (etcd, proxy) => {
        const rule: FaultRule = { path: PUT, action: 'reset-after', resetCode };
        proxy.rule(rule);
        expect(await rejected(etcd.put(suite.prefix(), 'v'))).toMatchObject({ applied: 'maybe', attempts: 1 });
        expect(proxy.count(PUT)).toBe(1);
      });
    }
  });

  it('a server that writes gRPC’s own words for "never sent" is not believed', async () => {
    await behindProxy(suite, async (etcd, proxy) => {
      const key = suite.prefix();
      const message = 'Stream refused by server';
      proxy.rule({ path: PUT, action: { status: { code: GrpcCode.UNAVAILABLE, message }, forward: true } });
      expect(await rejected(etcd.put(key, 'v'))).toMatchObject({ applied: 'maybe', attempts: 1 });
      expect(await etcd.get(key)).toMatchObject({ version: 1n });
    });
  });

  it('a put that finds nobody was not applied', async () => {
    await using etcd = new Etcd({ endpoints: '127.0.0.1:1' });
    const error = await rejected(etcd.put('k', 'v', { timeoutMs: 500 }));
    expect(error).toMatchObject({ code: 'unavailable', applied: 'no', attempts: 0 });
    expect(error.message).toContain('127.0.0.1:1');
    expect(error.message).toContain('ECONNREFUSED');
  });

  it('a put on a connection that dies under it may have been applied', async () => {
    const target = new URL(suite.cluster.members[0]!.clientUrl).host;
    for (const how of ['cut', 'reset'] as const) {
      await using proxy = await FaultProxy.start({ target });
      await using etcd = new Etcd({ endpoints: proxy.address });
      const key = suite.prefix();
      await etcd.get(key);
      proxy.blackhole('to-client');
      const put = rejected(etcd.put(key, 'v'));
      await expect.poll(async () => (await suite.cluster.etcdctl(['get', key])).length).toBeGreaterThan(0);
      proxy[how]();
      expect(await put).toMatchObject({ code: 'unavailable', applied: 'maybe', attempts: 1 });
    }
  });

  // grpc/grpc-go cannot say this of a write: Go's client treats its own deadline as the server's answer.
  it('tells a deadline of the server from one of the call', async () => {
    await behindProxy(suite, async (etcd, proxy) => {
      proxy.rule({ path: PUT, action: { status: { code: 4, message: 'context deadline exceeded' }, forward: false } });
      const error = await rejected(etcd.put(suite.prefix(), 'v'));
      expect(error).toMatchObject({ code: 'deadline', applied: 'maybe' });
      expect(error.message).toContain('context deadline exceeded');
    });
  });
});

import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { AbortError } from '../../../src/client/errors.ts';
import { Etcd } from '../../../src/client/etcd.ts';
import { onAbort } from '../../../src/support/signals.ts';
import { describeOnRealEtcd } from '../../support/fixtures.ts';
import { GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';

describe('waiting for a signal', () => {
  it('takes one listener, however many wait', () => {
    const controller = new AbortController();
    const { signal } = controller;
    const called: number[] = [];
    const offs = Array.from({ length: 100 }, (_, i) => onAbort(signal, () => called.push(i)));
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    for (const off of offs.slice(3)) off();
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    for (const off of offs) off();
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    onAbort(signal, () => called.push(1));
    const last = onAbort(signal, () => called.push(2));
    onAbort(signal, () => {
      called.push(3);
      off4();
    });
    const off4 = onAbort(signal, () => called.push(4));
    last();
    controller.abort();
    controller.abort();
    expect(called).toEqual([1, 3]);
    onAbort(signal, () => called.push(5));
    expect(called).toEqual([1, 3, 5]);
  });
});

describeOnRealEtcd(
  'a signal that many calls share',
  (suite) => {
    it('ends them all, and has one listener and no warning', async () => {
      const warnings: Error[] = [];
      const note = (warning: Error): void => void warnings.push(warning);
      process.on('warning', note);
      await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
      await using etcd = new Etcd({ endpoints: proxy.address });
      const controller = new AbortController();
      const { signal } = controller;
      for (let i = 0; i < 10_000; i += 100) {
        await Promise.all(Array.from({ length: 100 }, () => etcd.get('k', { signal })));
      }
      expect(getEventListeners(signal, 'abort')).toHaveLength(0);
      proxy.rule({ path: '/etcdserverpb.KV/Put', action: 'hang' });
      const puts = Array.from({ length: 64 }, () => etcd.put('k', 'v', { signal }).catch((error: unknown) => error));
      await proxy.waitFor((calls) => calls.filter(({ fault }) => fault === 'hang').length === 64);
      expect(getEventListeners(signal, 'abort')).toHaveLength(1);
      const reason = new Error('shutting down');
      controller.abort(reason);
      for (const error of await Promise.all(puts)) {
        expect(error).toBeInstanceOf(AbortError);
        expect(error).toMatchObject({ applied: 'maybe', attempts: 1, cause: reason });
      }
      // The server is told: every stream is reset.
      await proxy.waitFor((calls) => calls.every(({ ended }) => ended));
      // And the member is none the worse for it.
      expect(etcd.endpoints[0]!.state).toBe('ready');
      process.off('warning', note);
      expect(warnings).toEqual([]);
    });
  },
  { versions: ['3.5'] },
);

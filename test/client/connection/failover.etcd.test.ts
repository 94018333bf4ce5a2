/** What a client does when one of three real members dies, stops or is cut off. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EtcdError } from '../../../src/client/errors.ts';
import { Etcd } from '../../../src/client/etcd.ts';
import { FaultProxy } from '../../support/fault-proxy.ts';
import { describeOnEtcd } from '../../support/fixtures.ts';
import { GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';

const RANGE = '/etcdserverpb.KV/Range';
const STATUS = '/etcdserverpb.Maintenance/Status';

/** Waits until so many members are in use. A busy one can miss its first probe; only calls make the client ask again. */
async function untilReady(etcd: Etcd, count: number): Promise<void> {
  const ready = async (): Promise<number> => {
    await etcd.get('any');
    return etcd.endpoints.filter(({ state }) => state === 'ready').length;
  };
  await expect.poll(ready, { timeout: 15_000 }).toBe(count);
}

/** How many of some reads, one after the other, came back with the value. */
async function reads(etcd: Etcd, key: string, count: number, timeoutMs?: number): Promise<number> {
  let good = 0;
  for (let i = 0; i < count; i++) {
    const read = etcd.get(key, { timeoutMs });
    if ((await read)?.value === 'v') good += 1;
  }
  return good;
}

describeOnEtcd(
  'a cluster of three',
  (suite) => {
    let proxies: GrpcFaultProxy[] = [];
    let etcd: Etcd;
    let key = '';

    beforeEach(async () => {
      await suite.cluster.waitHealthy();
      await suite.cluster.leader();
      proxies = await Promise.all(
        suite.cluster.members.map(({ address }) => GrpcFaultProxy.start({ target: address })),
      );
      etcd = new Etcd({ endpoints: proxies.map(({ address }) => address), connectTimeoutMs: 1_000 });
      key = suite.prefix();
      await etcd.put(key, 'v');
      await untilReady(etcd, 3);
    });

    afterEach(async () => {
      await etcd.close();
      await Promise.all(proxies.map((proxy) => proxy[Symbol.asyncDispose]()));
    });

    function counts(path: string): number[] {
      return proxies.map((proxy) => proxy.count(path));
    }

    it('shares the calls evenly', async () => {
      const before = counts(RANGE);
      await reads(etcd, key, 60);
      const after = counts(RANGE);
      expect(after.map((count, i) => count - before[i]!)).toEqual([20, 20, 20]);
    });

    it('goes on reading when a member is killed, and comes back to it', async () => {
      const victim = await suite.cluster.leader();
      const index = suite.cluster.members.indexOf(victim);
      const running = Array.from({ length: 30 }, () => etcd.get(key));
      const writes = Array.from({ length: 30 }, (_, i) =>
        etcd.put(`${key}${i}`, 'w').then(
          () => 'applied',
          (error: EtcdError) => error.applied,
        ),
      );
      await victim.kill();
      expect((await Promise.all(running)).map((kv) => kv?.value)).toEqual(Array(30).fill('v'));
      // Whatever says "no" is not there.
      for (const [i, outcome] of (await Promise.all(writes)).entries()) {
        if (outcome === 'no') expect(await etcd.get(`${key}${i}`)).toBeUndefined();
        if (outcome === 'applied') expect(await etcd.get(`${key}${i}`)).toBeDefined();
      }
      expect(await reads(etcd, key, 20)).toBe(20);
      const while_down = proxies[index]!.count(RANGE);
      expect(await reads(etcd, key, 20)).toBe(20);
      expect(proxies[index]!.count(RANGE)).toBe(while_down);
      await victim.restart();
      await expect
        .poll(
          async () => {
            await reads(etcd, key, 3);
            return proxies[index]!.count(RANGE) > while_down;
          },
          { timeout: 20_000 },
        )
        .toBe(true);
    });

    it('reads within the deadline when a member stops (SIGSTOP), and sends it only probes', async () => {
      const [victim] = await suite.cluster.followers();
      const index = suite.cluster.members.indexOf(victim!);
      const frozen = proxies[index]!;
      victim!.pause();
      try {
        const before = { ranges: frozen.count(RANGE), probes: frozen.count(STATUS) };
        expect(await reads(etcd, key, 30, 3_000)).toBe(30);
        // The first read that met it cost half its deadline; after that nobody went there.
        expect(frozen.count(RANGE) - before.ranges).toBe(1);
        await expect
          .poll(
            async () => {
              await reads(etcd, key, 1);
              return frozen.count(STATUS) - before.probes;
            },
            { timeout: 10_000 },
          )
          .toBeGreaterThan(0);
        expect(frozen.count(RANGE) - before.ranges).toBe(1);
        const write = await etcd.put(`${key}w`, 'x').then(() => 'applied');
        expect(write).toBe('applied');
      } finally {
        victim!.resume();
      }
      await expect
        .poll(
          async () => {
            const ranges = frozen.count(RANGE);
            await reads(etcd, key, 3);
            return frozen.count(RANGE) > ranges;
          },
          { timeout: 20_000 },
        )
        .toBe(true);
    });

    it('tells of a write on a stopped member that it may have been applied', async () => {
      const [victim] = await suite.cluster.followers();
      victim!.pause();
      try {
        const outcomes = await Promise.all(
          Array.from({ length: 9 }, (_, i) =>
            etcd.put(`${key}${i}`, 'w', { timeoutMs: 1_500 }).then(
              () => 'applied',
              (error: EtcdError) => `${error.code} ${error.applied} ${error.attempts}`,
            ),
          ),
        );
        expect(outcomes.filter((outcome) => outcome === 'deadline maybe 1')).toHaveLength(3);
        expect(outcomes.filter((outcome) => outcome === 'applied')).toHaveLength(6);
      } finally {
        victim!.resume();
      }
    });

    it('leaves a member that has lost the others, and says what it was told', async () => {
      // Two of three stop: the one that is left has no leader.
      const leader = await suite.cluster.leader();
      const [first, second] = suite.cluster.members.filter((member) => member !== leader);
      first!.pause();
      second!.pause();
      try {
        const lost = (await etcd.get(key, { timeoutMs: 4_000 }).catch((error: EtcdError) => error)) as EtcdError;
        expect(lost).toBeInstanceOf(EtcdError);
        expect(lost.applied).toBe('no');
        // A serializable read needs no leader: the one that is left answers it, aimed at or not.
        const endpoint = proxies[suite.cluster.members.indexOf(leader)]!.address;
        expect((await etcd.get(key, { serializable: true, endpoint }))?.value).toBe('v');
        // Long enough to find out about the two that are stopped: each may cost half of what is left.
        expect((await etcd.get(key, { serializable: true, timeoutMs: 15_000 }))?.value).toBe('v');
      } finally {
        first!.resume();
        second!.resume();
      }
      await expect
        .poll(
          () =>
            etcd.get(key, { timeoutMs: 5_000 }).then(
              (kv) => kv?.value,
              () => 'not yet',
            ),
          { timeout: 20_000 },
        )
        .toBe('v');
    });
  },
  { members: 3 },
);

describeOnEtcd(
  'a client cut off from one of three members',
  (suite) => {
    for (const direction of ['both', 'to-client', 'to-server'] as const) {
      it(`reads through the others (${direction})`, async () => {
        await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]!.address });
        const others = suite.cluster.members.slice(1).map(({ address }) => address);
        await using etcd = new Etcd({ endpoints: [proxy.address, ...others], connectTimeoutMs: 500 });
        const key = suite.prefix();
        await etcd.put(key, 'v');
        await untilReady(etcd, 3);
        proxy.blackhole(direction);
        expect(await reads(etcd, key, 30, 2_000)).toBe(30);
        expect(etcd.endpoints[0]!.state).not.toBe('ready');
        proxy.heal();
        await expect
          .poll(
            async () => {
              await reads(etcd, key, 1);
              return etcd.endpoints[0]!.state;
            },
            { timeout: 15_000 },
          )
          .toBe('ready');
      });
    }
  },
  { members: 3 },
);

describe('keepalive pings', () => {
  describeOnEtcd('on a connection that went silent', (suite) => {
    it('end a call and a stream long before their deadline', async () => {
      await using proxy = await FaultProxy.start({ target: suite.cluster.members[0]!.address });
      await using etcd = new Etcd({
        endpoints: proxy.address,
        // What a busy machine takes to answer a ping must not count as silence.
        keepalive: { minTimeMs: 100, timeMs: 300, timeoutMs: 1_500 },
        timeoutMs: 60_000,
      });
      await etcd.put('warm', 'v');
      const watcher = etcd.watch('warm');
      const first = watcher[Symbol.asyncIterator]().next();
      await new Promise((resolve) => setTimeout(resolve, 100));
      proxy.blackhole();
      await expect(etcd.put('k', 'v')).rejects.toMatchObject({ code: 'unavailable', applied: 'maybe', attempts: 1 });
      proxy.heal();
      await etcd.put('warm', 'again');
      expect((await first).value).toMatchObject({ type: 'put', kv: { value: 'again' } });
    });

    it('that are too many for the server cost no read and no event', async () => {
      // etcd allows one in five seconds: it says GOAWAY (ENHANCE_YOUR_CALM) after the third.
      await using etcd = new Etcd({
        endpoints: suite.cluster.members[0]!.address,
        keepalive: { minTimeMs: 20, timeMs: 20, timeoutMs: 1_000 },
      });
      const key = suite.prefix();
      const seen: string[] = [];
      const controller = new AbortController();
      const watching = (async () => {
        for await (const event of etcd.watch(key, { signal: controller.signal })) {
          if (event.type === 'put') seen.push(event.kv.value);
        }
      })().catch(() => {});
      await etcd.get(key);
      const put = new Etcd({ endpoints: suite.cluster.members[0]!.address, keepalive: false });
      for (let i = 0; i < 100; i++) {
        await put.put(key, `${i}`);
        await etcd.get(key);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await expect.poll(() => seen.length).toBe(100);
      expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => `${i}`));
      controller.abort();
      await watching;
      await put.close();
    });
  });
});

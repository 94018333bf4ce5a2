/** A store that is too slow for a while, on virtual time: what that costs those who are registered, and for how long. */
import { describe, expect, it } from 'vitest';
import { Registration } from '../../../../recipes/services/registration/registration.ts';
import type { Revision } from '../../../../src/index.ts';
import { TestCluster, VirtualClock } from '../../../../src/testing/index.ts';
import { LAYOUT, SPEC } from './bed.ts';

const TTL_SECONDS = 5;
const JITTER_MS = 1_000;
/** What a return takes besides the jitter: four answers, and a lease's end goes through the log. */
const SOME_MS = 500;

/** Ten instances registered at once by way of one member, and an eye on another one. */
async function crowd() {
  const clock = new VirtualClock();
  const cluster = await TestCluster.start({ members: 3, clock, seed: 1 });
  const [slow, other] = cluster.members;
  const etcd = cluster.client({ endpoints: [`http://${slow!.endpoint}`] });
  const eye = cluster.client({ endpoints: [`http://${other!.endpoint}`] });
  const options = { ttlSeconds: TTL_SECONDS, rejoinJitterMs: JITTER_MS };
  const starting = Array.from({ length: 10 }, (_, index) =>
    Registration.start(etcd, LAYOUT, { ...SPEC, id: `${index}` }, options),
  );
  const all = await clock.until(Promise.all(starting));
  const from = await clock.until(eye.revision());
  const told: { readonly key: string; readonly type: string; readonly at: number }[] = [];
  const over = new AbortController();
  const watching = (async () => {
    const events = eye.watch({ prefix: 'services/' }, { from: (from + 1n) as Revision, signal: over.signal });
    for await (const event of events) {
      if (event.type === 'put' || event.type === 'delete') {
        told.push({ key: event.kv.key, type: event.type, at: clock.now() });
      }
    }
  })().catch(() => {});
  return {
    clock,
    slow: slow!,
    all,
    told,
    async [Symbol.asyncDispose]() {
      over.abort();
      await watching;
      await clock.until(Promise.all(all.map((registration) => registration.deregister())));
      await cluster.close();
    },
  };
}

describe('a store that answers late', () => {
  it('costs nobody the registration while it is no later than the time to live', async () => {
    await using on = await crowd();
    // Over the first keepalive, its repetition on another stream, and nearly to the end of the lease.
    await on.clock.advance(1_500);
    on.slow.stallClients();
    await on.clock.advance(3_000);
    on.slow.admitClients();
    await on.clock.advance(20_000);
    expect(on.told).toEqual([]);
    expect(new Set(on.all.map(({ state }) => state))).toEqual(new Set(['registered']));
  });

  it('and later than that, for no longer than the jitter and some answers after it is well again', async () => {
    await using on = await crowd();
    await on.clock.advance(1_500);
    on.slow.stallClients();
    await on.clock.advance(6_500);
    const wellAt = on.clock.now();
    on.slow.admitClients();
    await on.clock.advance(20_000);
    for (const { key, state } of on.all) {
      expect(state).toBe('registered');
      const own = on.told.filter((event) => event.key === key);
      expect(own.map(({ type }) => type)).toEqual(['delete', 'put']);
      expect(own[0]!.at).toBeLessThanOrEqual(wellAt);
      expect(own[1]!.at).toBeLessThanOrEqual(wellAt + JITTER_MS + SOME_MS);
    }
  });
});

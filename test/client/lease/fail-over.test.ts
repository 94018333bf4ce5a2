import { describe, expect, it } from 'vitest';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { failure, ScriptedCluster } from './scripted-cluster.ts';

const NO_LEADER = failure(GrpcCode.UNAVAILABLE, 'etcdserver: no leader');
const DENIED = failure(GrpcCode.PERMISSION_DENIED, 'etcdserver: permission denied');

async function open(cluster: ScriptedCluster, count = 1) {
  const leases = [];
  for (let i = 0; i < count; i++)
    leases.push(await cluster.run(cluster.leases.open({ ttlSeconds: cluster.ttlSeconds })));
  return leases;
}

describe('the keepalive stream', () => {
  it('asks for a leader', async () => {
    const cluster = new ScriptedCluster();
    await open(cluster);
    await cluster.clock.advance(2_500);
    expect(cluster.streams[0]!.metadata).toMatchObject({ hasleader: 'true' });
    cluster.keeper.close();
  });

  it('moves to another member when one says nothing for a third of the time to live, and sends everything again', async () => {
    const cluster = new ScriptedCluster({ members: 3, ttlSeconds: 6 });
    const leases = await open(cluster, 10);
    const t0 = cluster.clock.now();
    let silent: string | undefined;
    cluster.script((_id, stream) => {
      silent ??= stream.member.name;
      return stream.member.name === silent ? 'silence' : 6;
    });
    await cluster.clock.advance(12_000);
    const [first, second] = cluster.streams.sort((a, b) => (a.asked[0]?.at ?? 0) - (b.asked[0]?.at ?? 0));
    expect(first!.member.name).toBe(silent);
    expect(first!.asked.map(({ at }) => at - t0)).toEqual(Array(10).fill(2_000));
    expect(second!.member.name).not.toBe(silent);
    expect(second!.asked.slice(0, 10).map(({ at }) => at - t0)).toEqual(Array(10).fill(4_000));
    expect(leases.every(({ alive }) => alive)).toBe(true);
    expect(cluster.openStreams).toHaveLength(1);
    cluster.keeper.close();
  });

  it('makes the silent member doubtful for everybody', async () => {
    const cluster = new ScriptedCluster({ members: 2, ttlSeconds: 6 });
    cluster.script(() => 'silence');
    await open(cluster);
    await cluster.clock.advance(4_000);
    const [silent] = cluster.asked;
    expect(cluster.caller.pool.members.filter(({ healthy }) => !healthy).map(({ name }) => name)).toEqual([
      silent!.member,
    ]);
    cluster.keeper.close();
  });

  it('does not come back to a member that ended it, while there is another', async () => {
    const cluster = new ScriptedCluster({ members: 2, ttlSeconds: 6 });
    cluster.script(() => {
      if (cluster.asked.length > 1) return 6;
      cluster.caller.pool.pick(); // somebody else takes the turn of the other member
      return 'end';
    });
    await open(cluster);
    await cluster.clock.advance(3_000);
    expect(new Set(cluster.asked.map(({ member }) => member)).size).toBe(2);
    cluster.keeper.close();
  });

  it('recovers when it finds the connection gone as it opens', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const [lease] = await open(cluster);
    cluster.members[0]!.stale = true;
    await cluster.clock.advance(3_000);
    expect(cluster.streams.length).toBeGreaterThan(3);
    expect(cluster.streams.length).toBeLessThan(60);
    cluster.members[0]!.stale = false;
    await cluster.clock.advance(3_000);
    expect(cluster.asked.length).toBeGreaterThan(0);
    expect(lease!.alive).toBe(true);
    expect(cluster.openStreams).toHaveLength(1);
    cluster.keeper.close();
  });

  it('is not wanted any more when what waited for it is lost', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 2 });
    cluster.script(() => NO_LEADER);
    const t0 = cluster.clock.now();
    const [brief] = await open(cluster);
    cluster.ttlSeconds = 60;
    const [long] = await open(cluster);
    await cluster.clock.advance(t0 + 1_950.5 - cluster.clock.now());
    expect(brief!.alive).toBe(false);
    const tries = cluster.streams.length;
    await cluster.clock.advance(10_000);
    expect(cluster.streams).toHaveLength(tries);
    expect(long!.alive).toBe(true);
    cluster.keeper.close();
  });

  it('tries a third member when the second is silent too', async () => {
    // With a time to live of 6 there is just time for a request at 2 and one at 4; the third comes too late.
    const cluster = new ScriptedCluster({ members: 3, ttlSeconds: 6 });
    cluster.script(() => 'silence');
    const [lease] = await open(cluster);
    await cluster.clock.advance(10_000);
    expect(new Set(cluster.asked.map(({ member }) => member)).size).toBe(2);
    expect(lease!.lossReason).toBe('deadline');
    expect(cluster.openStreams).toHaveLength(0);
  });

  it('takes the late answer of a slow member all the same', async () => {
    const cluster = new ScriptedCluster({ members: 2, ttlSeconds: 6 });
    for (const member of cluster.members) member.delayMs = 3_000;
    const [lease] = await open(cluster);
    await cluster.clock.advance(120_000);
    expect(lease!.alive).toBe(true);
    expect(cluster.openStreams.length).toBeLessThanOrEqual(2);
    cluster.keeper.close();
    expect(cluster.openStreams).toHaveLength(0);
  });

  it('gives up a slow member once the other has answered', async () => {
    const cluster = new ScriptedCluster({ members: 2, ttlSeconds: 6 });
    let silent: string | undefined;
    cluster.script((_id, stream) => {
      silent ??= stream.member.name;
      return stream.member.name === silent ? 'silence' : 6;
    });
    await open(cluster);
    await cluster.clock.advance(4_100);
    expect(cluster.streams.filter(({ member }) => member.name === silent).map(({ cancelled }) => cancelled)).toEqual([
      true,
    ]);
    cluster.keeper.close();
  });

  it('is not opened anew before something is due', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    await open(cluster);
    await cluster.clock.advance(2_500);
    cluster.streams[0]!.end(failure(GrpcCode.UNAVAILABLE, 'cut'));
    await cluster.clock.advance(1_000);
    expect(cluster.streams).toHaveLength(1);
    await cluster.clock.advance(1_000);
    expect(cluster.streams).toHaveLength(2);
    cluster.keeper.close();
  });

  it('loses no lease, and mixes none up, when members without a leader refuse it', async () => {
    const cluster = new ScriptedCluster({ members: 3, ttlSeconds: 6 });
    const leases = await open(cluster, 20);
    cluster.script((_id, stream) => (stream.asked.length < 5 ? 'silence' : NO_LEADER));
    await cluster.clock.advance(3_000);
    expect(leases.every(({ alive }) => alive)).toBe(true);
    cluster.script(() => 6);
    await cluster.clock.advance(1_500);
    const last = cluster.openStreams.at(-1)!;
    expect(new Set(last.asked.map(({ id }) => id))).toEqual(new Set(leases.map(({ id }) => id)));
    await cluster.clock.advance(30_000);
    expect(leases.every(({ alive }) => alive)).toBe(true);
    cluster.keeper.close();
  });

  it('backs off while it fails, but not past the deadline of what waits', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 60 });
    cluster.script(() => NO_LEADER);
    const [lease] = await open(cluster);
    await cluster.clock.advance(20_000 + 30_000);
    // In 30 s, at the shortest pauses there are (a tenth of 50, 100, 200 … 1000 ms): some 300 tries.
    expect(cluster.streams.length).toBeGreaterThan(20);
    expect(cluster.streams.length).toBeLessThan(350);
    cluster.script(() => 60);
    await cluster.clock.advance(1_000);
    expect(lease!.alive).toBe(true);
    cluster.keeper.close();
  });

  it('pauses no longer than a quarter of what the most urgent lease has left', async () => {
    const cluster = new ScriptedCluster({ members: 1, ttlSeconds: 2, jitter: 0.999 });
    cluster.script(() => NO_LEADER);
    const [lease] = await open(cluster);
    await cluster.clock.advance(1_800);
    cluster.script(() => 2);
    await cluster.clock.advance(1_000);
    expect(lease!.alive).toBe(true);
    cluster.keeper.close();
  });

  it('is replaced without a pause when it breaks again after it had worked', async () => {
    const cluster = new ScriptedCluster({ members: 2, ttlSeconds: 6, jitter: 0.999 });
    await open(cluster);
    let trouble = 8;
    cluster.script(() => (trouble-- > 0 ? 'end' : 6));
    await cluster.clock.advance(6_500);
    expect(cluster.asked.length).toBeGreaterThan(8);
    await cluster.clock.advance(1_000);
    const before = cluster.clock.now();
    trouble = 1;
    await cluster.clock.advance(2_100);
    const again = cluster.asked.filter(({ at }) => at > before).slice(0, 2);
    expect(again[1]!.at).toBe(again[0]!.at);
    cluster.keeper.close();
  });

  it('does not wait for the end of a member’s rest when a lease cannot', async () => {
    const cluster = new ScriptedCluster({ members: 1, ttlSeconds: 6, jitter: 0.999 });
    const [lease] = await open(cluster);
    const [member] = cluster.members;
    await cluster.clock.advance(1_000);
    member!.up = false;
    member!.state = 'idle';
    // Since the first attempt at 2000, the pauses between attempts have come to 3.2 s: the next would be too late.
    await cluster.clock.advance(4_300);
    member!.up = true;
    await cluster.clock.advance(600);
    expect(lease!.alive).toBe(true);
    expect(cluster.asked).toHaveLength(1);
    cluster.keeper.close();
  });

  it('ends for good when the client is closed while it is being opened', async () => {
    const cluster = new ScriptedCluster({ members: 1, ttlSeconds: 6 });
    const [lease] = await open(cluster);
    const [member] = cluster.members;
    member!.up = false;
    member!.state = 'idle';
    await cluster.clock.advance(2_500);
    cluster.keeper.close();
    member!.up = true;
    await cluster.clock.advance(20_000);
    expect(cluster.streams).toHaveLength(0);
    expect(lease!.lossReason).toBe('closed');
    expect(cluster.clock.pending.all).toBe(0);
  });
});

describe('a token that ran out', () => {
  const credentials = { username: 'root', password: 'secret' };

  it('is replaced, and the stream opened anew with the new one', async () => {
    const cluster = new ScriptedCluster({ members: 1, ttlSeconds: 6, credentials });
    cluster.script((_id, { metadata }) =>
      metadata['token'] === 'token-2' ? 6 : failure(GrpcCode.UNAUTHENTICATED, 'etcdserver: invalid auth token'),
    );
    const [lease] = await open(cluster);
    await cluster.clock.advance(2_500);
    expect(cluster.logins).toBe(2);
    expect(cluster.streams.map(({ metadata }) => metadata['token'])).toEqual(['token-1', 'token-2']);
    expect(lease!.alive).toBe(true);
    await cluster.clock.advance(20_000);
    expect(cluster.logins).toBe(2);
    cluster.keeper.close();
  });

  it('does not become a flood of logins when the new one is refused too', async () => {
    const cluster = new ScriptedCluster({ members: 1, ttlSeconds: 6, credentials });
    cluster.script(() => failure(GrpcCode.UNAUTHENTICATED, 'etcdserver: invalid auth token'));
    const [lease] = await open(cluster);
    await cluster.clock.advance(10_000);
    expect(cluster.logins).toBeLessThan(80);
    expect(lease!.lossReason).toBe('deadline');
    expect(String((lease!.signal.reason as Error).cause)).toMatch(/invalid auth token/);
  });
});

describe('a server that refuses one of many leases', () => {
  it('loses that one, as unauthorized, and keeps the others', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    cluster.script((id) => (id === 103n || id === 107n ? DENIED : 6));
    const leases = await open(cluster, 10);
    await cluster.clock.advance(2_500);
    const lost = leases.filter(({ alive }) => !alive);
    expect(lost.map(({ id, lossReason }) => [id, lossReason])).toEqual([
      [103n, 'unauthorized'],
      [107n, 'unauthorized'],
    ]);
    // The first shared stream, and for each refusal the suspect's own and the next shared one.
    expect(cluster.streams).toHaveLength(5);
    await cluster.clock.advance(30_000);
    expect(leases.filter(({ alive }) => alive)).toHaveLength(8);
    expect(cluster.openStreams).toHaveLength(1);
    cluster.keeper.close();
  });

  it('loses no innocent lease when it answers out of order', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    // Refuses the last request before it answers those in front of it.
    cluster.script((id, stream) => {
      if (id === 104n) return DENIED;
      cluster.clock.after(1, () => stream.answer(id, 6));
      return 'silence';
    });
    const leases = await open(cluster, 5);
    await cluster.clock.advance(30_000);
    expect(leases.map(({ lossReason }) => lossReason)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      'unauthorized',
    ]);
    cluster.keeper.close();
  });

  it('keeps a suspect that is renewed on its own', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    let refusals = 1;
    cluster.script(() => (refusals-- > 0 ? DENIED : 6));
    const leases = await open(cluster, 3);
    await cluster.clock.advance(30_000);
    expect(leases.every(({ alive }) => alive)).toBe(true);
    expect(cluster.openStreams).toHaveLength(1);
    cluster.keeper.close();
  });
});

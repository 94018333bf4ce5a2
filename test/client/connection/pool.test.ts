import { describe, expect, it } from 'vitest';
import { ClusterMismatchError, TlsError, UnsupportedError } from '../../../src/client/errors.ts';
import { parseEndpoint } from '../../../src/client/transport/address.ts';
import { Watch } from '../../../src/protocol/generated/etcdserverpb.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { FakeCluster, failing, OK, outcome, PUT, RANGE } from './fake-cluster.ts';

const BROKEN = failing(GrpcCode.UNAVAILABLE, 'Connection dropped');
const NO_LEADER = failing(GrpcCode.UNAVAILABLE, 'etcdserver: no leader');
const LEARNER = failing(GrpcCode.UNAVAILABLE, 'etcdserver: rpc not supported for learner');

describe('the choice of a member', () => {
  it('goes round', async () => {
    const cluster = new FakeCluster(3);
    await cluster.warm();
    for (let i = 0; i < 30; i++) await cluster.read();
    expect(cluster.members.map((member) => member.callsOf(RANGE).length)).toEqual([10, 10, 10]);
  });

  it('probes a suspect before it gets calls again', async () => {
    const cluster = new FakeCluster(3);
    await cluster.warm();
    const [bad] = cluster.members;
    bad!.reply = () => BROKEN;
    bad!.status = BROKEN;
    for (let i = 0; i < 30; i++) {
      await cluster.read();
      await cluster.clock.advance(200);
    }
    // One call that failed; since then, in 6 s, only probes, rarer and rarer.
    expect(bad!.callsOf(RANGE)).toHaveLength(1);
    expect(bad!.probes).toBeGreaterThan(2);
    expect(bad!.probes).toBeLessThan(14);
    bad!.status = undefined;
    bad!.reply = () => OK;
    for (let i = 0; i < 30; i++) {
      await cluster.read();
      await cluster.clock.advance(200);
    }
    expect(bad!.callsOf(RANGE).length).toBeGreaterThan(5);
  });

  it('leaves a member alone for longer when it answers probes and fails calls', async () => {
    const cluster = new FakeCluster(2);
    await cluster.warm();
    const [bad] = cluster.members;
    bad!.reply = () => BROKEN;
    for (let i = 0; i < 1_000; i++) {
      await cluster.read();
      await cluster.clock.advance(10);
    }
    // In 10 s, with rests of 220 ms; with rests that do not grow it would be over 150.
    expect(bad!.callsOf(RANGE).length).toBeLessThan(60);
    expect(bad!.callsOf(RANGE).length).toBeGreaterThan(10);
  });

  it('leaves a member without a leader, and comes back when its probe says so', async () => {
    const cluster = new FakeCluster(2);
    await cluster.warm();
    const [lost] = cluster.members;
    lost!.reply = () => NO_LEADER;
    lost!.facts.leader = 0n;
    for (let i = 0; i < 20; i++) {
      await cluster.write();
      await cluster.clock.advance(100);
    }
    expect(lost!.callsOf(PUT)).toHaveLength(1);
    lost!.facts.leader = 1n;
    lost!.reply = () => OK;
    await cluster.clock.advance(2_000);
    for (let i = 0; i < 20; i++) await cluster.write().then(() => cluster.clock.advance(0));
    expect(lost!.callsOf(PUT).length).toBeGreaterThan(5);
  });

  it('reads from a member without a leader what its own copy can answer, and only when there is no other', async () => {
    const cluster = new FakeCluster(2);
    const [lost, other] = cluster.members;
    lost!.facts.leader = 0n;
    lost!.reply = (_path, call) => (call.metadata['hasleader'] ? NO_LEADER : OK);
    await cluster.warm();
    for (let i = 0; i < 10; i++) await cluster.serializableRead();
    expect(cluster.members.map((member) => member.callsOf(RANGE).length)).toEqual([0, 10]);
    other!.facts.leader = 0n;
    other!.reply = lost!.reply;
    const linearizable = outcome(cluster.read());
    await cluster.clock.advance(10_000);
    expect(linearizable).toMatchObject({ state: 'rejected', error: { code: 'deadline', applied: 'no' } });
    const before = lost!.callsOf(RANGE).length + other!.callsOf(RANGE).length;
    for (let i = 0; i < 10; i++) await cluster.serializableRead();
    expect(lost!.callsOf(RANGE).length + other!.callsOf(RANGE).length).toBe(before + 10);
  });

  it('does not send a learner what it cannot serve, and notices its promotion', async () => {
    const cluster = new FakeCluster(2);
    const [, learner] = cluster.members;
    learner!.facts.isLearner = true;
    learner!.reply = (_path, call) => (call.metadata['hasleader'] ? LEARNER : OK);
    await cluster.warm();
    for (let i = 0; i < 10; i++) await cluster.read();
    expect(learner!.callsOf(RANGE)).toHaveLength(0);
    for (let i = 0; i < 10; i++) await cluster.serializableRead();
    expect(learner!.callsOf(RANGE)).toHaveLength(5);
    learner!.facts.isLearner = false;
    learner!.reply = () => OK;
    await cluster.clock.advance(5_000);
    await cluster.read();
    await cluster.clock.settle();
    for (let i = 0; i < 10; i++) await cluster.read();
    expect(learner!.callsOf(RANGE)).toHaveLength(10);
  });

  it('lets a call go elsewhere that a member refuses as a learner', async () => {
    const cluster = new FakeCluster(2);
    await cluster.warm();
    for (const member of cluster.members) member.reply = () => OK;
    cluster.members[0]!.reply = () => LEARNER;
    cluster.members[0]!.facts.isLearner = true;
    for (let i = 0; i < 10; i++) await cluster.write();
    expect(cluster.members.map((member) => member.callsOf(PUT).length)).toEqual([1, 10]);
  });

  it('is not soured by a few short deadlines, but by a row of them', async () => {
    const cluster = new FakeCluster(1);
    await cluster.warm();
    const [slow] = cluster.members;
    const healthy: boolean[] = [];
    for (let i = 0; i < 3; i++) {
      slow!.reply = () => 'silence';
      const seen = outcome(cluster.write({ timeoutMs: 50 }));
      await cluster.clock.advance(50);
      expect(seen.error).toMatchObject({ code: 'deadline' });
      healthy.push(cluster.pool.members[0]!.healthy);
    }
    expect(healthy).toEqual([true, true, false]);
  });

  it('is not changed by a stream that its owner cancels, but by one that breaks', async () => {
    const cluster = new FakeCluster(1);
    await cluster.warm();
    const handlers = { onMessage: () => {}, onClose: () => {} };
    const stream = await cluster.caller.open(Watch.watch, { kind: 'read' }, {}, handlers);
    stream.cancel();
    expect(stream.member.healthy).toBe(true);
    await cluster.caller.open(Watch.watch, { kind: 'read' }, {}, handlers);
    cluster.members[0]!.cut();
    expect(stream.member.healthy).toBe(false);
  });

  it('makes a new connection when the old one does not answer a probe', async () => {
    const cluster = new FakeCluster(1);
    await cluster.warm();
    const [member] = cluster.members;
    member!.reply = () => 'silence';
    member!.status = 'silence';
    const lost = outcome(cluster.write({ timeoutMs: 1_000 }));
    await cluster.clock.advance(1_000);
    expect(lost.error).toMatchObject({ applied: 'maybe' });
    const next = outcome(cluster.write({ timeoutMs: 10_000 }));
    // The probe goes out on the old connection, and is lost with it.
    await cluster.clock.advance(1_000);
    expect(member!.transports).toHaveLength(1);
    member!.reply = () => OK;
    member!.status = undefined;
    await cluster.clock.advance(4_500);
    expect(next.state).toBe('resolved');
    expect(member!.transports.map(({ state }) => state)).toEqual(['closed', 'ready']);
  });
});

describe('a wait for a member', () => {
  it('ends at once when nothing can help', async () => {
    for (const [kind, type] of [
      ['tls', TlsError],
      ['not-etcd', UnsupportedError],
    ] as const) {
      const cluster = new FakeCluster(2);
      for (const member of cluster.members) member.refuses = kind;
      const first = outcome(cluster.read());
      await cluster.clock.advance(0);
      expect(first.error).toBeInstanceOf(type);
      // A second call, while they rest, does not wait for the next try either.
      await cluster.clock.advance(20);
      const second = outcome(cluster.read());
      await cluster.clock.advance(0);
      expect(second.error).toBeInstanceOf(type);
      const tries = cluster.members[0]!.connects;
      await cluster.clock.advance(2_000);
      const third = outcome(cluster.read());
      await cluster.clock.advance(0);
      expect(third.error).toBeInstanceOf(type);
      expect(cluster.members[0]!.connects).toBe(tries + 1);
    }
  });

  it('goes on while one of them may come back, and is short when it does', async () => {
    const cluster = new FakeCluster(2);
    cluster.members[0]!.refuses = 'tls';
    cluster.members[1]!.refuses = 'refused';
    const seen = outcome(cluster.read({ timeoutMs: 60_000 }));
    await cluster.clock.advance(30_000);
    expect(seen.state).toBe('pending');
    cluster.members[1]!.refuses = undefined;
    await cluster.clock.advance(2_000);
    expect(seen.state).toBe('resolved');
  });

  it('does not miss the end of a rest that falls between two looks at the clock', async () => {
    const cluster = new FakeCluster(1);
    await cluster.warm();
    // As in life: time passes with every look, and timers come a little early.
    const { clock } = cluster;
    const [now, after] = [clock.now.bind(clock), clock.after.bind(clock)];
    clock.now = () => {
      clock.block(0.3);
      return now();
    };
    clock.after = (delayMs, callback, options) => after(delayMs - 1, callback, options);
    for (let i = 0; i < 100; i++) {
      let failed = false;
      cluster.members[0]!.reply = () => {
        const reply = failed ? OK : BROKEN;
        failed = true;
        return reply;
      };
      const seen = outcome(cluster.read({ timeoutMs: 60_000 }));
      await clock.advance(1_000);
      expect(seen.state).toBe('resolved');
    }
  });

  it('names every endpoint and why it failed', async () => {
    const cluster = new FakeCluster(2);
    cluster.members[0]!.refuses = 'tls';
    cluster.members[1]!.refuses = 'refused';
    const seen = outcome(cluster.read());
    await cluster.clock.advance(5_000);
    expect(seen.error.message).toMatch(/m1:2379: tls!; m2:2379: refused!/);
  });

  it('holds every member to the cluster that the first one belongs to', async () => {
    const cluster = new FakeCluster(2);
    await cluster.read();
    await cluster.clock.settle();
    cluster.members[1]!.facts.clusterId = 43n;
    cluster.members[1]!.cut();
    for (let i = 0; i < 4; i++) await cluster.read().then(() => cluster.clock.settle());
    expect(cluster.pool.members[1]!.lastFailure?.error).toMatchObject({ kind: 'foreign' });
    const aimed = outcome(cluster.read({ endpoint: 'm2:2379' }));
    await cluster.clock.advance(0);
    expect(aimed.error).toBeInstanceOf(ClusterMismatchError);
    // What was connected to it is not kept.
    expect(cluster.members[1]!.transports.filter(({ state }) => state === 'ready')).toHaveLength(0);
  });
});

describe('the endpoints', () => {
  it('can be replaced: those that stay keep their connection', async () => {
    const cluster = new FakeCluster(3);
    await cluster.warm();
    const kept = cluster.pool.members[1];
    cluster.members[0]!.reply = () => 'silence';
    const lost = outcome(cluster.write({ endpoint: 'm1:2379' }));
    await cluster.clock.settle();
    cluster.pool.setEndpoints(['m2:2379', 'm9:2379'].map((text) => parseEndpoint(text, false)));
    await cluster.clock.settle();
    expect(lost.error).toMatchObject({ code: 'unavailable', applied: 'maybe' });
    expect(cluster.pool.members[0]).toBe(kept);
    for (let i = 0; i < 10; i++) await cluster.read().then(() => cluster.clock.settle());
    expect(cluster.members[1]!.connects).toBe(1);
    expect(cluster.at('m9:2379').callsOf(RANGE).length).toBeGreaterThan(3);
    expect(cluster.members[2]!.transports.map(({ state }) => state)).toEqual(['closed']);
  });

  it('can be called one by one, also one that is not in the list', async () => {
    const cluster = new FakeCluster(2);
    for (let i = 0; i < 5; i++) await cluster.read({ endpoint: 'm2:2379' });
    for (let i = 0; i < 5; i++) await cluster.read({ endpoint: 'http://m7:2379' });
    expect(cluster.members[0]!.callsOf(RANGE)).toHaveLength(0);
    expect(cluster.members[1]!.callsOf(RANGE)).toHaveLength(5);
    expect(cluster.at('m7:2379').callsOf(RANGE)).toHaveLength(5);
    expect(cluster.pool.members).toHaveLength(2);
    expect(cluster.at('m7:2379').connects).toBe(1);
    cluster.pool.close();
    expect(cluster.at('m7:2379').transports.map(({ state }) => state)).toEqual(['closed']);
  });

  it('aimed at are waited for within the deadline', async () => {
    const cluster = new FakeCluster(2);
    await cluster.warm();
    cluster.members[1]!.refuses = 'refused';
    cluster.members[1]!.cut();
    const seen = outcome(cluster.read({ endpoint: 'm2:2379', timeoutMs: 10_000 }));
    await cluster.clock.advance(6_000);
    expect(seen.state).toBe('pending');
    cluster.members[1]!.refuses = undefined;
    await cluster.clock.advance(2_000);
    expect(seen.state).toBe('resolved');
  });
});

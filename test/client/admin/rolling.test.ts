import { afterEach, describe, expect, it } from 'vitest';
import type { DefragmentAllOptions, DefragmentStep } from '../../../src/client/admin/defragment-all.ts';
import { memberId } from '../../../src/protocol/int64.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { type AdminClient, type Answer, adminClient, type ScriptRecord, scripted } from './callers.ts';

const STATUS = '/etcdserverpb.Maintenance/Status';
const DEFRAGMENT = '/etcdserverpb.Maintenance/Defragment';
const MOVE_LEADER = '/etcdserverpb.Maintenance/MoveLeader';
const DOWNGRADE = '/etcdserverpb.Maintenance/Downgrade';

const down: Answer = { failure: { grpcCode: 14, details: 'connection refused', sent: 'no' } };
const refused = (details: string, grpcCode: 2 | 9 | 14 = 9): Answer => ({
  failure: { grpcCode, details, sent: 'maybe' },
});

interface FakeMember {
  id: bigint;
  learner?: boolean;
  down?: boolean;
  appliedIndex?: bigint;
}

/** A cluster that a test can change while calls run. */
class FakeCluster {
  leader = 1n;
  committed = 100n;
  members: FakeMember[] = [{ id: 1n }, { id: 2n }, { id: 3n }];
  /** Answers in place of the usual; return undefined for the usual. */
  override: (path: string, member: FakeMember, request: object) => Answer | undefined = () => undefined;
  readonly defragmented: bigint[] = [];
  readonly clock = new VirtualClock();
  readonly etcd: AdminClient;
  readonly record: ScriptRecord;

  constructor() {
    const { transports, record } = scripted({
      unary: (path, request, endpoint) => this.#answer(path, request, endpoint),
    });
    this.record = record;
    const endpoints = this.members.map(({ id }) => `m${id}:1`);
    this.etcd = adminClient({ endpoints, transports, clock: this.clock });
  }

  member(id: bigint): FakeMember {
    return this.members.find((member) => member.id === id)!;
  }

  #answer(path: string, request: object, endpoint: string): Answer {
    const member = this.members.find(({ id }) => endpoint === `m${id}:1`)!;
    const special = this.override(path, member, request);
    if (special !== undefined) return special;
    if (member.down) return down;
    const header = { clusterId: 9n, memberId: member.id, revision: 1n, raftTerm: 1n };
    switch (path) {
      case STATUS:
        return {
          message: {
            header,
            version: '3.5.30',
            leader: this.leader,
            raftIndex: this.committed,
            raftAppliedIndex: member.appliedIndex ?? this.committed,
            isLearner: member.learner,
            dbSize: this.defragmented.includes(member.id) ? 10n : 100n,
          },
        };
      case '/etcdserverpb.Cluster/MemberList':
        return {
          message: {
            header,
            members: this.members.map(({ id, learner }) => ({
              ID: id,
              name: `m${id}`,
              clientURLs: [`http://m${id}:1`],
              isLearner: learner,
            })),
          },
        };
      case DEFRAGMENT:
        this.defragmented.push(member.id);
        return { message: {} };
      default:
        return { message: { header } };
    }
  }

  /** Runs something that waits, on virtual time. */
  async run<T>(work: Promise<T>): Promise<T> {
    let done = false;
    const finished = work.finally(() => {
      done = true;
    });
    finished.catch(() => {});
    for (let i = 0; i < 500 && !done; i++) await this.clock.advance(500);
    return finished;
  }
}

let fake: FakeCluster;
function start(): FakeCluster {
  fake = new FakeCluster();
  return fake;
}
afterEach(() => fake.etcd[Symbol.dispose]());

function defragmentAll(options?: DefragmentAllOptions): Promise<readonly DefragmentStep[]> {
  return fake.run(fake.etcd.maintenance.defragmentAll(options));
}

describe('defragmentAll', () => {
  it('takes the followers first and the leader last', async () => {
    const { defragmented } = start();
    const steps = await defragmentAll();
    expect(defragmented).toEqual([2n, 3n, 1n]);
    expect(steps.map(({ bytesBefore, bytesAfter }) => [bytesBefore, bytesAfter])).toEqual(Array(3).fill([100, 10]));
    expect(fake.clock.pending.all).toBe(0);
  });

  it('follows the leadership when it moves on the way', async () => {
    const { defragmented } = start();
    await defragmentAll({
      onStep: ({ done }) => {
        if (done === 1) fake.leader = 3n;
      },
    });
    expect(defragmented).toEqual([2n, 1n, 3n]);
  });

  it('passes a learner over', async () => {
    start().members[1]!.learner = true;
    const steps = await defragmentAll();
    expect(fake.defragmented).toEqual([3n, 1n]);
    expect(steps.map(({ outcome }) => outcome)).toEqual(['skipped', 'defragmented', 'defragmented']);
  });

  it('does not begin with the next before the last has caught up', async () => {
    start();
    // Behind by what the others committed while it was silent.
    fake.override = (path, member) => {
      if (path === DEFRAGMENT && member.id === 2n) {
        fake.committed = 200n;
        fake.member(2n).appliedIndex = 100n;
      }
      return undefined;
    };
    const working = fake.etcd.maintenance.defragmentAll();
    await fake.clock.advance(10_000);
    expect(fake.defragmented).toEqual([2n]);
    fake.member(2n).appliedIndex = 199n;
    await fake.clock.advance(10_000);
    expect(fake.defragmented).toEqual([2n]);
    fake.member(2n).appliedIndex = 200n;
    await fake.run(working);
    expect(fake.defragmented).toEqual([2n, 3n, 1n]);
  });

  it('stops at a member that does not recover', async () => {
    start();
    fake.override = (path, member) => {
      if (path !== DEFRAGMENT) return undefined;
      fake.member(member.id).down = true;
      return { message: {} };
    };
    const told: DefragmentStep[] = [];
    const working = defragmentAll({ settleTimeoutMs: 20_000, onStep: (step) => told.push(step) });
    await expect(working).rejects.toMatchObject({ code: 'deadline', message: expect.stringContaining('m2') });
    expect(told.map(({ outcome }) => outcome)).toEqual(['failed']);
    expect(fake.defragmented).toEqual([]);
  });

  it('stops at the first failure, or goes on if told to', async () => {
    start();
    fake.override = (path, { id }) => (path === DEFRAGMENT && id === 2n ? refused('disk full', 2) : undefined);
    await expect(defragmentAll()).rejects.toMatchObject({ message: expect.stringContaining('disk full') });
    expect(fake.defragmented).toEqual([]);
    const steps = await defragmentAll({ continueOnError: true });
    expect(steps.map(({ outcome }) => outcome)).toEqual(['failed', 'defragmented', 'defragmented']);
    expect(steps[0]?.error?.message).toContain('disk full');
    expect(fake.defragmented).toEqual([3n, 1n]);
  });

  it('never costs the cluster its quorum', async () => {
    start().member(3n).down = true;
    await expect(defragmentAll()).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('m3'),
    });
    const steps = await defragmentAll({ continueOnError: true });
    expect(steps.map(({ outcome }) => outcome)).toEqual(['failed', 'failed', 'failed']);
    expect(fake.defragmented).toEqual([]);
  });

  it('sends no defragmentation twice', async () => {
    start();
    fake.override = (path) => (path === DEFRAGMENT ? refused('connection reset', 14) : undefined);
    await expect(defragmentAll()).rejects.toMatchObject({ code: 'unavailable', applied: 'maybe' });
    expect(fake.record.unary.filter(({ path }) => path === DEFRAGMENT).length).toBe(1);
  });

  it('ends when its signal fires, also while it waits', async () => {
    start();
    fake.override = (path, member) => {
      if (path === DEFRAGMENT) fake.member(member.id).appliedIndex = 1n;
      return undefined;
    };
    const stop = new AbortController();
    const working = fake.etcd.maintenance.defragmentAll({ signal: stop.signal, continueOnError: true });
    await fake.clock.advance(5_000);
    stop.abort();
    await expect(working).rejects.toMatchObject({ code: 'aborted' });
    expect(fake.defragmented).toEqual([2n]);
    expect(fake.clock.pending.all).toBe(0);
  });
});

describe('health', () => {
  it('has what could not be asked as data', async () => {
    start().member(2n).down = true;
    fake.member(3n).appliedIndex = 40n;
    const health = await fake.run(fake.etcd.maintenance.health());
    expect(health).toMatchObject({ healthy: false, hasQuorum: true, leaderId: 1n });
    expect(health.members.map(({ healthy, raftLag }) => [healthy, raftLag])).toEqual([
      [true, 0],
      [false, undefined],
      [true, 60],
    ]);
    expect(health.members[1]?.error?.code).toBe('unavailable');
  });

  it('does not take one member for another', async () => {
    start();
    // A proxy that leads to whom it likes.
    fake.override = (path, { id }) =>
      path === STATUS && id === 2n
        ? { message: { header: { clusterId: 9n, memberId: 1n }, leader: 1n, version: '3.5.30' } }
        : undefined;
    const health = await fake.run(fake.etcd.maintenance.health());
    expect(health.members[1]).toMatchObject({ healthy: false, status: undefined });
    expect(health.members[1]?.error?.message).toContain('another member');
  });

  it('rejects when nobody tells who the members are, and when aborted', async () => {
    start();
    for (const member of fake.members) member.down = true;
    await expect(fake.run(fake.etcd.maintenance.health())).rejects.toMatchObject({ code: 'unavailable' });
    start();
    const stop = new AbortController();
    fake.override = (path, { id }) =>
      path === STATUS && id === 2n && fake.record.unary.length > 6 ? 'hang' : undefined;
    const working = fake.etcd.maintenance.health({ signal: stop.signal });
    await fake.clock.settle();
    stop.abort();
    await expect(fake.run(working)).rejects.toMatchObject({ code: 'aborted' });
  });
});

describe('moveLeader', () => {
  it('asks the leader, and the next one when that has just changed', async () => {
    start();
    fake.override = (path, { id }) => {
      if (path !== MOVE_LEADER) return undefined;
      if (id === 1n) {
        fake.leader = 2n;
        return refused('etcdserver: not leader');
      }
      return { message: {} };
    };
    await fake.run(fake.etcd.maintenance.moveLeader(memberId(3n)));
    const asked = fake.record.unary.filter(({ path }) => path === MOVE_LEADER).map(({ endpoint }) => endpoint);
    expect(asked).toEqual(['m1:1', 'm2:1']);
  });

  it('is content when the target leads by then', async () => {
    start();
    fake.override = (path) => {
      if (path !== MOVE_LEADER) return undefined;
      fake.leader = 3n;
      return refused('etcdserver: not leader');
    };
    await fake.run(fake.etcd.maintenance.moveLeader(memberId(3n)));
    expect(fake.record.unary.filter(({ path }) => path === MOVE_LEADER).length).toBe(1);
  });

  it('does not chase for ever, and sends nothing twice that may have been done', async () => {
    start();
    fake.override = (path) => (path === MOVE_LEADER ? refused('etcdserver: not leader') : undefined);
    await expect(fake.run(fake.etcd.maintenance.moveLeader(memberId(3n)))).rejects.toMatchObject({
      etcdCode: 'NotLeader',
    });
    expect(fake.record.unary.filter(({ path }) => path === MOVE_LEADER).length).toBe(3);
    start();
    fake.override = (path) => (path === MOVE_LEADER ? refused('connection reset', 14) : undefined);
    await expect(fake.run(fake.etcd.maintenance.moveLeader(memberId(3n)))).rejects.toMatchObject({ applied: 'maybe' });
    expect(fake.record.unary.filter(({ path }) => path === MOVE_LEADER).length).toBe(1);
  });
});

describe('downgrade.enable', () => {
  const timeout = refused('etcdserver: request timed out', 14);

  it('believes the cluster over a timeout', async () => {
    start();
    fake.override = (path, _, request) => {
      if (path !== DOWNGRADE) return undefined;
      const { action } = request as { action: number };
      return action === 1 ? timeout : refused('etcdserver: cluster has a downgrade job in progress');
    };
    await fake.run(fake.etcd.maintenance.downgrade.enable('3.4'));
  });

  it('passes the timeout on when no downgrade is in progress', async () => {
    start();
    fake.override = (path, _, request) =>
      path === DOWNGRADE && (request as { action: number }).action === 1 ? timeout : undefined;
    const enabling = fake.run(fake.etcd.maintenance.downgrade.enable('3.4'));
    await expect(enabling).rejects.toMatchObject({ etcdCode: 'Timeout', applied: 'maybe' });
  });
});

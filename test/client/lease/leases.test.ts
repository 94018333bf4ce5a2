import { describe, expect, it } from 'vitest';
import { EtcdError, InvalidArgumentError, LeaseLostError } from '../../../src/client/errors.ts';
import { leaseId } from '../../../src/protocol/int64.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { failure, refuse, ScriptedCluster } from './scripted-cluster.ts';

const LOST_REPLY = [GrpcCode.UNAVAILABLE, 'connection dropped'] as const;
const EXISTS = [GrpcCode.FAILED_PRECONDITION, 'etcdserver: lease already exists'] as const;
const NOT_FOUND = [GrpcCode.NOT_FOUND, 'etcdserver: requested lease not found'] as const;

async function errorOf(work: Promise<unknown>): Promise<EtcdError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(EtcdError);
  return error as EtcdError;
}

/** Answers the first calls of a method as given, later ones as usual. */
function scriptCalls(cluster: ScriptedCluster, suffix: string, ...answers: (() => never)[]): void {
  for (const member of cluster.members) {
    member.unaryAnswer = (path, request) => {
      if (path.endsWith(suffix)) answers.shift()?.();
      return cluster.defaultAnswer(path, request);
    };
  }
}

describe('granting', () => {
  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 9_000_000_001, '5' as unknown as number])(
    'refuses a time to live of %s before anything is sent',
    async (ttlSeconds) => {
      const cluster = new ScriptedCluster();
      const error = await errorOf(cluster.leases.grant({ ttlSeconds }));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error.message).toContain('ttlSeconds');
      expect(cluster.calls('LeaseGrant')).toHaveLength(0);
    },
  );

  it('takes the largest time to live there is', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 9_000_000_000 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 9_000_000_000 }));
    expect(cluster.calls('LeaseGrant')[0]!.request['TTL']).toBe(9_000_000_000n);
    await cluster.clock.advance(2 ** 31);
    expect(lease.alive).toBe(true);
    cluster.keeper.close();
  });

  it('sends the same id again when the answer was lost, and takes "exists" for success', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 9 });
    scriptCalls(
      cluster,
      'LeaseGrant',
      () => refuse(...LOST_REPLY),
      () => refuse(...EXISTS),
    );
    const granted = await cluster.run(cluster.leases.grant({ ttlSeconds: 5 }));
    const ids = cluster.calls('LeaseGrant').map(({ request }) => request['ID']);
    expect(ids).toEqual([granted.id, granted.id]);
    expect(granted.ttlSeconds).toBe(9); // as the server says, not as was asked
    expect(cluster.calls('LeaseRevoke')).toHaveLength(0);
  });

  it('is lost when the lease that was granted unseen has run out meanwhile', async () => {
    const cluster = new ScriptedCluster();
    const answers = [() => refuse(...LOST_REPLY), () => refuse(...EXISTS)];
    cluster.members[0]!.unaryAnswer = (path, request) => {
      if (path.endsWith('LeaseGrant')) answers.shift()?.();
      if (path.endsWith('LeaseTimeToLive')) return { header: undefined, ID: 1n, TTL: -1n, grantedTTL: 0n, keys: [] };
      return cluster.defaultAnswer(path, request);
    };
    await expect(cluster.run(cluster.leases.grant({ ttlSeconds: 5 }))).rejects.toBeInstanceOf(LeaseLostError);
  });

  it('that was applied unseen, and then not to be confirmed, may have been applied, and is ended', async () => {
    for (const [code, options] of [
      ['deadline', { timeoutMs: 300 }],
      ['aborted', { timeoutMs: 60_000 }],
      ['permission-denied', {}],
    ] as const) {
      const cluster = new ScriptedCluster();
      const aborter = new AbortController();
      const answers = [() => refuse(...LOST_REPLY), () => refuse(...EXISTS)];
      cluster.members[0]!.unaryAnswer = (path, request) => {
        if (path.endsWith('LeaseGrant')) answers.shift()?.();
        if (path.endsWith('LeaseTimeToLive')) {
          if (code === 'aborted') aborter.abort();
          if (code !== 'deadline') refuse(GrpcCode.PERMISSION_DENIED, 'etcdserver: permission denied');
          refuse(GrpcCode.UNAVAILABLE, 'etcdserver: request timed out');
        }
        return cluster.defaultAnswer(path, request);
      };
      const startedAt = cluster.clock.now();
      const call = code === 'aborted' ? { ...options, signal: aborter.signal } : options;
      const error = await errorOf(cluster.run(cluster.leases.grant({ ttlSeconds: 5 }, call)));
      expect([error.code, error.applied]).toEqual([code, 'maybe']);
      // One deadline for both calls.
      if (code === 'deadline') expect(cluster.clock.now() - startedAt).toBeLessThanOrEqual(305);
      await cluster.clock.advance(100);
      const granted = cluster.calls('LeaseGrant')[0]!.request['ID'];
      expect(cluster.calls('LeaseRevoke').map(({ request }) => request['ID'])).toEqual([granted]);
    }
  });

  it('does not take somebody else’s lease for its own', async () => {
    const cluster = new ScriptedCluster();
    scriptCalls(cluster, 'LeaseGrant', () => refuse(...EXISTS));
    expect((await errorOf(cluster.run(cluster.leases.grant({ ttlSeconds: 5 })))).code).toBe('lease-exists');
    // With an id that others may use too, not even after an attempt without an answer.
    scriptCalls(
      cluster,
      'LeaseGrant',
      () => refuse(...LOST_REPLY),
      () => refuse(...EXISTS),
    );
    const error = await errorOf(cluster.run(cluster.leases.grant({ ttlSeconds: 5, id: leaseId(5n) })));
    expect([error.code, error.applied, error.attempts]).toEqual(['lease-exists', 'maybe', 2]);
  });

  it('cleans up behind itself when it fails with an unknown outcome, unless the id was given', async () => {
    const cluster = new ScriptedCluster({ timeoutMs: 1_000 });
    const fail = () => refuse(GrpcCode.UNKNOWN, 'what?');
    scriptCalls(cluster, 'LeaseGrant', fail, fail);
    const error = await errorOf(cluster.run(cluster.leases.grant({ ttlSeconds: 5 })));
    expect(error.applied).toBe('maybe');
    await cluster.clock.advance(100);
    const granted = cluster.calls('LeaseGrant')[0]!.request['ID'];
    expect(cluster.calls('LeaseRevoke').map(({ request }) => request['ID'])).toEqual([granted]);
    await errorOf(cluster.run(cluster.leases.grant({ ttlSeconds: 5, id: leaseId(5n) })));
    await cluster.clock.advance(100);
    expect(cluster.calls('LeaseRevoke')).toHaveLength(1);
  });

  it('gives random positive ids', async () => {
    const { Leases } = await import('../../../src/client/lease/leases.ts');
    const cluster = new ScriptedCluster();
    const leases = new Leases(cluster.caller, cluster.keeper);
    const ids = new Set<bigint>();
    for (let i = 0; i < 100; i++) ids.add((await cluster.run(leases.grant({ ttlSeconds: 5 }))).id);
    expect(ids.size).toBe(100);
    for (const id of ids) expect(id > 0n && id < 2n ** 63n).toBe(true);
    expect([...ids].some((id) => id > 2n ** 60n)).toBe(true);
  });

  it('refuses id 0', async () => {
    const cluster = new ScriptedCluster();
    expect(await errorOf(cluster.leases.grant({ ttlSeconds: 5, id: leaseId(0n) }))).toBeInstanceOf(
      InvalidArgumentError,
    );
  });

  it('that took most of the lease’s time asks whether the lease is still there', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 2 });
    cluster.members[0]!.unaryAnswer = async (path, request) => {
      await new Promise<void>((resolve) => cluster.clock.after(3_000, resolve));
      return cluster.defaultAnswer(path, request);
    };
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 2 }));
    expect(lease.alive).toBe(true);
    expect(cluster.asked).toHaveLength(1);
    cluster.script(() => 0);
    expect((await errorOf(cluster.run(cluster.leases.open({ ttlSeconds: 2 })))).code).toBe('lease-not-found');
    cluster.keeper.close();
  });
});

describe('a lease that was granted and cannot be kept', () => {
  it.each([undefined, leaseId(5n)])('may have been granted, and is ended unless its id was given (%s)', async (id) => {
    const cluster = new ScriptedCluster({ ttlSeconds: 2 });
    let slow = true;
    cluster.members[0]!.unaryAnswer = async (path, request) => {
      if (slow) await new Promise<void>((resolve) => cluster.clock.after(1_500, resolve));
      slow = false;
      return cluster.defaultAnswer(path, request);
    };
    cluster.script(() => 'silence');
    const error = await errorOf(cluster.run(cluster.leases.open({ ttlSeconds: 2, id })));
    expect([error.code, error.applied]).toEqual(['deadline', 'maybe']);
    await cluster.clock.advance(5_000);
    const granted = cluster.calls('LeaseGrant')[0]!.request['ID'];
    expect(cluster.calls('LeaseRevoke').map(({ request }) => request['ID'])).toEqual(id === undefined ? [granted] : []);
    expect(cluster.clock.pending.all).toBe(0);
  });

  it('may have been granted also when the client is closed meanwhile', async () => {
    const cluster = new ScriptedCluster();
    cluster.keeper.close();
    const error = await errorOf(cluster.run(cluster.leases.open({ ttlSeconds: 6 })));
    expect([error.code, error.applied]).toEqual(['closed', 'maybe']);
  });
});

describe('revoking', () => {
  it('tells whoever works under the lease before it tells the server', async () => {
    const cluster = new ScriptedCluster();
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    const order: string[] = [];
    lease.signal.addEventListener('abort', () => order.push('signal'));
    cluster.members[0]!.unaryAnswer = (path, request) => {
      order.push('server');
      return cluster.defaultAnswer(path, request);
    };
    await cluster.run(lease.revoke());
    expect(order).toEqual(['signal', 'server']);
    expect(lease.lossReason).toBe('revoked');
    await lease.revoke();
    expect(order).toHaveLength(2);
  });

  it('by id ends the lease that this client keeps alive too', async () => {
    const cluster = new ScriptedCluster();
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    await cluster.run(cluster.leases.revoke(lease.id));
    expect(lease.lossReason).toBe('revoked');
    expect(cluster.clock.pending.all).toBe(0);
  });

  it('takes "not found" for success only after an attempt without an answer', async () => {
    const cluster = new ScriptedCluster();
    scriptCalls(
      cluster,
      'LeaseRevoke',
      () => refuse(...LOST_REPLY),
      () => refuse(...NOT_FOUND),
      () => refuse(...NOT_FOUND),
    );
    await cluster.run(cluster.leases.revoke(leaseId(5n)));
    expect((await errorOf(cluster.run(cluster.leases.revoke(leaseId(5n))))).code).toBe('lease-not-found');
  });

  it('does not take an attempt that was refused for one without an answer', async () => {
    for (const refused of [
      () => refuse(GrpcCode.UNAVAILABLE, 'not connected', 'no'),
      () => refuse(GrpcCode.UNAUTHENTICATED, 'etcdserver: invalid auth token'),
    ]) {
      const cluster = new ScriptedCluster({ credentials: { username: 'u', password: 'p' } });
      scriptCalls(cluster, 'LeaseRevoke', refused, () => refuse(...NOT_FOUND));
      const error = await errorOf(cluster.run(cluster.leases.revoke(leaseId(5n))));
      expect([error.code, error.attempts]).toEqual(['lease-not-found', 2]);
    }
  });

  it('of a live lease that is gone is no error, and one that failed can be tried again', async () => {
    const cluster = new ScriptedCluster({ timeoutMs: 500 });
    const [one, two] = [
      await cluster.run(cluster.leases.open({ ttlSeconds: 6 })),
      await cluster.run(cluster.leases.open({ ttlSeconds: 6 })),
    ];
    scriptCalls(
      cluster,
      'LeaseRevoke',
      () => refuse(...NOT_FOUND),
      () => refuse(GrpcCode.UNKNOWN, 'what?'),
    );
    await cluster.run(one.revoke());
    expect((await errorOf(cluster.run(two.revoke()))).applied).toBe('maybe');
    await cluster.run(two.revoke());
    expect(cluster.calls('LeaseRevoke')).toHaveLength(3);
  });

  it('leaves the member in good standing: the next call does not wait', async () => {
    const cluster = new ScriptedCluster();
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    await cluster.clock.advance(2_500);
    const before = cluster.clock.now();
    await cluster.run(lease.revoke());
    expect(cluster.streams[0]!.cancelled).toBe(true);
    await cluster.run(cluster.leases.grant({ ttlSeconds: 6 }));
    expect(cluster.clock.now()).toBe(before);
  });

  it('at the end of a block never rejects and never hangs', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 60 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 60 }));
    for (const member of cluster.members) {
      member.up = false;
      member.state = 'idle';
    }
    const before = cluster.clock.now();
    await cluster.run(lease[Symbol.asyncDispose]());
    expect(cluster.clock.now() - before).toBeLessThanOrEqual(5_100);
    expect(lease.lossReason).toBe('revoked');
    expect(cluster.clock.pending.foreground).toBe(0);
  });

  it('does not touch a lease that the server said is gone: its id may be somebody else’s now', async () => {
    const cluster = new ScriptedCluster();
    cluster.script(() => 0);
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    await cluster.clock.advance(3_000);
    expect(lease.lossReason).toBe('expired');
    await lease.revoke();
    await lease[Symbol.asyncDispose]();
    expect(cluster.calls('LeaseRevoke')).toHaveLength(0);
  });
});

describe('keeping alive a lease that exists', () => {
  it('renews it once first, and counts from when that was sent', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const lease = await cluster.run(cluster.leases.keepAlive(leaseId(77n)));
    expect(cluster.asked).toHaveLength(1);
    expect(lease.remainingMs()).toBeCloseTo(cluster.asked[0]!.at + 5_940 - cluster.clock.now(), 6);
    await cluster.clock.advance(20_000);
    expect(lease.alive).toBe(true);
    expect(await cluster.leases.keepAlive(leaseId(77n))).toBe(lease);
    cluster.keeper.close();
  });

  it('fails when there is no such lease', async () => {
    const cluster = new ScriptedCluster();
    cluster.script(() => 0);
    expect((await errorOf(cluster.run(cluster.leases.keepAlive(leaseId(77n))))).code).toBe('lease-not-found');
    expect(cluster.openStreams).toHaveLength(0);
    expect(cluster.clock.pending.all).toBe(0);
  });

  it('is one lease when asked for twice at the same time', async () => {
    const cluster = new ScriptedCluster();
    const both = Promise.all([cluster.leases.keepAlive(leaseId(77n)), cluster.leases.keepAlive(leaseId(77n))]);
    const [one, two] = await cluster.run(both);
    expect(one).toBe(two);
    cluster.keeper.close();
  });
});

describe('renewing once', () => {
  it('adds to what a live lease has left', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    await cluster.clock.advance(1_500);
    await cluster.run(lease.keepAliveOnce());
    expect(lease.remainingMs()).toBeGreaterThan(5_900);
    await cluster.clock.advance(1_000);
    await cluster.run(cluster.leases.keepAliveOnce(lease.id));
    expect(lease.remainingMs()).toBeGreaterThan(5_900);
    cluster.keeper.close();
  });

  it('finds a live lease that is gone', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    cluster.script(() => 0);
    const error = await errorOf(cluster.run(lease.keepAliveOnce()));
    expect(error).toBeInstanceOf(LeaseLostError);
    expect(lease.lossReason).toBe('expired');
  });

  it('that fails does not lose the lease', async () => {
    const cluster = new ScriptedCluster({ ttlSeconds: 6 });
    const lease = await cluster.run(cluster.leases.open({ ttlSeconds: 6 }));
    cluster.script(() => failure(GrpcCode.UNKNOWN, 'what?'));
    expect((await errorOf(cluster.run(lease.keepAliveOnce()))).code).toBe('server');
    expect(lease.alive).toBe(true);
    cluster.keeper.close();
  });

  it('goes to another member when one is silent', async () => {
    const cluster = new ScriptedCluster({ members: 2 });
    let first: string | undefined;
    cluster.script((_id, { member }) => {
      first ??= member.name;
      return member.name === first ? 'silence' : 6;
    });
    const { ttlSeconds } = await cluster.run(cluster.leases.keepAliveOnce(leaseId(5n)));
    expect(ttlSeconds).toBe(6);
    expect(cluster.openStreams).toHaveLength(0);
    expect(cluster.clock.pending.all).toBe(0);
  });

  it.each([2n ** 63n, 5])('takes no id that is none (%s), and leaves nothing behind', async (id) => {
    const cluster = new ScriptedCluster();
    expect(await errorOf(cluster.leases.keepAliveOnce(id as never))).toBeInstanceOf(InvalidArgumentError);
    expect(await errorOf(cluster.leases.keepAlive(id as never))).toBeInstanceOf(InvalidArgumentError);
    expect(cluster.openStreams).toHaveLength(0);
    expect(cluster.clock.pending.all).toBe(0);
  });

  it('ends with its time also when the connection took most of it', async () => {
    const cluster = new ScriptedCluster({ members: 2, timeoutMs: 1_000 });
    for (const member of cluster.members) {
      member.up = false;
      cluster.clock.after(900, () => {
        member.up = true;
      });
    }
    cluster.script(() => 'silence');
    const startedAt = cluster.clock.now();
    const error = await errorOf(cluster.run(cluster.leases.keepAliveOnce(leaseId(5n)), 60_000, 1));
    expect(error.code).toBe('deadline');
    expect(cluster.asked.length).toBeGreaterThan(0);
    expect(cluster.clock.now() - startedAt).toBeLessThanOrEqual(1_001);
    expect(cluster.clock.pending.all).toBe(0);
  });

  it('does not come back to a member that failed it', async () => {
    const cluster = new ScriptedCluster({ members: 2 });
    cluster.script(() => {
      if (cluster.asked.length > 1) return 6;
      cluster.caller.pool.pick(); // somebody else takes the turn of the other member
      return 'end';
    });
    await cluster.run(Promise.all([cluster.leases.grant({ ttlSeconds: 5 }), cluster.leases.grant({ ttlSeconds: 5 })]));
    await cluster.run(cluster.leases.keepAliveOnce(leaseId(5n)));
    expect(new Set(cluster.asked.map(({ member }) => member)).size).toBe(2);
  });

  it('ends with its signal, and with its time', async () => {
    const cluster = new ScriptedCluster({ timeoutMs: 1_000 });
    cluster.script(() => 'silence');
    const aborter = new AbortController();
    const work = errorOf(cluster.leases.keepAliveOnce(leaseId(5n), { signal: aborter.signal }));
    await cluster.clock.advance(10);
    aborter.abort();
    expect((await work).code).toBe('aborted');
    expect((await errorOf(cluster.run(cluster.leases.keepAliveOnce(leaseId(5n))))).code).toBe('deadline');
    expect(cluster.openStreams).toHaveLength(0);
    expect(cluster.clock.pending.all).toBe(0);
  });
});

describe('asking about leases', () => {
  it('tells what is left, and copies the keys', async () => {
    const cluster = new ScriptedCluster();
    const big = Buffer.from('xxkeyxx');
    cluster.members[0]!.unaryAnswer = (_path, request) => ({
      header: { revision: 9n },
      ID: request['ID'],
      TTL: 4n,
      grantedTTL: 6n,
      keys: [big.subarray(2, 5)],
    });
    const answer = await cluster.run(cluster.leases.timeToLive(leaseId(5n), { keys: true }));
    expect(answer).toMatchObject({ id: 5n, ttlSeconds: 4, grantedTtlSeconds: 6, revision: 9n });
    expect(Buffer.from(answer.keys![0]!).toString()).toBe('key');
    expect(answer.keys![0]!.buffer.byteLength).toBe(3);
    expect((await cluster.run(cluster.leases.timeToLive(leaseId(5n)))).keys).toBeUndefined();
  });
});

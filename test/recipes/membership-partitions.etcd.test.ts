import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { LostError } from '../../recipes/errors.ts';
import { Group } from '../../recipes/membership/group.ts';
import { type PartitionClaim, Partitions, type TakePartOptions } from '../../recipes/membership/partitions.ts';
import { AbortError, type Etcd, type Revision } from '../../src/index.ts';
import { KV } from '../../src/protocol/generated/etcdserverpb.ts';
import { deferred } from '../../src/support/signals.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { type CallRecord, type ClientMessage, GrpcFaultProxy, type Verdict } from '../support/grpc-fault-proxy.ts';
import { compactAll, DELETE, expectEmpty, keysOf, Program, stateOf, TXN, until, WATCH } from './election-support.ts';

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

/** Somebody who takes part, and writes down what happens. */
class Worker {
  readonly id: string;
  readonly working = new Map<string, PartitionClaim>();
  readonly begun: string[] = [];
  readonly ended: string[] = [];
  readonly done: Promise<unknown>;
  readonly #stop = new AbortController();

  constructor(program: Program, name: string, id: string, count: number, options: TakePartOptions = {}) {
    this.id = id;
    const partitions = new Partitions(program.session, name, { partitions: count });
    const work = async (claim: PartitionClaim, signal: AbortSignal): Promise<void> => {
      this.working.set(claim.partition, claim);
      this.begun.push(claim.partition);
      await aborted(signal);
      this.working.delete(claim.partition);
      this.ended.push(claim.partition);
    };
    this.done = partitions.run(work, { id, signal: this.#stop.signal, ...options }).catch((error: unknown) => error);
  }

  get parts(): string[] {
    return [...this.working.keys()].sort((a, b) => Number(a) - Number(b));
  }

  stop(): Promise<unknown> {
    this.#stop.abort();
    return this.done;
  }
}

/** Which keys a proxy's clients asked to delete, after so many deletes. */
function deletedKeys(proxy: GrpcFaultProxy, after: number): string[] {
  const requests = proxy.callsOf(DELETE).slice(after);
  return requests.map(({ request }) => Buffer.from(KV.deleteRange.request.decode(request!).key).toString());
}

/** Reads the history of all claims from a revision on: true when no partition ever had two owners, and tokens grew. */
async function expectOneOwnerAtATime(etcd: Etcd, name: string, from: Revision): Promise<number> {
  const prefix = `${name}/claims/`;
  const { revision } = await etcd.put(`${name}/claims/end`, '');
  const live = new Map<string, Set<string>>();
  const tokens = new Map<string, bigint>();
  let claims = 0;
  for await (const batch of etcd.watch({ prefix }, { from }).batches()) {
    // Of one revision, what goes before what comes: that is how the store has it at the end of it.
    for (const event of [...batch.events].sort((a, b) => Number(a.revision - b.revision))) {
      const partition = event.kv.key.slice(prefix.length).split('/')[0]!;
      const owners = live.get(partition) ?? new Set();
      live.set(partition, owners);
      if (event.type === 'delete') owners.delete(event.kv.key);
      else if (event.isCreate && event.kv.lease !== undefined) {
        claims++;
        owners.add(event.kv.key);
        expect([partition, owners.size]).toEqual([partition, 1]);
        expect(event.revision).toBeGreaterThan(tokens.get(partition) ?? 0n);
        tokens.set(partition, event.revision);
      }
    }
    if (batch.revision >= revision) break;
  }
  await etcd.delete(`${name}/claims/end`);
  return claims;
}

describeOnEtcd('partitions', (suite) => {
  const newName = (): string => suite.prefix().slice(0, -1);

  it('are claimed by the first member, shared with the next, and moved as little as there have to be', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite);
    await using c = await Program.start(suite);
    a.proxy!.keepsRequests = true;
    const name = newName();
    const from = await a.etcd.revision();
    const first = new Worker(a, name, 'a', 7);
    await until(() => first.working.size === 7);
    // Join, and one transaction for each.
    expect(a.proxy!.count(TXN)).toBe(8);
    const tokens = new Map([...first.working].map(([partition, { token }]) => [partition, token]));
    const second = new Worker(b, name, 'b', 7);
    await until(() => second.working.size === 3);
    expect(first.working.size).toBe(4);
    expect(second.parts).toEqual([...first.ended].sort());
    for (const [partition, { token }] of second.working) expect(token).toBeGreaterThan(tokens.get(partition)!);
    // What stayed was not touched.
    expect(first.begun).toHaveLength(7);
    for (const [partition, { token }] of first.working) expect(token).toBe(tokens.get(partition));
    const third = new Worker(c, name, 'c', 7);
    await until(() => third.working.size === 2);
    expect([first.working.size, second.working.size]).toEqual([3, 2]);
    const owners = await new Partitions(a.session, name, { partitions: 7 }).owners();
    expect(owners.map(({ partition }) => partition)).toEqual(['0', '1', '2', '3', '4', '5', '6']);
    for (const { partition, owner, token } of owners) {
      const worker = [first, second, third].find(({ id }) => id === owner)!;
      expect(worker.working.get(partition)!.token).toBe(token);
    }
    expect(await second.stop()).toBeInstanceOf(AbortError);
    expect(second.ended).toHaveLength(second.begun.length);
    await until(() => first.working.size + third.working.size === 7);
    expect([first.working.size, third.working.size].sort()).toEqual([3, 4]);
    // A try that came too late may still be under way.
    await a.proxy!.waitFor((calls) => calls.every(({ path, ended }) => path !== TXN || ended));
    const place = (await new Group(c.etcd, name).members()).find(({ id }) => id === 'a')!.key;
    const held = [...first.working.values()].map(({ key }) => key);
    const before = a.proxy!.count(DELETE);
    await first.stop();
    // What counts: one delete for each claim that was held, and one of the member's own key. A try that came too late
    // takes its own key back, which nobody ever held; how many of those there are is up to the machine.
    const deleted = deletedKeys(a.proxy!, before);
    expect(deleted.filter((key) => !key.startsWith(`${name}/claims/`) || held.includes(key)).sort()).toEqual(
      [place, ...held].sort(),
    );
    await until(() => third.working.size === 7);
    await third.stop();
    await expectOneOwnerAtATime(a.etcd, name, from);
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([]);
  });

  it('have one owner at any revision, whoever comes, goes, dies, or is meddled with', async () => {
    await using observer = await Program.start(suite);
    const name = newName();
    const from = await observer.etcd.revision();
    const count = 12;
    const workers: Worker[] = [];
    const programs: Program[] = [];
    const join = async (n: number): Promise<void> => {
      const program = await Program.start(suite, { proxied: true });
      // Each loses some answers on its way.
      program.proxy!.rule({ path: TXN, nth: 3 + n, times: 2, action: 'swallow-reply' });
      programs.push(program);
      workers.push(new Worker(program, name, `w${n}`, count));
    };
    for (let n = 0; n < 4; n++) await join(n);
    const { etcd } = observer;
    await until(() => workers.reduce((sum, { working }) => sum + working.size, 0) === count);
    // An operator deletes a claim, and a member.
    await etcd.delete([...workers[0]!.working.values()][0]!.key);
    const [member] = await new Group(etcd, name).members();
    await etcd.delete(member!.key);
    // A lease ends behind its owner's back.
    await etcd.leases.revoke(programs[1]!.session.id);
    expect(await workers[1]!.done).toBeInstanceOf(LostError);
    await join(4);
    await join(5);
    await workers[2]!.stop();
    const alive = [0, 3, 4, 5].map((n) => workers[n]!);
    await until(() => alive.every(({ working }) => working.size === count / 4));
    // Balanced, and at rest: nobody moves any more.
    const claims = await expectOneOwnerAtATime(etcd, name, from);
    expect(claims).toBeGreaterThan(count);
    for (const worker of alive) await worker.stop();
    for (const worker of workers) expect(worker.ended.length).toBe(worker.begun.length);
    for (const program of programs) await program[Symbol.asyncDispose]();
    expect(await keysOf(etcd, `${name}/`)).toEqual([]);
  });

  it('are not taken over before the work has stopped; work that does not stop is fenced off', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    let release!: () => void;
    const stubborn = new Promise<void>((resolve) => {
      release = resolve;
    });
    const claims: PartitionClaim[] = [];
    const stopped: string[] = [];
    const stop = new AbortController();
    const partitions = new Partitions(a.session, name, { partitions: 2 });
    const running = partitions.run(
      async (claim, signal) => {
        claims.push(claim);
        await aborted(signal);
        stopped.push(claim.partition);
        // Still its own while it cleans up.
        await claim.kv.put(`${name}-data`, claim.partition);
        await stubborn;
      },
      { id: 'a', signal: stop.signal, stopTimeoutMs: 1_500 },
    );
    const outcome = running.catch((error: unknown) => error);
    await until(() => claims.length === 2);
    const other = new Worker(b, name, 'b', 2);
    await until(() => stopped.length === 1);
    expect(other.working.size).toBe(0);
    const moved = claims.find(({ partition }) => partition === stopped[0])!;
    expect(moved.held).toBe(true);
    // It takes too long: the claim goes, and what it writes from now on is refused.
    await until(() => other.working.size === 1);
    expect(moved.held).toBe(false);
    await expect(moved.kv.put(`${name}-data`, 'stale')).rejects.toThrow(LostError);
    release();
    stop.abort();
    expect(await outcome).toBeInstanceOf(AbortError);
    await other.stop();
    await a.etcd.delete(`${name}-data`);
    // It may have been about to claim what the first has left: a request that was called off is cleared away when it comes.
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('go on being worked on while an operator deletes the member’s key, and after a claim was deleted', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    const worker = new Worker(a, name, 'a', 3);
    await until(() => worker.working.size === 3);
    const group = new Group(b.etcd, name);
    const [member] = await group.members();
    await b.etcd.delete(member!.key);
    await until(async () => (await group.members()).length === 1);
    expect(worker.ended).toEqual([]);
    const claim = worker.working.get('1')!;
    await b.etcd.delete(claim.key);
    await until(() => worker.working.has('1') && worker.working.get('1') !== claim);
    expect(worker.ended).toEqual(['1']);
    expect(worker.working.get('1')!.token).toBeGreaterThan(claim.token);
    await expect(claim.kv.put(`${name}-data`, 'stale')).rejects.toThrow(LostError);
    await worker.stop();
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([]);
  });

  it('are claimed anew when a claim was on its way while an operator deleted the member’s key', async () => {
    let release!: () => void;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let held = 0;
    const gate = async ({ call, payload }: ClientMessage): Promise<Verdict> => {
      if (call.path === TXN && payload.includes('/claims/') && held++ === 0) await released;
      return 'forward';
    };
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address, gate });
    await using a = await Program.start(suite, { endpoint: proxy.address });
    await using b = await Program.start(suite);
    const name = newName();
    const worker = new Worker(a, name, 'a', 1);
    await until(() => held === 1);
    const group = new Group(b.etcd, name);
    const [member] = await group.members();
    await b.etcd.delete(member!.key);
    await until(async () => (await group.members()).length === 1);
    // Time for the news that it is back, which comes before the refusal and not once more after it.
    await sleep(200);
    release();
    await until(() => worker.working.size === 1);
    expect(held).toBe(2);
    await worker.stop();
    await expectEmpty(b.etcd, `${name}/`);
  });

  it('are claimed after a refusal by a claim that came and went in one piece', async () => {
    const waits = { claim: deferred<void>(), watch: deferred<void>() };
    const come = { claim: deferred<CallRecord>(), watch: deferred<CallRecord>() };
    const gate = async ({ call, payload }: ClientMessage): Promise<Verdict> => {
      const what = call.path === WATCH ? 'watch' : payload.includes('/claims/') && call.path === TXN && 'claim';
      if (what === false) return 'forward';
      come[what].resolve(call);
      await waits[what].promise;
      return 'forward';
    };
    await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address, gate });
    await using a = await Program.start(suite, { endpoint: proxy.address });
    await using b = await Program.start(suite);
    const name = newName();
    const worker = new Worker(a, name, 'a', 1);
    // It has read that nobody has the partition, and is about to claim it and to watch what comes next.
    const claim = await come.claim.promise;
    await come.watch.promise;
    const other = `${name}/claims/0/${b.session.id.toString(16)}-0123456789ab`;
    await b.etcd.put(other, 'b', { lease: b.session.lease });
    waits.claim.resolve();
    await proxy.waitFor(() => claim.ended);
    expect(await keysOf(b.etcd, `${name}/claims/`)).toEqual([other]);
    await b.etcd.delete(other);
    // Time for the refusal to be taken in; then both changes come at once.
    await sleep(50);
    waits.watch.resolve();
    await until(() => worker.working.size === 1);
    await worker.stop();
    await expectEmpty(b.etcd, `${name}/`);
  });

  it('are given up when the work fails, and the failure is told', async () => {
    await using a = await Program.start(suite);
    const name = newName();
    const ended: string[] = [];
    const partitions = new Partitions(a.session, name, { partitions: ['x', 'y/z'] });
    const running = partitions.run(async ({ partition }, signal) => {
      if (partition === 'y/z') throw new RangeError('mine');
      await aborted(signal);
      ended.push(partition);
    });
    await expect(running).rejects.toThrow(RangeError);
    expect(ended.length).toBeLessThanOrEqual(1);
    expect(await keysOf(a.etcd, `${name}/`)).toEqual([]);
    expect(() => new Partitions(a.session, name, { partitions: ['x', 'x'] })).toThrow(/different/);
    expect(() => new Partitions(a.session, name, { partitions: 0 })).toThrow(/positive/);
  });

  it('are kept when the work returns early, and go with a session that closes', async () => {
    await using a = await Program.start(suite);
    await using b = await Program.start(suite);
    const name = newName();
    let calls = 0;
    const running = new Partitions(a.session, name, { partitions: 3 }).run(async () => {
      calls++;
    });
    const outcome = running.catch((error: unknown) => error);
    await until(() => calls === 3);
    const owners = await new Partitions(b.session, name, { partitions: 3 }).owners();
    expect(owners).toHaveLength(3);
    expect(await stateOf(running)).toBe('pending');
    expect(calls).toBe(3);
    await a.session.close();
    expect(await outcome).toBeInstanceOf(LostError);
    await expectEmpty(b.etcd, `${name}/`);
  });

  it('are shared out after the history was compacted and the connection lost', async () => {
    await using a = await Program.start(suite, { proxied: true });
    await using b = await Program.start(suite);
    const name = newName();
    const first = new Worker(a, name, 'a', 4);
    await until(() => first.working.size === 4);
    a.proxy!.cut();
    await compactAll(b.etcd);
    const second = new Worker(b, name, 'b', 4);
    a.proxy!.cut();
    await compactAll(b.etcd);
    await until(() => second.working.size === 2 && first.working.size === 2);
    await Promise.all([first.stop(), second.stop()]);
    await expectEmpty(b.etcd, `${name}/`);
  });
});

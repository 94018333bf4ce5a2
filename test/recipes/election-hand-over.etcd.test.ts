import { expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { orderKey } from '../../recipes/election/hand-over.ts';
import type { Leadership } from '../../recipes/election/leadership.ts';
import type { ElectionCandidate } from '../../recipes/election/view.ts';
import { LostError, WaitTimeoutError } from '../../recipes/errors.ts';
import type { Etcd } from '../../src/index.ts';
import { describeOnEtcd, type EtcdSuite } from '../support/fixtures.ts';
import { compactAll, expectEmpty, goKey, keysOf, Program, TXN, until, untilKeys } from './election-support.ts';

/** An election with a leader, and programs that can be candidates. Nothing of it may be left in the end. */
class Scene implements AsyncDisposable {
  readonly name: string;
  readonly prefix: string;
  readonly leader: Leadership;
  /** The first is the leader's. */
  readonly programs: readonly Program[];
  readonly #gone = new Set<() => Promise<void>>();

  private constructor(name: string, leader: Leadership, programs: readonly Program[]) {
    this.name = name;
    this.prefix = `${name}/`;
    this.leader = leader;
    this.programs = programs;
  }

  /** `programs` says of each whether it reaches the cluster through a proxy. */
  static async open(suite: EtcdSuite, programs: readonly ('direct' | 'proxied')[]): Promise<Scene> {
    const name = suite.prefix().slice(0, -1);
    const started: Program[] = [];
    for (const how of programs) started.push(await Program.start(suite, { proxied: how === 'proxied' }));
    const leader = await new Election(started[0]!.session, name).campaign({ value: 'leader' });
    return new Scene(name, leader, started);
  }

  get etcd(): Etcd {
    return this.programs[0]!.etcd;
  }

  /** Has a program stand, and waits until it is in the queue. */
  async stand(program: number, value: string, signal?: AbortSignal): Promise<{ elected: Promise<Leadership> }> {
    const count = (await keysOf(this.etcd, this.prefix)).length;
    const elected = new Election(this.programs[program]!.session, this.name).campaign({ value, signal });
    elected.catch(() => {});
    await untilKeys(this.etcd, this.prefix, count + 1);
    return { elected };
  }

  /** Has programs stand one after another, as '1', '2' and so on, who go as soon as they lead: `won` has them in order. */
  async queue(...programs: readonly number[]): Promise<{ won: Leadership[]; done: Promise<unknown> }> {
    const won: Leadership[] = [];
    const runs: Promise<void>[] = [];
    for (const program of programs) {
      const { elected } = await this.stand(program, String(runs.length + 1));
      runs.push(
        elected.then(async (leader) => {
          won.push(leader);
          await leader.resign();
        }),
      );
    }
    return { won, done: Promise.all(runs) };
  }

  async named(value: string): Promise<ElectionCandidate> {
    const candidates = await new Election(this.programs[0]!.session, this.name).candidates();
    return candidates.find((candidate) => candidate.value === value)!;
  }

  /** A candidate of Go's, which does not step back; until the call of what this returns. */
  async inTheWay(): Promise<() => Promise<void>> {
    const { etcd } = this.programs[1]!;
    const { lease } = await goKey(etcd, this.prefix, 'in the way');
    const leave = async (): Promise<void> => {
      if (this.#gone.delete(leave)) await etcd.leases.revoke(lease);
    };
    this.#gone.add(leave);
    return leave;
  }

  /** Whether the leader's order is in the store. */
  async ordered(): Promise<boolean> {
    return (await this.etcd.get(orderKey(this.prefix))) !== undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const leave of this.#gone) await leave();
    await this.leader[Symbol.asyncDispose]();
    await expectEmpty(this.etcd, this.prefix);
    expect(await this.ordered()).toBe(false);
    for (const program of this.programs) await program[Symbol.asyncDispose]();
  }
}

describeOnEtcd('handing over', (suite) => {
  it('makes the named candidate the next leader; the others come after it, in later terms', async () => {
    await using scene = await Scene.open(suite, ['direct', 'direct', 'direct', 'direct']);
    const { leader } = scene;
    const { won, done } = await scene.queue(1, 1, 2, 3);
    expect(await leader.handOver(await scene.named('3'))).toBe(true);
    expect(leader.held).toBe(false);
    await done;
    // The one behind was not woken and kept its place: right behind the successor.
    expect(won.slice(0, 2).map(({ value }) => value)).toEqual(['3', '4']);
    expect(won.map(({ value }) => value).sort()).toEqual(['1', '2', '3', '4']);
    const terms = [leader.term, ...won.map(({ term }) => term)];
    expect(terms).toEqual([...terms].sort((x, y) => (x < y ? -1 : 1)));
  });

  it('is three round trips when the named candidate is next anyway, and writes nothing to it', async () => {
    await using scene = await Scene.open(suite, ['proxied', 'proxied']);
    const [a, b] = scene.programs as [Program, Program];
    const { won, done } = await scene.queue(1);
    const to = await scene.named('1');
    const before = a.kvCalls;
    expect(await scene.leader.handOver(to)).toBe(true);
    expect(a.kvCalls - before).toBe(3);
    await done;
    expect(won[0]!.term).toBe(to.token);
    expect(b.proxy!.count(TXN)).toBe(2);
  });

  it('falls back: waits for candidates that do not step back as long as it may, and leads on', async () => {
    await using scene = await Scene.open(suite, ['direct', 'direct']);
    const { leader } = scene;
    const leave = await scene.inTheWay();
    const { won, done } = await scene.queue(1);
    const to = await scene.named('1');
    await expect(leader.handOver(to, { timeoutMs: 200 })).rejects.toThrow(WaitTimeoutError);
    leader.assertHeld();
    await leader.kv.put(`${scene.name}-data`, 'still mine');
    expect(await scene.ordered()).toBe(false);
    const trying = leader.handOver(to);
    await until(() => scene.ordered());
    await expect(leader.handOver(to)).rejects.toMatchObject({ code: 'held-by-another' });
    await leave();
    expect(await trying).toBe(true);
    await done;
    expect(won[0]!.term).toBe(to.token);
  });

  it('leads on when the named candidate has left, or leaves meanwhile', async () => {
    await using scene = await Scene.open(suite, ['direct', 'direct']);
    const { leader } = scene;
    await scene.inTheWay();
    const stop = new AbortController();
    const { elected } = await scene.stand(1, 'named', stop.signal);
    const to = await scene.named('named');
    const trying = leader.handOver(to);
    await until(() => scene.ordered());
    stop.abort();
    await expect(elected).rejects.toThrow();
    expect(await trying).toBe(false);
    expect(await leader.handOver(to)).toBe(false);
    leader.assertHeld();
    const itself = leader.handOver({ key: leader.key, token: leader.term });
    await expect(itself).rejects.toMatchObject({ code: 'invalid-argument' });
  });

  it('survives lost replies and compactions', async () => {
    await using scene = await Scene.open(suite, ['proxied', 'proxied', 'direct']);
    const [a, b] = scene.programs as [Program, Program];
    const { won, done } = await scene.queue(1, 2);
    // The order, the waking, and the stepping back are each applied without an answer.
    a.proxy!.rule({ path: TXN, nth: 1, times: 3, action: 'swallow-reply' });
    b.proxy!.rule({ path: TXN, nth: 2, action: 'swallow-reply' });
    const handing = scene.leader.handOver(await scene.named('2'));
    await compactAll(scene.programs[2]!.etcd);
    expect(await handing).toBe(true);
    await done;
    expect(won.map(({ value }) => value)).toEqual(['2', '1']);
  });

  it('ends when the leader is deposed, and takes its order back', async () => {
    await using scene = await Scene.open(suite, ['direct', 'direct']);
    const leave = await scene.inTheWay();
    const { done } = await scene.queue(1);
    const trying = expect(scene.leader.handOver(await scene.named('1'))).rejects.toThrow(LostError);
    await until(() => scene.ordered());
    await scene.programs[1]!.etcd.delete(scene.leader.key);
    await trying;
    await until(async () => !(await scene.ordered()));
    await leave();
    await done;
  });

  it('never has a candidate that steps back in the queue without a key, or with two when it is given up', async () => {
    await using scene = await Scene.open(suite, ['direct', 'proxied', 'direct']);
    const stop = new AbortController();
    const stepping = await scene.stand(1, 'stepping', stop.signal);
    const next = await scene.stand(2, 'named');
    const rule = scene.programs[1]!.proxy!.rule({ path: TXN, nth: 2, action: 'swallow-reply', via: 'hang' });
    const handing = scene.leader.handOver(await scene.named('named'));
    await rule.waitApplied();
    const count = (await keysOf(scene.etcd, scene.prefix)).length;
    expect([2, 3]).toContain(count);
    stop.abort();
    await expect(stepping.elected).rejects.toThrow();
    expect(await handing).toBe(true);
    const successor = await next.elected;
    await untilKeys(scene.etcd, scene.prefix, 1);
    await successor.resign();
  });

  it('lets a candidate that has stepped back give up from its new place', async () => {
    await using scene = await Scene.open(suite, ['direct', 'direct']);
    const leave = await scene.inTheWay();
    const stop = new AbortController();
    const stepping = await scene.stand(1, 'stepping', stop.signal);
    const next = await scene.stand(1, 'named');
    const to = await scene.named('named');
    const handing = scene.leader.handOver(to);
    await until(async () => (await scene.named('stepping')).token > to.token);
    stop.abort();
    await expect(stepping.elected).rejects.toThrow();
    expect(await keysOf(scene.etcd, scene.prefix)).toHaveLength(3);
    await leave();
    expect(await handing).toBe(true);
    await (await next.elected).resign();
  });
});

/**
 * Fencing. A lock is a belief; these tests make it a wrong one, and see whether data comes to harm. Each has its
 * negative control: the same run without the guard must show the harm, or the test would prove nothing.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { LostError } from '../../recipes/errors.ts';
import type { Held } from '../../recipes/held.ts';
import { Mutex } from '../../recipes/mutex.ts';
import { RWMutex } from '../../recipes/rwmutex.ts';
import { Semaphore } from '../../recipes/semaphore.ts';
import { Session } from '../../recipes/session.ts';
import { Etcd, EtcdError, type Revision } from '../../src/index.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { tieProcess } from '../support/lifeline.ts';
import { Actor, grpcProxy, opener, outcome, uniqueName, untilCount, WATCH } from './lock-bed.ts';

/** A store that is not etcd: it refuses a token lower than the highest it has seen. */
class FencedStore {
  value = '';
  #highest = 0n;
  write(value: string, token: Revision): boolean {
    if (token < this.#highest) return false;
    this.#highest = token;
    this.value = value;
    return true;
  }
}

/** A process of `children/` and the lines of JSON it says. */
function startChild(script: string, args: readonly string[]): { child: ChildProcess; next: () => Promise<unknown> } {
  const file = path.join(import.meta.dirname, 'children', script);
  const child = spawn(process.execPath, ['--import', 'tsx', file, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  tieProcess(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, next: async () => JSON.parse((await lines.next()).value as string) as unknown };
}

describeOnEtcd('Fencing', (suite) => {
  const open = opener(suite);

  it('a holder whose lease was revoked behind its back changes nothing in etcd nor in a fenced store', async () => {
    await using proxy = await grpcProxy(suite);
    // Alice does not hear of anything.
    proxy.rule({ path: WATCH, action: 'hang' });
    await using alice = await Actor.open([proxy.address]);
    await using bob = await open();
    const name = uniqueName(suite);
    const outside = new FencedStore();
    const unfenced = { value: '' };
    const a = await new Mutex(alice.session, name).acquire();
    expect(outside.write('a', a.token)).toBe(true);
    await bob.etcd.leases.revoke(alice.session.id);
    const b = await new Mutex(bob.session, name).acquire();
    expect(b.token).toBeGreaterThan(a.token);
    await b.guard({ then: [bob.etcd.op.put(`${name}-data`, 'b')] });
    expect(outside.write('b', b.token)).toBe(true);
    expect(outside.write('b again', b.token)).toBe(true);
    unfenced.value = 'b';
    const { conditions } = a;
    expect(a.held).toBe(true);
    await expect(a.guard({ then: [alice.etcd.op.put(`${name}-data`, 'a')] })).rejects.toBeInstanceOf(LostError);
    const bare = await alice.etcd.txn({ if: conditions, then: [alice.etcd.op.put(`${name}-data`, 'a')] });
    expect(bare.succeeded).toBe(false);
    expect(outside.write('a', a.token)).toBe(false);
    expect((await bob.etcd.get(`${name}-data`))?.value).toBe('b');
    expect(outside.value).toBe('b again');
    // The control: what trusts the lock alone is overwritten.
    unfenced.value = 'a';
    await alice.etcd.put(`${name}-data`, 'a');
    expect([unfenced.value, (await bob.etcd.get(`${name}-data`))?.value]).toEqual(['a', 'a']);
  });

  const stalls = [
    ['mutex', 'block'],
    ['mutex', 'stop'],
    ['rwmutex', 'stop'],
    ['semaphore', 'stop'],
  ] as const;
  const acquire = {
    mutex: ({ session }: Actor, name: string): Promise<Held> => new Mutex(session, name).acquire(),
    rwmutex: ({ session }: Actor, name: string): Promise<Held> => new RWMutex(session, name).acquireWrite(),
    semaphore: ({ session }: Actor, name: string): Promise<Held> =>
      new Semaphore(session, name, { limit: 1 }).acquire(),
  };

  for (const [kind, how] of stalls) {
    it(`a holder of a ${kind} that was ${how === 'block' ? 'stuck in its own event loop' : 'stopped (SIGSTOP)'} beyond its session changes nothing`, async () => {
      await using rival = await open();
      const name = uniqueName(suite);
      const args = [suite.cluster.endpoints[0] as string, name, how, kind];
      const { child, next } = startChild('stalled-holder.ts', args);
      const { acquired } = (await next()) as { acquired: string };
      if (how === 'stop') child.kill('SIGSTOP');
      const lock = await acquire[kind](rival, name);
      expect(lock.token).toBeGreaterThan(BigInt(acquired));
      await lock.guard({ then: [rival.etcd.op.put(`${name}-data`, 'second')] });
      await rival.etcd.put(`${name}-unguarded`, 'second');
      if (how === 'stop') {
        await sleep(1_100); // what the child takes for a stall
        child.kill('SIGCONT');
      }
      expect(await next()).toEqual({
        // No timer had a chance to say so, but whoever asks is told.
        toldBySignal: false,
        held: false,
        aborted: true,
        guarded: 'LostError',
        bare: false,
        released: 'LostError',
      });
      expect((await rival.etcd.get(`${name}-data`))?.value).toBe('second');
      // The control: without the guard the stalled one has overwritten the other's.
      expect((await rival.etcd.get(`${name}-unguarded`))?.value).toBe('first, late');
      lock.assertHeld();
      if (child.exitCode === null) await once(child, 'exit');
    });
  }

  /**
   * Jepsen's lock-set: workers add to a counter under the lock, by reading, pausing and writing, while sessions are
   * revoked at random. How many additions were confirmed, what the counter says in the end, and the tokens in the order
   * of the confirmed writes.
   */
  async function additions(
    guarded: boolean,
    grants: number,
  ): Promise<{ confirmed: number; counter: number; tokens: bigint[] }> {
    await using etcd = new Etcd({ endpoints: suite.cluster.endpoints });
    await using operator = await open();
    const name = uniqueName(suite);
    const key = `${name}-counter`;
    const { op } = etcd;
    await etcd.put(key, '0');
    const confirmed: { token: bigint; at: bigint }[] = [];
    let granted = 0;
    const addOne = async (lock: Held): Promise<void> => {
      const seen = Number((await etcd.get(key))?.value);
      // Often enough the lease goes between the read and the write.
      if (granted % 5 === 0) {
        const [own] = (await operator.etcd.range(lock.key)).kvs;
        if (own?.lease !== undefined) await operator.etcd.leases.revoke(own.lease);
        await untilSomebodyWrote(operator.etcd, key, seen);
      }
      const put = op.put(key, String(seen + 1));
      const { revision } = guarded ? await lock.guard({ then: [put] }) : await etcd.txn({ then: [put] });
      confirmed.push({ token: lock.token, at: revision });
    };
    const worker = async (): Promise<void> => {
      while (granted < grants) {
        await using session = await Session.open(etcd, { ttlSeconds: 30 });
        const mutex = new Mutex(session, name);
        while (granted < grants && session.alive) {
          const { error } = await outcome(
            mutex.run(async (lock) => {
              granted++;
              await addOne(lock);
            }),
          );
          if (error === undefined) continue;
          if (!(error instanceof LostError || error instanceof EtcdError)) throw error;
          // The next keepalive is ten seconds away: ask now.
          await session.lease.keepAliveOnce().catch(() => {});
        }
      }
    };
    await Promise.all(Array.from({ length: 6 }, worker));
    confirmed.sort((a, b) => (a.at < b.at ? -1 : 1));
    const counter = Number((await etcd.get(key))?.value);
    await untilCount(etcd, `${name}/`, 0);
    return { confirmed: confirmed.length, counter, tokens: confirmed.map(({ token }) => token) };
  }

  it('over 300 grants with sessions killed at random, guarded additions all count and tokens only grow', async () => {
    const { confirmed, counter, tokens } = await additions(true, 300);
    expect(confirmed).toBeGreaterThan(200);
    expect(counter).toBe(confirmed);
    expect(tokens.every((token, index) => index === 0 || token > (tokens[index - 1] ?? 0n))).toBe(true);
  });

  it('the control: unguarded additions under the same lock get lost', async () => {
    const { confirmed, counter } = await additions(false, 60);
    expect(counter).toBeLessThan(confirmed);
  });
});

/** Waits until the next holder has written over what was seen, but not for ever: there may be no next one. */
async function untilSomebodyWrote(etcd: Etcd, key: string, seen: number): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    if (Number((await etcd.get(key))?.value) !== seen) return;
    await sleep(2);
  }
}

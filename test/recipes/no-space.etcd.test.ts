/**
 * Recipes on a store that gets full. etcd applies the write with which the quota is overstepped and answers "no space" all
 * the same; later writes it refuses with the same words. Here a proxy says so, in both ways.
 */
import { expect, it } from 'vitest';
import { Mutex } from '../../recipes/mutex.ts';
import { Queue } from '../../recipes/queue/queue.ts';
import { type StmTransaction, stm } from '../../recipes/stm/stm.ts';
import { GrpcCode } from '../../src/protocol/status.ts';
import { errorOf } from '../conformance/helpers.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import type { FaultAction } from '../support/grpc-fault-proxy.ts';
import { untilEmpty } from './lock-bed.ts';
import { newName, Party, TXN } from './queue-bed.ts';

function full(applied: boolean): FaultAction {
  const message = 'etcdserver: mvcc: database space exceeded';
  return { status: { code: GrpcCode.RESOURCE_EXHAUSTED, message }, forward: applied };
}

describeOnEtcd('on a store that is full', (suite) => {
  it.each([true, false])('a lock is not taken, and what was written of it goes (applied: %s)', async (applied) => {
    await using party = await Party.join(suite);
    await using other = await Party.join(suite);
    const name = newName();
    party.proxy.rule({ path: TXN, nth: 1, action: full(applied) });
    expect(await errorOf(new Mutex(party.session, name).acquire())).toMatchObject({ code: 'no-space' });
    await untilEmpty(other.etcd, `${name}/`);
    const lock = await new Mutex(other.session, name).acquire();
    await lock.release();
    expect(party.proxy.count(TXN)).toBe(1);
  });

  it('an item that was put all the same is in the queue, once', async () => {
    await using party = await Party.join(suite);
    const queue = new Queue(party.session, newName());
    await queue.enqueue('a');
    party.proxy.rule({ path: TXN, nth: 1, action: full(true) });
    const { revision } = await queue.enqueue('b');
    expect(revision).toBeGreaterThan(0n);
    expect((await queue.dequeue()).value).toBe('a');
    expect((await queue.dequeue()).value).toBe('b');
    expect(await queue.tryDequeue()).toBeUndefined();
  });

  it('an item that was refused is not, and the next one is', async () => {
    await using party = await Party.join(suite);
    const queue = new Queue(party.session, newName());
    party.proxy.rule({ path: TXN, nth: 1, action: full(false) });
    expect(await errorOf(queue.enqueue('a'))).toMatchObject({ code: 'no-space' });
    await queue.enqueue('b');
    expect((await queue.dequeue()).value).toBe('b');
    expect(await queue.tryDequeue()).toBeUndefined();
  });

  it('a transaction that was committed all the same is, once; one that was refused is not', async () => {
    await using party = await Party.join(suite);
    const { etcd, proxy } = party;
    const key = `${suite.prefix()}n`;
    const count = async (tx: StmTransaction): Promise<void> => {
      tx.put(key, String(Number((await tx.get(key)) ?? 0) + 1));
    };
    await stm(etcd, count);
    proxy.rule({ path: TXN, nth: 1, action: full(true) });
    const { attempts, revision } = await stm(etcd, count);
    expect([attempts, (await etcd.get(key))?.value]).toEqual([1, '2']);
    expect((await etcd.get(key))?.modRevision).toBe(revision);
    proxy.rule({ path: TXN, nth: 1, action: full(false) });
    expect(await errorOf(stm(etcd, count))).toMatchObject({ code: 'no-space' });
    expect((await etcd.get(key))?.value).toBe('2');
    await stm(etcd, count);
    expect((await etcd.get(key))?.value).toBe('3');
  });
});

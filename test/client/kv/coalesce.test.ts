import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { AbortError, EtcdError, PermissionDeniedError, UnavailableError } from '../../../src/client/errors.ts';
import type { PutResult } from '../../../src/client/kv/results.ts';
import type { RequestOp, TxnRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import { toLatin1 } from '../../../src/protocol/keys.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { deferred } from '../../../src/support/signals.ts';
import { type Answer, FakeMembers, refusal, type SeenCall, wireKv } from './fake-member.ts';

const text = (bytes: Uint8Array): string => toLatin1(bytes);
const keysOf = (request: TxnRequest): string[] =>
  request.success.map((op) => text((op.requestPut ?? op.requestRange)?.key ?? new Uint8Array(0)));

/** What is asked for with key `k` has the value `value of k`; writes succeed at revision 8. */
const obedient: Answer = ({ method, request }) => {
  const one = (op: RequestOp): object => {
    const { key } = op.requestRange ?? {};
    return key === undefined
      ? { responsePut: { header: { revision: 8n } } }
      : { responseRange: { kvs: [wireKv(text(key), `value of ${text(key)}`)], count: 1n } };
  };
  if (method === 'Txn') return { header: { revision: 8n }, succeeded: true, responses: request.success.map(one) };
  if (method === 'Range')
    return { header: { revision: 8n }, kvs: [wireKv(text(request.key), `value of ${text(request.key)}`)] };
  return { header: { revision: 8n } };
};

const client = (members: FakeMembers, coalesce = { gets: true, puts: true }) =>
  members.client({ coalesce, retry: { maxAttempts: 1 } });
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `k${i}`);

describe('coalesced gets', () => {
  it('go as one transaction of at most 128 reads, each answer to its own call', async () => {
    const members = new FakeMembers(obedient);
    await using etcd = client(members);
    const keys = names(300);
    const values = await Promise.all(keys.map((key) => etcd.get(key)));
    expect(values.map((kv) => kv?.value)).toEqual(keys.map((key) => `value of ${key}`));
    expect(members.of('Txn').map(({ request }) => request.success.length)).toEqual([128, 128, 44]);
    expect(members.of('Txn').flatMap(({ request }) => keysOf(request))).toEqual(keys);
    expect(members.calls).toHaveLength(3);
  });

  it('waits until the microtasks of the tick are over, so that those who go on share the next batch', async () => {
    const members = new FakeMembers(obedient);
    await using etcd = client(members);
    const reader = async (key: string): Promise<void> => {
      for (let round = 0; round < 3; round++) await etcd.get(`${key}${round}`);
    };
    await Promise.all(names(10).map(reader));
    expect(members.of('Txn').map(({ request }) => request.success.length)).toEqual([10, 10, 10]);
  });

  it('sends one alone as a plain range', async () => {
    const members = new FakeMembers(obedient);
    await using etcd = client(members);
    await etcd.get('k');
    expect(members.calls.map(({ method }) => method)).toEqual(['Range']);
  });

  it('leaves out calls with wishes of their own', async () => {
    const members = new FakeMembers(obedient);
    await using etcd = client(members);
    await Promise.all([
      etcd.get('a'),
      etcd.get('b', { revision: 3n as never }),
      etcd.get('c', { serializable: true }),
      etcd.get('d', { timeoutMs: 100 }),
      etcd.get('e', { requireLeader: false }),
    ]);
    expect(
      members
        .of('Range')
        .map(({ request }) => text(request.key))
        .sort(),
    ).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(members.of('Txn')).toEqual([]);
  });

  it('asks for each alone when the server refuses the whole, and rejects only what is refused', async () => {
    const members = new FakeMembers((call, signal) => {
      if (call.method === 'Txn' || (call.method === 'Range' && text(call.request.key) === 'secret')) {
        throw refusal(GrpcCode.PERMISSION_DENIED, 'etcdserver: permission denied');
      }
      return obedient(call, signal);
    });
    await using etcd = client(members);
    const [a, secret, b] = await Promise.allSettled([etcd.get('a'), etcd.get('secret'), etcd.get('b')]);
    expect(a).toMatchObject({ status: 'fulfilled', value: { value: 'value of a' } });
    expect(b).toMatchObject({ status: 'fulfilled', value: { value: 'value of b' } });
    expect((secret as PromiseRejectedResult).reason).toBeInstanceOf(PermissionDeniedError);
    expect(members.calls).toHaveLength(4);
  });

  it.each<[string, () => unknown]>([
    [
      'no connection',
      () => {
        throw refusal(GrpcCode.UNAVAILABLE, 'gone');
      },
    ],
    [
      'a server that timed out',
      () => {
        throw refusal(GrpcCode.UNAVAILABLE, 'etcdserver: request timed out');
      },
    ],
    [
      'a server whose deadline passed',
      () => {
        throw refusal(GrpcCode.UNKNOWN, 'etcdserver: context deadline exceeded');
      },
    ],
  ])("does not multiply a failure that is everybody's: %s", async (_, answer) => {
    const members = new FakeMembers(answer);
    await using etcd = client(members);
    const outcomes = await Promise.allSettled(names(5).map((key) => etcd.get(key)));
    for (const outcome of outcomes) {
      expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(EtcdError);
      expect((outcome as PromiseRejectedResult).reason).toMatchObject({ applied: 'no' });
    }
    expect(members.calls).toHaveLength(1);
  });
});

describe('coalesced puts', () => {
  it('share one revision, in the order of the calls', async () => {
    const members = new FakeMembers(obedient);
    await using etcd = client(members);
    const results = await Promise.all(names(5).map((key) => etcd.put(key, 'v')));
    expect(results.map(({ revision }) => revision)).toEqual([8n, 8n, 8n, 8n, 8n]);
    expect(members.calls.map(({ method }) => method)).toEqual(['Txn']);
    expect(members.of('Txn').flatMap(({ request }) => keysOf(request))).toEqual(names(5));
  });

  it('gives each its own previous value', async () => {
    const members = new FakeMembers(({ request, method }) => ({
      header: { revision: 8n },
      succeeded: true,
      responses:
        method === 'Txn'
          ? request.success.map(({ requestPut }) => ({
              responsePut: { prevKv: requestPut?.prevKv ? wireKv(text(requestPut.key), 'old') : undefined },
            }))
          : [],
    }));
    await using etcd = client(members);
    const [plain, prev] = await Promise.all([etcd.put('a', 'v'), etcd.put('b', 'v', { prevKv: true })]);
    expect(plain.previous).toBeUndefined();
    expect(prev.previous).toMatchObject({ key: 'b', value: 'old' });
  });

  it('writes a key that comes twice in two transactions, the second after the first', async () => {
    const held: { keys: string[]; values: string[]; release: () => void }[] = [];
    const members = new FakeMembers(async (call, signal) => {
      const gate = deferred<void>();
      const ops =
        call.method === 'Txn'
          ? call.request.success.map(({ requestPut }) => requestPut)
          : [call.method === 'Put' ? call.request : undefined];
      held.push({
        keys: ops.map((op) => text(op?.key ?? new Uint8Array(0))),
        values: ops.map((op) => text(op?.value ?? new Uint8Array(0))),
        release: () => gate.resolve(),
      });
      await gate.promise;
      return obedient(call, signal);
    });
    await using etcd = client(members);
    const puts = [etcd.put('a', '1'), etcd.put('b', '1'), etcd.put('a', '2'), etcd.put('c', '1')];
    await tick();
    expect(held.map(({ keys }) => keys)).toEqual([['a', 'b']]);
    const later = [etcd.put('b', '3'), etcd.put('d', '1')];
    await tick();
    // Those of the next tick wait as well, since one of them writes what is being written.
    expect(held.map(({ keys }) => keys)).toEqual([['a', 'b']]);
    held[0]?.release();
    await tick();
    expect(held.slice(1).map(({ keys }) => keys)).toEqual([
      ['a', 'c'],
      ['b', 'd'],
    ]);
    expect(held.slice(1).map(({ values }) => values)).toEqual([
      ['2', '1'],
      ['3', '1'],
    ]);
    for (const { release } of held) release();
    await Promise.all([...puts, ...later]);
  });

  it('goes on with a key whose put before has failed', async () => {
    let refusals = 1;
    const members = new FakeMembers((call, signal) => {
      if (refusals-- > 0) throw refusal(GrpcCode.NOT_FOUND, 'etcdserver: requested lease not found');
      return obedient(call, signal);
    });
    await using etcd = client(members);
    const first = etcd.put('a', '1');
    const second = etcd.put('a', '2');
    await expect(first).rejects.toThrow(EtcdError);
    await expect(second).resolves.toMatchObject({ revision: 8n });
  });

  it('stand or fall together, and are sent once', async () => {
    const members = new FakeMembers(() => {
      throw refusal(GrpcCode.UNAVAILABLE, 'the connection broke');
    });
    await using etcd = members.client({ coalesce: { puts: true } });
    const outcomes = await Promise.allSettled(names(3).map((key) => etcd.put(key, 'v')));
    for (const outcome of outcomes) {
      const { reason } = outcome as PromiseRejectedResult;
      expect(reason).toBeInstanceOf(UnavailableError);
      expect(reason).toMatchObject({ applied: 'maybe', attempts: 1 });
    }
    expect(members.calls).toHaveLength(1);
  });

  it('cuts a batch at 1 MiB, and sends what is larger by itself', async () => {
    const members = new FakeMembers(obedient);
    await using etcd = client(members);
    const sizes = [300, 300, 300, 300, 1200, 10, 10];
    await Promise.all(sizes.map((kib, i) => etcd.put(`k${i}`, Buffer.alloc(kib * 1024))));
    const sent = members.calls.map((call) =>
      call.method === 'Txn' ? keysOf(call.request) : [text((call as SeenCall & { method: 'Put' }).request.key)],
    );
    expect(sent).toEqual([['k0', 'k1', 'k2'], ['k3'], ['k4'], ['k5', 'k6']]);
  });
});

describe('giving up a call in a batch', () => {
  it('sends nothing for a signal that has fired', async () => {
    const members = new FakeMembers(obedient);
    await using etcd = client(members);
    const signal = AbortSignal.abort('why');
    for (const attempt of [etcd.get('a', { signal }), etcd.put('a', 'v', { signal })]) {
      const error = await attempt.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(AbortError);
      expect(error).toMatchObject({ applied: 'no', cause: 'why' });
    }
    await tick();
    expect(members.calls).toEqual([]);
  });

  it('leaves out one that is given up before it is sent, and says that it was not applied', async () => {
    const members = new FakeMembers(obedient);
    await using etcd = client(members);
    const abort = new AbortController();
    const puts = [etcd.put('a', 'v'), etcd.put('b', 'v', { signal: abort.signal }), etcd.put('c', 'v')];
    abort.abort();
    const [a, b, c] = await Promise.allSettled<PutResult<string>>(puts);
    expect([a?.status, b?.status, c?.status]).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect((b as PromiseRejectedResult).reason).toMatchObject({ code: 'aborted', applied: 'no' });
    expect(members.of('Txn').map(({ request }) => keysOf(request))).toEqual([['a', 'c']]);
  });

  it('stops only its own wait once it is sent, and says that it may be applied', async () => {
    const gate = deferred<void>();
    const members = new FakeMembers(async (call, signal) => {
      await gate.promise;
      return obedient(call, signal);
    });
    await using etcd = client(members);
    const abort = new AbortController();
    const mine = etcd.put('a', 'v', { signal: abort.signal });
    const other = etcd.put('b', 'v');
    const read = etcd.get('c', { signal: abort.signal });
    const otherRead = etcd.get('d');
    await tick();
    abort.abort();
    await expect(mine).rejects.toMatchObject({ code: 'aborted', applied: 'maybe' });
    await expect(read).rejects.toMatchObject({ code: 'aborted', applied: 'no' });
    gate.resolve();
    await expect(other).resolves.toMatchObject({ revision: 8n });
    await expect(otherRead).resolves.toMatchObject({ value: 'value of d' });
  });

  it('takes its listener off the signal', async () => {
    const members = new FakeMembers(obedient);
    await using etcd = client(members);
    const { signal } = new AbortController();
    const calls = [etcd.get('a', { signal }), etcd.get('b', { signal }), etcd.put('c', 'v', { signal })];
    expect(getEventListeners(signal, 'abort')).not.toEqual([]);
    await Promise.all(calls);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });
});

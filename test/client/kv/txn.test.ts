import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { EtcdError, InvalidArgumentError, UnavailableError } from '../../../src/client/errors.ts';
import type { Etcd } from '../../../src/client/etcd.ts';
import { json, number } from '../../../src/client/kv/codec.ts';
import type { KeyValue } from '../../../src/client/kv/key-value.ts';
import type { DeleteResult, PutResult, RangeResult } from '../../../src/client/kv/results.ts';
import { checkTxn, linearizableTxn, type Op, txnTraits } from '../../../src/client/kv/txn.ts';
import type { RequestOp, TxnRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import { FakeMembers, refusal, wireKv } from './fake-member.ts';

const key = Buffer.from('k');
const range: Init<RequestOp> = { requestRange: { key } };
const put = (name: string): Init<RequestOp> => ({ requestPut: { key: Buffer.from(name) } });
const many = <T>(count: number, item: T): T[] => Array.from({ length: count }, () => item);

describe('checkTxn', () => {
  /** The server's own rule, from what real ones accept: each list within the budget, a nested one within what is left. */
  function fits(request: Init<TxnRequest>, budget: number): boolean {
    const { compare = [], success = [], failure = [] } = request;
    const used = Math.max(compare.length, success.length, failure.length);
    if (used > budget) return false;
    return [...success, ...failure].every(
      ({ requestTxn }) => requestTxn === undefined || fits(requestTxn, budget - used),
    );
  }
  const { txn } = fc.letrec<{ txn: Init<TxnRequest>; op: Init<RequestOp> }>((tie) => ({
    op: fc.oneof(
      { depthSize: 'small' },
      fc.constant(range),
      tie('txn').map((requestTxn) => ({ requestTxn })),
    ),
    txn: fc.record({
      compare: fc.array(fc.constant({ key }), { maxLength: 4 }),
      success: fc.array(tie('op'), { maxLength: 4 }),
      failure: fc.array(tie('op'), { maxLength: 4 }),
    }),
  }));

  it('takes what fits the budget at every depth and nothing else', () => {
    fc.assert(
      fc.property(txn, fc.integer({ min: 1, max: 8 }), (request, budget) => {
        if (fits(request, budget)) checkTxn(request, budget);
        else expect(() => checkTxn(request, budget)).toThrow(InvalidArgumentError);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each<[string, Init<TxnRequest>]>([
    ['conditions', { compare: many(129, { key }) }],
    ['operations', { success: many(129, range) }],
    ['operations of else', { failure: many(129, range) }],
    ['a nested one', { success: [...many(127, range), { requestTxn: { success: [range] } }] }],
  ])('counts %s', (_, request) => {
    expect(() => checkTxn(request, 128)).toThrow(/the server takes/);
  });

  it('finds a key that is written twice, in a list at any depth', () => {
    expect(() => checkTxn({ success: [put('a'), put('b'), put('a')] }, 128)).toThrow(/same key twice/);
    expect(() => checkTxn({ failure: [{ requestTxn: { success: [put('a'), put('a')] } }] }, 128)).toThrow(
      /same key twice/,
    );
    checkTxn({ success: [put('a')], failure: [put('a')] }, 128);
    checkTxn({ success: [put('a\0'), put('a')] }, 128);
  });
});

describe('txnTraits', () => {
  it.each<[string, Init<TxnRequest>, 'read' | 'write']>([
    ['reads', { success: [range], failure: [range] }, 'read'],
    ['conditions alone', { compare: [{ key }] }, 'read'],
    ['a put', { success: [put('a')] }, 'write'],
    ['a put in else', { success: [range], failure: [put('a')] }, 'write'],
    ['a delete', { success: [{ requestDeleteRange: { key } }] }, 'write'],
    [
      'a nested transaction of reads, which a server proposes like a write',
      { success: [{ requestTxn: { success: [range] } }] },
      'write',
    ],
  ])('%s', (_, request, kind) => {
    expect(txnTraits(request)).toEqual({ kind });
  });
});

describe('linearizableTxn', () => {
  it('adds a read to conditions alone, and leaves every other transaction as it is', () => {
    expect(linearizableTxn({ compare: [{ key }] }).success).toEqual([{ requestRange: { key, countOnly: true } }]);
    for (const request of [{}, { success: [range] }, { compare: [{ key }], failure: [range] }]) {
      expect(linearizableTxn(request)).toBe(request);
    }
  });

  it('does not show the read it added', async () => {
    const members = new FakeMembers(() => ({
      header: { revision: 7n },
      succeeded: true,
      responses: [{ responseRange: {} }],
    }));
    const etcd = members.client();
    const result = await etcd.txn({ if: [etcd.key('k').exists] });
    expect(members.of('Txn')[0]?.request.success).toHaveLength(1);
    expect(result).toEqual({ succeeded: true, results: [], revision: 7n });
    await etcd.close();
  });
});

describe('retries', () => {
  async function run(attempt: (etcd: Etcd) => Promise<unknown>): Promise<{ error: unknown; sent: number }> {
    let failures = 2;
    const members = new FakeMembers(() => {
      if (failures-- > 0) throw refusal(GrpcCode.UNAVAILABLE, 'the connection broke');
      return { succeeded: true, header: { revision: 7n }, responses: [{ responseRange: {} }] };
    });
    const etcd = members.client({ retry: { initialMs: 1, maxMs: 1 } });
    const error = await attempt(etcd).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    await etcd.close();
    return { error, sent: members.calls.length };
  }

  it('repeats a transaction that only reads', async () => {
    expect(await run((etcd) => etcd.txn({ then: [etcd.op.get('k')] }))).toEqual({ error: undefined, sent: 3 });
  });

  it.each<[string, (etcd: Etcd) => Promise<unknown>]>([
    ['txn', (etcd) => etcd.txn({ then: [etcd.op.put('k', 'v')] })],
    ['nested txn', (etcd) => etcd.txn({ then: [etcd.op.txn({ then: [etcd.op.get('k')] })] })],
    ['put', (etcd) => etcd.put('k', 'v')],
    ['touch', (etcd) => etcd.touch('k')],
    ['delete', (etcd) => etcd.delete('k')],
    ['putIfUnchanged', (etcd) => etcd.putIfUnchanged('k', undefined, 'v')],
    ['increment', (etcd) => etcd.increment('k')],
  ])('sends a write once and says "maybe": %s', async (_, attempt) => {
    const { error, sent } = await run(attempt);
    expect(sent).toBe(1);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ applied: 'maybe', attempts: 1 });
  });
});

describe('results', () => {
  it('are typed by the operations of the branch that was taken', () => {
    const check = async (etcd: Etcd): Promise<void> => {
      const users = etcd.keyspace('u/', json<{ name: string }>());
      const counts = etcd.keyspace('c/', number);
      const done = await etcd.txn({
        if: [etcd.key('a').missing],
        then: [etcd.op.put('a', '1'), users.op.get('1'), counts.op.range({ all: true })],
        else: [etcd.op.delete('a'), etcd.op.txn({ then: [counts.op.get('x')], else: [] })],
      });
      if (done.succeeded) {
        expectTypeOf(done.results).toEqualTypeOf<
          readonly [PutResult<string>, KeyValue<{ name: string }> | undefined, RangeResult<number>]
        >();
      } else {
        expectTypeOf(done.results[0]).toEqualTypeOf<DeleteResult<string>>();
        const inner = done.results[1];
        if (inner.succeeded) expectTypeOf(inner.results).toEqualTypeOf<readonly [KeyValue<number> | undefined]>();
        else expectTypeOf(inner.results).toEqualTypeOf<readonly []>();
      }
      const ops: Op<unknown>[] = [etcd.op.get('a')];
      expectTypeOf((await etcd.txn({ then: ops })).results).toEqualTypeOf<readonly unknown[] | readonly []>();
      // @ts-expect-error the codec's type is the value's
      void (() => counts.op.put('x', 'text'));
    };
    expect(check).toBeTypeOf('function');
  });

  it('rejects an answer that does not fit, with a typed error', async () => {
    for (const coalesce of [{}, { gets: true, puts: true }]) {
      const members = new FakeMembers(() => ({
        succeeded: true,
        header: { revision: 7n },
        responses: [{ responseRange: { kvs: [wireKv('a')] } }],
      }));
      const etcd = members.client({ coalesce });
      const wrong = [
        etcd.txn({ then: [etcd.op.get('a'), etcd.op.get('b')] }),
        etcd.txn({ then: [etcd.op.put('a', '1')] }),
        Promise.all([etcd.put('a', '1'), etcd.put('b', '1')]),
        Promise.all([etcd.get('a'), etcd.get('b')]),
      ];
      const outcomes = await Promise.allSettled(wrong);
      for (const outcome of coalesce.puts ? outcomes : outcomes.slice(0, 2)) {
        expect(outcome.status).toBe('rejected');
        expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(EtcdError);
      }
      await etcd.close();
    }
  });
});

/** Random requests, good and bad: KV answers what a real etcd answers, headers, errors and all. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { EtcdError } from '../../../src/client/errors.ts';
import { lookUpEtcdError } from '../../../src/protocol/error-table.ts';
import {
  type Compare,
  type CompareResult,
  type CompareTarget,
  KV,
  type RangeRequest,
  type RequestOp,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { fromLatin1 } from '../../../src/protocol/keys.ts';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { kvMethods } from '../../../src/server/api/kv.ts';
import { RpcError } from '../../../src/server/refusals.ts';
import { adminClient } from '../../client/admin/callers.ts';
import { describeOnRealEtcd } from '../../support/fixtures.ts';
import { ask, message } from './calls.ts';
import { FakeGuard, FakeMember, OPTIONS } from './fake-member.ts';

const REQUESTS = 1_500;

const key = fc.constantFrom('a', 'b', 'c', 'd', 'bb', '').map((text) => new Uint8Array(fromLatin1(text)));
const rangeEnd = fc.constantFrom('', '', '\0', 'b', 'c', 'z', 'a').map((text) => new Uint8Array(fromLatin1(text)));
const revision = fc.oneof({ arbitrary: fc.constant(0n), weight: 6 }, fc.bigInt(-3n, 40n));
const value = fc.constantFrom('', 'v', 'w').map((text) => new Uint8Array(fromLatin1(text)));
const often = (percent: number) => fc.nat(99).map((dice) => dice < percent);

// No order by what may be equal: etcd leaves ties open.
const range: fc.Arbitrary<Init<RangeRequest>> = fc.record({
  key,
  rangeEnd,
  revision,
  limit: fc.constantFrom(0n, 0n, 1n, 2n, -1n),
  sortOrder: fc.constantFrom(0 as const, 1 as const, 2 as const, 7 as 0),
  serializable: fc.boolean(),
  keysOnly: often(20),
  countOnly: often(20),
  minModRevision: fc.constantFrom(0n, 0n, 0n, 5n),
  maxCreateRevision: fc.constantFrom(0n, 0n, 0n, 20n),
});
const put = fc.record({
  key,
  value,
  prevKv: fc.boolean(),
  ignoreValue: often(10),
  ignoreLease: often(10),
  lease: fc.constantFrom(0n, 0n, 0n, 7n),
});
const remove = fc.record({ key, rangeEnd, prevKv: fc.boolean() });
const compare: fc.Arbitrary<Init<Compare>> = fc
  .record({ key, rangeEnd, result: fc.nat(3), target: fc.nat(4), operand: fc.bigInt(0n, 30n), value })
  .map(({ operand, result, target, ...rest }) => ({
    key: rest.key,
    rangeEnd: rest.rangeEnd,
    result: result as CompareResult,
    target: target as CompareTarget,
    ...[
      { version: operand },
      { createRevision: operand },
      { modRevision: operand },
      { value: rest.value },
      { lease: operand },
    ][target],
  }));
const { op } = fc.letrec<{ op: Init<RequestOp>; ops: Init<RequestOp>[] }>((tie) => ({
  op: fc.oneof(
    { maxDepth: 3 },
    fc.oneof(
      range.map((requestRange) => ({ requestRange })),
      put.map((requestPut) => ({ requestPut })),
      remove.map((requestDeleteRange) => ({ requestDeleteRange })),
    ),
    fc
      .record({ compare: fc.array(compare, { maxLength: 1 }), success: tie('ops'), failure: tie('ops') })
      .map((requestTxn) => ({ requestTxn })),
  ),
  ops: fc.array(tie('op'), { maxLength: 3 }),
}));
const ops = fc.array(op, { maxLength: 3 });

// biome-ignore lint/suspicious/noExplicitAny: the requests are of different types
type AnyRequest = readonly [MethodDescriptor<any, any>, object];

const request: fc.Arbitrary<AnyRequest> = fc.oneof(
  { arbitrary: range.map((fields): AnyRequest => [KV.range, fields]), weight: 4 },
  { arbitrary: put.map((fields): AnyRequest => [KV.put, fields]), weight: 3 },
  { arbitrary: remove.map((fields): AnyRequest => [KV.deleteRange, fields]), weight: 1 },
  {
    arbitrary: fc
      .record({ compare: fc.array(compare, { maxLength: 2 }), success: ops, failure: ops })
      .map((fields): AnyRequest => [KV.txn, fields]),
    weight: 6,
  },
  fc
    .record({ revision: fc.bigInt(-1n, 60n), physical: fc.boolean() })
    .map((fields): AnyRequest => [KV.compact, fields]),
);

/** An answer without what differs from cluster to cluster, or the name of an error. */
async function answerOf(call: Promise<{ header?: object | undefined }>): Promise<unknown> {
  try {
    const answer = await call;
    return { ...answer, header: { ...answer.header, clusterId: 0n, memberId: 0n, raftTerm: 0n } };
  } catch (error) {
    if (error instanceof RpcError) return lookUpEtcdError(error.refusal.text)?.code ?? error.message;
    if (error instanceof EtcdError) return error.etcdCode ?? error.message;
    throw error;
  }
}

describeOnRealEtcd('KV, side by side', (suite) => {
  it('answers the same', async () => {
    using client = adminClient({ endpoints: suite.cluster.endpoints });
    const member = new FakeMember();
    const methods = kvMethods(member, new FakeGuard(member), OPTIONS);
    const seen = new Map<string, number>();
    for (const [method, fields] of fc.sample(request, { numRuns: REQUESTS, seed: 4711 })) {
      const ours = await answerOf(ask(methods, method, fields));
      const theirs = await answerOf(client.caller.unary(method, message(method.request, fields), { kind: 'write' }));
      expect([method.path, fields, theirs]).toEqual([method.path, fields, ours]);
      const kind = typeof ours === 'string' ? ours : `${method.path} is answered`;
      seen.set(kind, (seen.get(kind) ?? 0) + 1);
    }
    // Each method is answered, and most refusals that there are were seen.
    expect(seen.size).toBeGreaterThan(11);
    expect(member.store.revision).toBeGreaterThan(100);
  }, 60_000);
});

/**
 * What the types promise. The compiler is the judge (`npm run check` runs it); the test
 * runner only sees that the file loads. What must not compile is in test/package/.
 */
import { expectTypeOf, it } from 'vitest';
import * as z from 'zod';
import {
  type ChangeEvent,
  type ClusterId,
  type Codec,
  type CompactedError,
  type Etcd,
  type EtcdError,
  json,
  type KeyValue,
  type LeaseId,
  leaseId,
  type MemberId,
  number,
  type PutResult,
  type RangeResult,
  type Revision,
  revision,
  type WatchEvent,
} from '../../src/index.ts';

// Never used: nothing here runs.
const etcd = undefined as unknown as Etcd;
const User = z.object({ name: z.string(), visits: z.coerce.number() });
type User = z.infer<typeof User>;

/** Keeps calls from being made. */
const never = <Args extends unknown[]>(_code: (...args: Args) => unknown): void => {};

it('reads what the codec reads', () => {
  expectTypeOf<ReturnType<typeof etcd.get>>().resolves.toEqualTypeOf<KeyValue<string> | undefined>();
  const users = () => etcd.keyspace('users/', json(User));
  type Users = ReturnType<typeof users>;
  expectTypeOf<ReturnType<Users['get']>>().resolves.toEqualTypeOf<KeyValue<User> | undefined>();
  expectTypeOf<ReturnType<Users['range']>>().resolves.toEqualTypeOf<RangeResult<User>>();
  expectTypeOf(number).toEqualTypeOf<Codec<number>>();
  expectTypeOf(json<{ a: 1 }>()).toEqualTypeOf<Codec<{ a: 1 }>>();
});

it('gives each branch of a transaction its own results', () => {
  never(async () => {
    const done = await etcd.txn({
      if: [etcd.key('a').version.equals(0n)],
      then: [etcd.op.put('a', '1')],
      else: [etcd.op.get('a'), etcd.op.range({ prefix: 'a' })],
    });
    if (done.succeeded) expectTypeOf(done.results).toEqualTypeOf<readonly [PutResult<string>]>();
    else expectTypeOf(done.results).toEqualTypeOf<readonly [KeyValue<string> | undefined, RangeResult<string>]>();
  });
});

it('narrows events by their type', () => {
  never((event: WatchEvent<User>) => {
    if (event.type === 'put' || event.type === 'delete') expectTypeOf(event).toEqualTypeOf<ChangeEvent<User>>();
    if (event.type === 'put') expectTypeOf(event.kv.value).toEqualTypeOf<User>();
  });
});

it('keeps the 64-bit identifiers apart', () => {
  expectTypeOf(revision(1)).toEqualTypeOf<Revision>();
  expectTypeOf(leaseId(1)).toEqualTypeOf<LeaseId>();
  expectTypeOf<LeaseId>().not.toExtend<Revision>();
  expectTypeOf<MemberId>().not.toExtend<ClusterId>();
  expectTypeOf<bigint>().not.toExtend<Revision>();
  expectTypeOf<Revision>().toExtend<bigint>();
});

it('has one base for all errors', () => {
  expectTypeOf<CompactedError>().toExtend<EtcdError>();
  expectTypeOf<CompactedError['compactRevision']>().toEqualTypeOf<Revision | undefined>();
  expectTypeOf<EtcdError['applied']>().toEqualTypeOf<'no' | 'maybe'>();
});

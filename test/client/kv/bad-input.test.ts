/** What makes no sense is found before anything is sent, and the error names it. */
import { describe, expect, it } from 'vitest';
import { type EtcdError, InvalidArgumentError } from '../../../src/client/errors.ts';
import type { Etcd } from '../../../src/client/etcd.ts';
import type { Op } from '../../../src/client/kv/txn.ts';
import type { Revision } from '../../../src/protocol/int64.ts';
import { FakeMembers } from './fake-member.ts';

type Attempt = (etcd: Etcd) => unknown;
const puts = (etcd: Etcd, count: number): Op<unknown>[] =>
  Array.from({ length: count }, (_, i) => etcd.op.put(`k${i}`, ''));

const WRONG: [text: string, attempt: Attempt][] = [
  ['the key is empty', (etcd) => etcd.get('')],
  ['the key is empty', (etcd) => etcd.put('', 'v')],
  ['the key is empty', (etcd) => etcd.touch('')],
  ['the key is empty', (etcd) => etcd.delete('')],
  ['the key is empty', (etcd) => etcd.increment('')],
  ['the key is empty', (etcd) => etcd.putIfUnchanged('', undefined, 'v')],
  ['the key is neither', (etcd) => etcd.get(5 as never)],
  ['the key is neither', (etcd) => etcd.put(undefined as never, 'v')],
  ['name the keys', (etcd) => etcd.range(undefined as never)],
  ['name the keys', (etcd) => etcd.delete({} as never)],
  ['name the keys', (etcd) => etcd.count(7 as never)],
  ['name the keys', (etcd) => etcd.scan({ all: false } as never).next()],
  ['the value is neither', (etcd) => etcd.put('k', 5 as never)],
  ['the value is neither', (etcd) => etcd.put('k', undefined as never)],
  ['half a surrogate pair', (etcd) => etcd.put('k', '\ud800')],
  ['limit 0', (etcd) => etcd.range({ all: true }, { limit: 0 })],
  ['limit -1', (etcd) => etcd.range({ all: true }, { limit: -1 })],
  ['limit 1.5', (etcd) => etcd.range({ all: true }, { limit: 1.5 })],
  ['limit NaN', (etcd) => etcd.range({ all: true }, { limit: Number.NaN })],
  ['sort.by size', (etcd) => etcd.range({ all: true }, { sort: { by: 'size' as never } })],
  ['sort.by constructor', (etcd) => etcd.range({ all: true }, { sort: { by: 'constructor' as never } })],
  ['sort.order up', (etcd) => etcd.range({ all: true }, { sort: { by: 'key', order: 'up' as never } })],
  ['revision -1', (etcd) => etcd.get('k', { revision: -1n as Revision })],
  ['revision 5', (etcd) => etcd.get('k', { revision: 5 as never })],
  ['minModRevision x', (etcd) => etcd.range({ all: true }, { minModRevision: 'x' as never })],
  ['maxModRevision 1', (etcd) => etcd.range({ all: true }, { maxModRevision: 1 as never })],
  ['minCreateRevision -2', (etcd) => etcd.range({ all: true }, { minCreateRevision: -2n as Revision })],
  [
    'maxCreateRevision 9223372036854775808',
    (etcd) => etcd.range({ all: true }, { maxCreateRevision: (2n ** 63n) as Revision }),
  ],
  ['pageSize 0', (etcd) => etcd.scan({ all: true }, { pageSize: 0 }).next()],
  ['revision 3', (etcd) => etcd.scan({ all: true }, { revision: 3 as never }).next()],
  ['lease is neither', (etcd) => etcd.put('k', 'v', { lease: 5 as never })],
  ['lease is neither', (etcd) => etcd.put('k', 'v', { lease: '694d' as never })],
  ['lease is neither', (etcd) => etcd.touch('k', { lease: {} as never })],
  ['lease is neither', (etcd) => etcd.op.put('k', 'v', { lease: null as never })],
  ['exclude each other', (etcd) => etcd.put('k', 'v', { lease: 5n as never, ignoreLease: true })],
  ['lease is neither', (etcd) => etcd.key('k').lease.equals('694d' as never)],
  ['version can only', (etcd) => etcd.key('k').version.equals(0 as never)],
  ['modRevision can only', (etcd) => etcd.key('k').modRevision.lessThan(undefined as never)],
  ['createRevision can only', (etcd) => etcd.key('k').createRevision.equals((2n ** 63n) as never)],
  ['the value is neither', (etcd) => etcd.key('k').value.equals(7 as never)],
  ['if[0] is no condition', (etcd) => etcd.txn({ if: [{} as never] })],
  ['then[1] is no operation', (etcd) => etcd.txn({ then: [etcd.op.get('k'), undefined as never] })],
  ['if[0] is no condition', (etcd) => etcd.txn({ if: [etcd.op.get('k') as never] })],
  ['else[0] is no operation', (etcd) => etcd.txn({ else: [etcd.key('k').exists as never] })],
  ['is { if, then, else }', (etcd) => etcd.txn(undefined as never)],
  ['has no success', (etcd) => etcd.txn({ success: [etcd.op.put('k', '1')] } as never)],
  ['has no compare', (etcd) => etcd.txn({ then: [etcd.op.txn({ compare: [] } as never)] })],
  ['then is no list', (etcd) => etcd.txn({ then: etcd.op.put('k', '1') as never })],
  ['128', (etcd) => etcd.txn({ then: puts(etcd, 129) })],
  ['the same key twice', (etcd) => etcd.txn({ then: [etcd.op.put('k', '1'), etcd.op.put('k', '2')] })],
  ['`by` is not', (etcd) => etcd.increment('k', { by: 1 as never })],
  ['maxConflicts NaN', (etcd) => etcd.increment('k', { maxConflicts: Number.NaN })],
  ['timeoutMs 0', (etcd) => etcd.put('k', 'v', { timeoutMs: 0 })],
  ['timeoutMs NaN', (etcd) => etcd.get('k', { timeoutMs: Number.NaN })],
  ['startRevision is not an option', (etcd) => etcd.watch('k', { startRevision: 5n } as never)],
  ['the prefix is neither', (etcd) => etcd.keyspace(5 as never)],
];

describe('bad input', () => {
  it.each(WRONG)('%s (%#)', async (text, attempt) => {
    for (const coalesce of [{}, { gets: true, puts: true }]) {
      const members = new FakeMembers();
      const etcd = members.client({ coalesce });
      const error = await (async () => attempt(etcd))().then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error).toMatchObject({ code: 'invalid-argument', applied: 'no', attempts: 0 });
      expect((error as EtcdError).message).toContain(text);
      expect(members.calls).toEqual([]);
      await etcd.close();
    }
  });
});

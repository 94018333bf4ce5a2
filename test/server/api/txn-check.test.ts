import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type RequestOp, TxnRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import { toBytes, toLatin1 } from '../../../src/protocol/keys.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import { checkTxn, isReadOnly, isSerializable } from '../../../src/server/api/txn-check.ts';
import { Refusals } from '../../../src/server/refusals.ts';
import { message } from './calls.ts';

type Op = Init<RequestOp>;

const put = (key: string): Op => ({ requestPut: { key: toBytes(key) } });
const del = (key: string, end = ''): Op => ({ requestDeleteRange: { key: toBytes(key), rangeEnd: toBytes(end) } });
const get = (key: string, serializable = false): Op => ({ requestRange: { key: toBytes(key), serializable } });
const nested = (success: Op[], failure: Op[] = []): Op => ({ requestTxn: { success, failure } });

function txn(success: readonly Op[], failure: readonly Op[] = []): TxnRequest {
  return message(TxnRequest, { success, failure });
}

function check(success: readonly Op[], failure: readonly Op[] = []): string {
  return checkTxn(txn(success, failure), 128)?.text ?? 'fine';
}

const DUPLICATE = Refusals.DuplicateKey.text;

describe('a transaction that writes a key twice', () => {
  // Each line was tried on etcd 3.5.16.
  it.each<[string, Op[], boolean]>([
    ['two puts', [put('k'), put('k')], true],
    ['puts of two keys', [put('k'), put('l')], false],
    ['a put and a delete', [put('k'), del('k')], true],
    ['a put in a deleted range', [del('a', 'z'), put('k')], true],
    ['a put at the end of a deleted range', [del('a', 'k'), put('k')], false],
    ['deletes that overlap', [del('a', 'z'), del('k')], false],
    ['a delete without an upper bound', [del('a', '\0'), put('k')], false],
    ['a delete of everything', [del('\0', '\0'), put('k')], false],
    ['a delete of an empty range', [del('z', 'a'), put('k')], false],
    ['a delete of an empty range at its key', [del('k', 'k'), put('k')], false],
    ['an empty range and another', [del('z', 'a'), del('b', 'c'), put('bb')], true],
    ['a range of one key that looks like all', [del('\0', '\0\x01'), put('\0')], true],
    ['a put before a delete, in two inside', [nested([put('k')]), nested([del('k')])], false],
    ['a delete before a put, in two inside', [nested([del('k')]), nested([put('k')])], true],
    ['branches that exclude each other', [nested([del('k')], [put('k')])], false],
    ['a put in both branches inside', [nested([put('k')], [put('k')])], false],
    ['a delete inside and a put outside', [nested([del('k')]), put('k')], true],
    ['a put inside and a delete outside', [nested([put('k')]), del('k')], true],
    ['a put inside and one outside', [put('k'), nested([], [put('k')])], true],
    [
      'puts in branches of two inside',
      [nested([nested([put('k')])], [put('k')]), nested([put('j')], [put('k')])],
      true,
    ],
    ['two in one branch inside', [nested([], [nested([put('k')]), nested([put('k')])])], true],
  ])('%s', (_, ops, refused) => {
    expect(check(ops)).toBe(refused ? DUPLICATE : 'fine');
    expect(check([], ops)).toBe(refused ? DUPLICATE : 'fine');
  });

  it('is looked for in both branches, and not between them', () => {
    expect(check([put('k')], [put('k')])).toBe('fine');
    expect(check([del('k')], [put('k')])).toBe('fine');
  });

  it('is found as a simple search finds it', () => {
    const key = fc.constantFrom('a', 'b', 'c', 'd');
    const { op } = fc.letrec<{ op: Op; ops: Op[] }>((tie) => ({
      op: fc.oneof(
        { depthSize: 'large', withCrossShrink: true, maxDepth: 5 },
        fc.oneof(
          key.map(put),
          fc.tuple(key, fc.constantFrom('', 'b', 'c', 'd', 'e', '\0')).map(([k, e]) => del(k, e)),
          key.map((k) => get(k)),
        ),
        fc.tuple(tie('ops'), tie('ops')).map(([success, failure]) => nested(success, failure)),
      ),
      ops: fc.array(tie('op'), { maxLength: 3 }),
    }));
    let refused = 0;
    let fine = 0;
    fc.assert(
      fc.property(fc.array(op, { maxLength: 4 }), (ops) => {
        const request = txn(ops);
        const expected = naive(request.success) !== 'duplicate';
        if (expected) fine += 1;
        else refused += 1;
        expect(checkTxn(request, 1000)).toBe(expected ? undefined : Refusals.DuplicateKey);
      }),
      { numRuns: 3000 },
    );
    // A search that has nothing to find, or always finds something, shows nothing.
    expect(Math.min(refused, fine)).toBeGreaterThan(300);
  });
});

interface Written {
  readonly puts: ReadonlySet<string>;
  readonly deletes: readonly (readonly [string, string])[];
}

/** The rule as etcd has it: level by level, with the writes of each carried up. */
function naive(ops: readonly RequestOp[]): Written | 'duplicate' {
  const deletes = ops.flatMap(({ requestDeleteRange: d }) =>
    d ? [[toLatin1(d.key), d.rangeEnd.length === 0 ? `${toLatin1(d.key)}\0` : toLatin1(d.rangeEnd)] as const] : [],
  );
  const isDeleted = (key: string): boolean => deletes.some(([from, to]) => key >= from && key < to);
  const puts = new Set<string>();
  for (const { requestTxn } of ops) {
    if (!requestTxn) continue;
    const success = naive(requestTxn.success);
    const failure = naive(requestTxn.failure);
    if (success === 'duplicate' || failure === 'duplicate') return 'duplicate';
    const inside = new Set([...success.puts, ...failure.puts]);
    for (const key of inside) if (puts.has(key) || isDeleted(key)) return 'duplicate';
    for (const key of inside) puts.add(key);
    deletes.push(...success.deletes, ...failure.deletes);
  }
  for (const { requestPut } of ops) {
    if (!requestPut) continue;
    const key = toLatin1(requestPut.key);
    if (puts.has(key) || isDeleted(key)) return 'duplicate';
    puts.add(key);
  }
  return { puts, deletes };
}

describe('the size of a transaction', () => {
  const many = (count: number): Op[] => Array.from({ length: count }, (_, i) => put(`k${i}`));

  it('is that of its largest part', () => {
    expect(check(many(128), many(128))).toBe('fine');
    expect(check(many(129))).toBe(Refusals.TooManyOps.text);
    expect(check([], many(129))).toBe(Refusals.TooManyOps.text);
    const compare = Array.from({ length: 129 }, () => ({ key: toBytes('k') }));
    expect(checkTxn(message(TxnRequest, { compare }), 128)).toBe(Refusals.TooManyOps);
  });

  it('is less for one inside', () => {
    expect(check([nested(many(127))])).toBe('fine');
    expect(check([nested(many(128))])).toBe(Refusals.TooManyOps.text);
    expect(check([...many(100).map(() => get('k')), nested(many(27))])).toBe('fine');
    expect(check([...many(100).map(() => get('k')), nested(many(28))])).toBe(Refusals.TooManyOps.text);
  });

  it('may be nothing', () => {
    expect(check([])).toBe('fine');
  });

  it('bounds how deep it is looked through', () => {
    let deep: RequestOp = {
      requestTxn: undefined,
      requestPut: undefined,
      requestRange: undefined,
      requestDeleteRange: undefined,
    };
    for (let i = 0; i < 100_000; i += 1) {
      deep = { ...deep, requestTxn: { compare: [], success: [deep], failure: [] } };
    }
    expect(checkTxn({ compare: [], success: [deep], failure: [] }, 128)).toBe(Refusals.TooManyOps);
  });

  it('does not explode: two hundred thousand writes in branches of branches', () => {
    let key = 0;
    const tree = (depth: number): Op[] =>
      depth === 0
        ? [key % 2 === 0 ? put(`p${key++}`) : del(`d${key++}`, `d${key}`)]
        : [put(`p${key++}`), nested(tree(depth - 1), tree(depth - 1))];
    const request = message(TxnRequest, { success: tree(16) });
    // Two a branch, sixteen levels down, where both branches of each are walked.
    expect(key).toBeGreaterThan(130_000);
    expect(checkTxn(request, 128)).toBeUndefined();
  });
});

describe('the operations of a transaction', () => {
  it.each<[string, Op[], string]>([
    ['an operation that is none', [{}], Refusals.KeyNotFound.text],
    ['a put without a key', [put('')], Refusals.EmptyKey.text],
    ['a range without a key', [get('')], Refusals.EmptyKey.text],
    ['a delete without a key', [del('')], Refusals.EmptyKey.text],
    ['one inside, in the other branch', [nested([], [put('')])], Refusals.EmptyKey.text],
    ['before duplicates', [put('k'), put('k'), put('')], Refusals.EmptyKey.text],
    [
      'a value that is to be ignored',
      [{ requestPut: { key: toBytes('k'), value: toBytes('v'), ignoreValue: true } }],
      Refusals.ValueProvided.text,
    ],
    [
      'a sort by nothing known',
      [{ requestRange: { key: toBytes('k'), sortTarget: 9 as 0 } }],
      Refusals.InvalidSortOption.text,
    ],
  ])('%s', (_, ops, text) => {
    expect(check(ops)).toBe(text);
  });

  it('compares without a key', () => {
    expect(checkTxn(message(TxnRequest, { compare: [{}] }), 128)).toBe(Refusals.EmptyKey);
  });

  it('say whether it only reads', () => {
    expect(isReadOnly(txn([get('a')], [get('b')]))).toBe(true);
    expect(isReadOnly(txn([]))).toBe(true);
    expect(isReadOnly(txn([get('a')], [put('b')]))).toBe(false);
    expect(isReadOnly(txn([nested([get('a')])]))).toBe(false);
  });

  it('say whether it may be answered from here', () => {
    expect(isSerializable(txn([]))).toBe(false);
    expect(isSerializable(txn([get('a', true)], [get('b', true)]))).toBe(true);
    expect(isSerializable(txn([get('a', true)], [get('b')]))).toBe(false);
  });
});

import { describe, expect, it } from 'vitest';
import type { Compare, KeyVersion, Request, Response } from './history.ts';
import { evaluate, holds } from './kv-model.ts';
import { kv, logOf, op } from './support/build.ts';
import { Versions } from './versions.ts';

// At revision 4: a = 2, put twice, and b = 1 with lease 7. What comes later is not seen.
const versions = new Versions(logOf('a=1', 'b=1@7', 'a=2', 'a=3; d=0', '-[a,z)'));
const view = versions.at(4);
const a = kv('a', '2', 4, { createRevision: 2, version: 2 });
const b = kv('b', '1', 3, { lease: 7n });

function does(request: Request): { result: Response['result']; revision: number; events: string[] } {
  if (view === undefined) throw new Error('no such revision');
  const { response, events } = evaluate(view, request);
  return { ...response, events: events.map(({ type, kv: { key, version } }) => `${type} ${key} ${version}`) };
}

function txn(...ops: readonly string[]): Request {
  return { kind: 'txn', compares: [], success: ops.map(op), failure: [] };
}

function found(kvs: readonly KeyVersion[], count = kvs.length, more = false): Response['result'] {
  return { kind: 'range', kvs, count, more };
}

describe('the store', () => {
  it('reads keys and ranges', () => {
    expect(does(op('a?'))).toEqual({ revision: 4, result: found([a]), events: [] });
    expect(does(op('x?')).result).toEqual(found([]));
    expect(does({ kind: 'range', key: 'b', end: '\0' }).result).toEqual(found([b]));
    expect(does(op('[a,b)?')).result).toEqual(found([a]));
    expect(does({ kind: 'range', key: 'a', end: 'z', limit: 1 }).result).toEqual(found([a], 2, true));
    expect(does({ kind: 'range', key: 'a', end: 'z', limit: 2 }).result).toEqual(found([a, b]));
    expect(does({ kind: 'range', key: 'a', end: 'z', limit: 1, countOnly: true }).result).toEqual(found([], 2));
  });

  it('reads what was', () => {
    expect(does({ kind: 'range', key: 'a', revision: 3 })).toMatchObject({
      revision: 4,
      result: found([kv('a', '1', 2)]),
    });
    expect(does({ kind: 'range', key: 'a', revision: 4 }).result).toEqual(found([a]));
  });

  it('puts a new key, and an old one again', () => {
    expect(does(op('x=1'))).toEqual({ revision: 5, result: { kind: 'put', prevKv: undefined }, events: ['put x 1'] });
    expect(does(op('a=3'))).toEqual({ revision: 5, result: { kind: 'put', prevKv: a }, events: ['put a 3'] });
  });

  it('deletes what is there, and makes no revision otherwise', () => {
    expect(does(op('-[a,z)'))).toEqual({
      revision: 5,
      result: { kind: 'delete', deleted: 2, prevKvs: [a, b] },
      events: ['delete a 0', 'delete b 0'],
    });
    expect(does(op('-x'))).toEqual({ revision: 4, result: { kind: 'delete', deleted: 0, prevKvs: [] }, events: [] });
  });

  it('takes the keys of a lease with it', () => {
    expect(does({ kind: 'revoke', lease: 7n })).toMatchObject({ revision: 5, events: ['delete b 0'] });
    expect(does({ kind: 'revoke', lease: 8n })).toMatchObject({ revision: 4, events: [] });
  });

  it('lets a transaction see what it has done so far', () => {
    const { revision, result, events } = does(txn('x=1', '-b', '[a,z)?', 'x?', '-x', 'x?'));
    expect({ revision, events }).toEqual({ revision: 5, events: ['put x 1', 'delete b 0', 'delete x 0'] });
    const x = kv('x', '1', 5);
    const ranges = result.kind === 'txn' ? result.results.filter(({ kind }) => kind === 'range') : [];
    expect(ranges).toEqual([found([a, x]), found([x]), found([])]);
  });

  it('takes the branch that the compares say, of the state before', () => {
    const compares: Compare[] = [{ key: 'a', target: 'value', result: '=', operand: '2' }];
    const [then, otherwise] = [[op('a=9')], [op('b?')]];
    expect(does({ kind: 'txn', compares, success: then, failure: otherwise })).toMatchObject({
      result: { succeeded: true },
      events: ['put a 3'],
    });
    const no: Compare[] = [...compares, { key: 'a', target: 'version', result: '>', operand: 2 }];
    expect(does({ kind: 'txn', compares: no, success: then, failure: otherwise })).toEqual({
      revision: 4,
      result: { kind: 'txn', succeeded: false, results: [found([b])] },
      events: [],
    });
  });
});

describe('a compare', () => {
  const table: readonly (readonly [Compare, boolean])[] = [
    [{ key: 'a', target: 'value', result: '=', operand: '2' }, true],
    [{ key: 'a', target: 'value', result: '<', operand: '3' }, true],
    [{ key: 'a', target: 'value', result: '>', operand: '3' }, false],
    [{ key: 'a', target: 'value', result: '!=', operand: '2' }, false],
    [{ key: 'a', target: 'version', result: '=', operand: 2 }, true],
    [{ key: 'a', target: 'createRevision', result: '=', operand: 2 }, true],
    [{ key: 'a', target: 'modRevision', result: '=', operand: 4 }, true],
    [{ key: 'b', target: 'lease', result: '=', operand: 7n }, true],
    [{ key: 'x', target: 'value', result: '=', operand: '' }, false],
    [{ key: 'x', target: 'value', result: '!=', operand: '1' }, false],
    [{ key: 'x', target: 'version', result: '=', operand: 0 }, true],
    [{ key: 'x', target: 'modRevision', result: '<', operand: 1 }, true],
    [{ key: 'x', target: 'lease', result: '=', operand: 0n }, true],
    [{ key: 'a', end: 'z', target: 'version', result: '>', operand: 0 }, true],
    [{ key: 'a', end: 'z', target: 'version', result: '>', operand: 1 }, false],
    [{ key: 'x', end: 'z', target: 'version', result: '=', operand: 0 }, true],
    [{ key: 'x', end: 'z', target: 'value', result: '<', operand: 'z' }, false],
  ];

  it.each(table)('$key $target $result $operand', (compare, expected) => {
    expect(view && holds(view, compare)).toBe(expected);
  });
});

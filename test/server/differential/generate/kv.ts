/** Requests about keys, good and bad. Few keys, so that they meet. */
import {
  type Compare,
  type CompareResult,
  type CompareTarget,
  type DeleteRangeRequest,
  KV,
  type PutRequest,
  type RangeRequest,
  type RequestOp,
  type TxnRequest,
} from '../../../../src/protocol/generated/etcdserverpb.ts';
import { fromLatin1 } from '../../../../src/protocol/keys.ts';
import type { Init } from '../../../../src/protocol/wire.ts';
import type { Step } from '../steps.ts';
import type { Scene } from './scene.ts';

const KEYS = ['a', 'b', 'c', 'd', 'aa', 'ab', 'bb', 'b\0', '\xff', 'a', 'b', 'c'] as const;
const ENDS = ['', '', '', '', '\0', 'b', 'c', 'z', 'a', '\xff', '\0\x01', 'b\0'] as const;
const VALUES = ['', '1', '2', '3', '9', 'v', 'ab', 'v'.repeat(300)] as const;

/** Names a key; seldom none. */
export function key({ dice }: Scene): Uint8Array {
  return fromLatin1(dice.chance(2) ? dice.of(['', '\0']) : dice.of(KEYS));
}

/**
 * A key and an end. Whether who may not do everything may read a range that ends before it begins is for a real etcd a
 * matter of how its tree of permissions is balanced.
 */
export function keyRange(scene: Scene, percentSingle = 0): { readonly key: Uint8Array; readonly rangeEnd: Uint8Array } {
  const { dice } = scene;
  const from = key(scene);
  const to = fromLatin1(dice.chance(percentSingle) ? '' : dice.of(ENDS));
  const backwards = to.length > 0 && !isOpen(to) && Buffer.compare(from, to) >= 0;
  return { key: from, rangeEnd: backwards && scene.withAuth ? new Uint8Array() : to };
}

export function value({ dice }: Scene): Uint8Array {
  return fromLatin1(dice.of(VALUES));
}

/** Mostly a revision that there is. */
export function revisionNear({ dice, revision, compacted }: Scene): bigint {
  const near = BigInt(dice.below(12));
  return dice.of([revision - near, revision - near, compacted + near, compacted - 1n, revision + 1n, -1n, -5n, 1n]);
}

function orZero(scene: Scene, percent: number, make: () => bigint): bigint {
  return scene.dice.chance(percent) ? make() : 0n;
}

export function range(scene: Scene): Init<RangeRequest> {
  const { dice } = scene;
  const filter = (): bigint => orZero(scene, 10, () => revisionNear(scene));
  return {
    ...keyRange(scene),
    revision: orZero(scene, 20, () => revisionNear(scene)),
    limit: dice.of([0n, 0n, 0n, 1n, 2n, 3n, -1n]),
    // A target that there is not stops a real etcd.
    sortOrder: dice.of([0, 0, 1, 2, 7]) as 0,
    sortTarget: dice.of([0, 0, 1, 2, 3, 4]),
    serializable: dice.chance(30),
    keysOnly: dice.chance(15),
    countOnly: dice.chance(15),
    minModRevision: filter(),
    maxModRevision: filter(),
    minCreateRevision: filter(),
    maxCreateRevision: filter(),
  };
}

export function put(scene: Scene): Init<PutRequest> {
  const { dice } = scene;
  const ignoreValue = dice.chance(8);
  const ignoreLease = dice.chance(8);
  return {
    key: key(scene),
    value: ignoreValue && dice.chance(70) ? new Uint8Array() : value(scene),
    lease: ignoreLease && dice.chance(70) ? 0n : orZero(scene, 25, () => scene.lease()),
    prevKv: dice.chance(30),
    ignoreValue,
    ignoreLease,
  };
}

export function remove(scene: Scene): Init<DeleteRangeRequest> {
  return { ...keyRange(scene, 70), prevKv: scene.dice.chance(40) };
}

export function compare(scene: Scene): Init<Compare> {
  const { dice } = scene;
  const target = dice.of([0, 1, 2, 3, 4, 4, 9]);
  // Now and then an operand of another kind than is compared.
  const operand = dice.chance(8) ? dice.below(5) : target;
  const revision = dice.of([0n, 1n, 2n, revisionNear(scene), revisionNear(scene)]);
  return {
    ...keyRange(scene, 75),
    result: dice.of([0, 1, 2, 3, 0, 3, 9]) as CompareResult,
    target: target as CompareTarget,
    ...[
      { version: dice.of([0n, 1n, 2n, 3n]) },
      { createRevision: revision },
      { modRevision: revision },
      { value: value(scene) },
      { lease: dice.of([0n, scene.lease()]) },
    ][operand],
  };
}

/** An operation. Who may not do everything does not nest: real etcds differ in what they look at. */
function op(scene: Scene, depth: number): Init<RequestOp> {
  const { dice } = scene;
  const plain = (): Init<PutRequest> => ({ ...put(scene), ...(scene.restricted ? { lease: 0n, prevKv: false } : {}) });
  const make = dice.weighted<() => Init<RequestOp>>([
    [5, () => ({ requestRange: range(scene) })],
    [8, () => ({ requestPut: plain() })],
    [4, () => ({ requestDeleteRange: remove(scene) })],
    [scene.restricted || depth === 0 ? 0 : 4, () => ({ requestTxn: txn(scene, depth - 1) })],
    [scene.restricted || dice.chance(95) ? 0 : 1, () => ({})],
  ]);
  return make();
}

export function txn(scene: Scene, depth = 2): Init<TxnRequest> {
  const { dice } = scene;
  return {
    compare: dice.some(2, () => compare(scene)),
    success: dice.some(3, () => op(scene, depth)),
    failure: dice.some(3, () => op(scene, depth)),
  };
}

/**
 * A real etcd does not see that a delete without end takes the key of a put in the same transaction, and ends itself if
 * that put is one of a key that must be there.
 */
export function harmless(request: Init<TxnRequest>): Init<TxnRequest> {
  const all = operations(request);
  if (!all.some(({ requestDeleteRange }) => isOpen(requestDeleteRange?.rangeEnd))) return request;
  return mapPuts(request, (put) => ({ ...put, ignoreValue: false, ignoreLease: false }));
}

function isOpen(rangeEnd: Uint8Array | undefined): boolean {
  return rangeEnd?.length === 1 && rangeEnd[0] === 0;
}

function operations({ success = [], failure = [] }: Init<TxnRequest>): Init<RequestOp>[] {
  return [...success, ...failure].flatMap((op) => (op.requestTxn ? operations(op.requestTxn) : [op]));
}

function mapPuts(request: Init<TxnRequest>, change: (put: Init<PutRequest>) => Init<PutRequest>): Init<TxnRequest> {
  const map = ({ requestPut, requestTxn, ...rest }: Init<RequestOp>): Init<RequestOp> => {
    if (requestPut) return { requestPut: change(requestPut) };
    return requestTxn ? { requestTxn: mapPuts(requestTxn, change) } : rest;
  };
  return { ...request, success: (request.success ?? []).map(map), failure: (request.failure ?? []).map(map) };
}

/** A transaction of about as many operations as there may be. */
function long(scene: Scene): Init<TxnRequest> {
  const { dice } = scene;
  const count = dice.of([127, 128, 129]);
  const ops = Array.from({ length: count }, (_, i) => ({
    requestPut: { key: fromLatin1(`k${i % 126}`), value: value(scene) },
  }));
  const reads = Array.from({ length: count }, () => ({ requestRange: { key: key(scene), countOnly: true } }));
  const nested = { success: reads.slice(0, dice.of([1, 2, 10])) };
  const many = Array.from({ length: count }, () => ({ key: fromLatin1('a'), target: 0 as const, version: 1n }));
  return dice.of<Init<TxnRequest>>([
    { success: ops },
    { success: reads },
    { failure: reads },
    { compare: many },
    { success: [...reads.slice(0, 120), { requestTxn: nested }] },
  ]);
}

/** One request about keys. */
export function kvStep(scene: Scene): Step {
  const { dice } = scene;
  const as = scene.caller();
  const call = (method: (typeof KV)[keyof typeof KV], request: object): Step => ({ kind: 'call', method, request, as });
  return dice.weighted<() => Step>([
    [20, () => call(KV.range, range(scene))],
    [20, () => call(KV.put, put(scene))],
    [8, () => call(KV.deleteRange, remove(scene))],
    [30, () => call(KV.txn, harmless(txn(scene)))],
    [scene.restricted ? 0 : 1, () => call(KV.txn, long(scene))],
  ])();
}

/** Forgets some history, or tries. What watchers have not heard yet would be lost: they come first. */
export function compactSteps(scene: Scene): Step[] {
  const { dice, revision } = scene;
  const request = {
    revision: dice.of([revisionNear(scene), revision - BigInt(dice.below(30)), revision]),
    physical: dice.chance(50),
  };
  // Releases before 3.5.28 let anybody.
  const as = scene.restricted ? 'root' : scene.caller();
  return [{ kind: 'drain' }, { kind: 'call', method: KV.compact, request, as }];
}

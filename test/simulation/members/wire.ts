/**
 * Requests and answers of histories, as the services take and give them.
 */
import {
  CompareResult,
  CompareTarget,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  KV,
  type PutRequest,
  type PutResponse,
  type RangeRequest,
  type RangeResponse,
  type RequestOp,
  type ResponseHeader,
  type ResponseOp,
  TxnRequest as TxnCodec,
  type TxnResponse,
  type Compare as WireCompare,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import type { KeyValue } from '../../../src/protocol/generated/mvccpb.ts';
import { fromLatin1, toLatin1 } from '../../../src/protocol/keys.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import type {
  Compare,
  DeleteOp,
  KeyVersion,
  Op,
  OpResult,
  PutOp,
  RangeOp,
  Response,
  TxnRequest,
} from '../../checkers/history.ts';

export function putRequest({ key, value, lease = 0n, prevKv = false }: PutOp): PutRequest {
  return KV.put.request.decode(
    new Uint8Array(KV.put.request.encode({ key: fromLatin1(key), value: fromLatin1(value), lease, prevKv })),
  );
}

export function rangeRequest(op: RangeOp): RangeRequest {
  return KV.range.request.decode(new Uint8Array(KV.range.request.encode(rangeInit(op))));
}

export function deleteRequest(op: DeleteOp): DeleteRangeRequest {
  return KV.deleteRange.request.decode(new Uint8Array(KV.deleteRange.request.encode(deleteInit(op))));
}

export function txnRequest({ compares, success, failure }: TxnRequest): TxnCodec {
  const init = { compare: compares.map(compareInit), success: success.map(opInit), failure: failure.map(opInit) };
  return TxnCodec.decode(new Uint8Array(TxnCodec.encode(init)));
}

function rangeInit({ key, end, revision = 0, limit = 0, countOnly = false, serializable = false }: RangeOp) {
  const range = { key: fromLatin1(key), rangeEnd: fromLatin1(end ?? '') };
  return { ...range, revision: BigInt(revision), limit: BigInt(limit), countOnly, serializable };
}

function deleteInit({ key, end, prevKv = false }: DeleteOp) {
  return { key: fromLatin1(key), rangeEnd: fromLatin1(end ?? ''), prevKv };
}

function opInit(op: Op): Init<RequestOp> {
  if (op.kind === 'range') return { requestRange: rangeInit(op) };
  if (op.kind === 'delete') return { requestDeleteRange: deleteInit(op) };
  const { key, value, lease = 0n, prevKv = false } = op;
  return { requestPut: { key: fromLatin1(key), value: fromLatin1(value), lease, prevKv } };
}

const RESULTS = {
  '=': CompareResult.EQUAL,
  '!=': CompareResult.NOT_EQUAL,
  '<': CompareResult.LESS,
  '>': CompareResult.GREATER,
} as const;

function compareInit(compare: Compare): Init<WireCompare> {
  const common = {
    result: RESULTS[compare.result],
    key: fromLatin1(compare.key),
    rangeEnd: fromLatin1(compare.end ?? ''),
  };
  switch (compare.target) {
    case 'value':
      return { ...common, target: CompareTarget.VALUE, value: fromLatin1(compare.operand) };
    case 'lease':
      return { ...common, target: CompareTarget.LEASE, lease: compare.operand };
    case 'version':
      return { ...common, target: CompareTarget.VERSION, version: BigInt(compare.operand) };
    case 'createRevision':
      return { ...common, target: CompareTarget.CREATE, createRevision: BigInt(compare.operand) };
    case 'modRevision':
      return { ...common, target: CompareTarget.MOD, modRevision: BigInt(compare.operand) };
  }
}

export function putResponse({ header, prevKv }: PutResponse): Response {
  return { revision: revisionOf(header), result: putResult(prevKv) };
}

export function rangeResponse(response: RangeResponse): Response {
  return { revision: revisionOf(response.header), result: rangeResult(response) };
}

export function deleteResponse(response: DeleteRangeResponse): Response {
  return { revision: revisionOf(response.header), result: deleteResult(response) };
}

export function txnResponse({ header, succeeded, responses }: TxnResponse): Response {
  return { revision: revisionOf(header), result: { kind: 'txn', succeeded, results: responses.map(opResult) } };
}

function opResult({ responseRange, responsePut, responseDeleteRange }: ResponseOp): OpResult {
  if (responseRange) return rangeResult(responseRange);
  if (responseDeleteRange) return deleteResult(responseDeleteRange);
  return putResult(responsePut?.prevKv);
}

function putResult(prevKv: KeyValue | undefined): OpResult {
  return { kind: 'put', prevKv: prevKv && versionOf(prevKv) };
}

function rangeResult({ kvs, count, more }: RangeResponse): OpResult {
  return { kind: 'range', kvs: kvs.map(versionOf), count: Number(count), more };
}

function deleteResult({ deleted, prevKvs }: DeleteRangeResponse): OpResult {
  return { kind: 'delete', deleted: Number(deleted), prevKvs: prevKvs.map(versionOf) };
}

export function revisionOf(header: ResponseHeader | undefined): number {
  return Number(header?.revision ?? 0n);
}

/** A version of a key as histories have it. */
export function versionOf(kv: KeyValue): KeyVersion {
  return {
    key: toLatin1(kv.key),
    value: toLatin1(kv.value),
    lease: kv.lease,
    createRevision: Number(kv.createRevision),
    modRevision: Number(kv.modRevision),
    version: Number(kv.version),
  };
}

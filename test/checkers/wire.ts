/**
 * Between the checkers' form of requests, answers and events and etcd's messages.
 *
 * Keys and values are bytes as latin1, so that their order is that of the bytes. Revisions become numbers.
 */
import {
  type Compare as CompareMessage,
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
  type TxnRequest as TxnMessage,
  type TxnResponse,
  type WatchResponse,
} from '../../src/protocol/generated/etcdserverpb.ts';
import { type Event, EventType, type KeyValue } from '../../src/protocol/generated/mvccpb.ts';
import type { Init, MethodDescriptor } from '../../src/protocol/wire.ts';
import type {
  Compare,
  DeleteOp,
  DeleteResult,
  KeyRange,
  KeyVersion,
  LogEntry,
  Op,
  OpResult,
  PutOp,
  PutResult,
  RangeOp,
  RangeResult,
  Request,
  Response,
  RevokeRequest,
  TxnRequest,
} from './history.ts';
import type { WatchEvent, WatchStep } from './watch-checker.ts';

/** Sends a message; rejects if there is no good answer. */
export type Unary = <I, O>(method: MethodDescriptor<I, O>, message: Init<I>) => Promise<O>;

/** Asks an etcd. Revokes are of another service and not for here. */
export async function ask(request: Exclude<Request, RevokeRequest>, unary: Unary): Promise<Response> {
  switch (request.kind) {
    case 'range':
      return rangeResponse(await unary(KV.range, rangeMessage(request)));
    case 'put':
      return putResponse(await unary(KV.put, putMessage(request)));
    case 'delete':
      return deleteResponse(await unary(KV.deleteRange, deleteMessage(request)));
    case 'txn':
      return txnResponse(await unary(KV.txn, txnMessage(request)));
  }
}

/** What a watcher was told, as the checker takes it. */
export function watchStep(message: WatchResponse): WatchStep {
  const revision = revisionOf(message.header);
  if (message.canceled) return { kind: 'canceled', compactRevision: Number(message.compactRevision) };
  if (message.created) return { kind: 'created', revision };
  if (message.events.length === 0) return { kind: 'progress', revision };
  return { kind: 'events', revision, events: message.events.map(watchEvent), fragment: message.fragment };
}

/** Events of a watch over everything as a log. */
export function logFrom(events: readonly WatchEvent[]): LogEntry[] {
  const log: { revision: number; events: WatchEvent[] }[] = [];
  for (const { type, kv } of events) {
    const last = log.at(-1);
    if (last?.revision === kv.modRevision) last.events.push({ type, kv });
    else log.push({ revision: kv.modRevision, events: [{ type, kv }] });
  }
  return log;
}

/** An event as the checker takes it. */
export function watchEvent({ type, kv, prevKv }: Event): WatchEvent {
  if (kv === undefined) throw new TypeError('an event without its key');
  return {
    type: type === EventType.DELETE ? 'delete' : 'put',
    kv: version(kv),
    prevKv: prevKv && version(prevKv),
  };
}

export function rangeMessage(op: RangeOp): Init<RangeRequest> {
  const { revision = 0, limit = 0, countOnly = false, serializable = false } = op;
  return { ...keys(op), revision: BigInt(revision), limit: BigInt(limit), countOnly, serializable };
}

export function putMessage({ key, value, lease = 0n, prevKv = false }: PutOp): Init<PutRequest> {
  return { key: bytes(key), value: bytes(value), lease, prevKv };
}

export function deleteMessage(op: DeleteOp): Init<DeleteRangeRequest> {
  return { ...keys(op), prevKv: op.prevKv ?? false };
}

export function txnMessage({ compares, success, failure }: TxnRequest): Init<TxnMessage> {
  return {
    compare: compares.map(compareMessage),
    success: success.map(opMessage),
    failure: failure.map(opMessage),
  };
}

function opMessage(op: Op): Init<RequestOp> {
  switch (op.kind) {
    case 'range':
      return { requestRange: rangeMessage(op) };
    case 'put':
      return { requestPut: putMessage(op) };
    case 'delete':
      return { requestDeleteRange: deleteMessage(op) };
  }
}

const RESULTS = {
  '=': CompareResult.EQUAL,
  '!=': CompareResult.NOT_EQUAL,
  '<': CompareResult.LESS,
  '>': CompareResult.GREATER,
} as const;

function compareMessage(compare: Compare): Init<CompareMessage> {
  const base = { ...keys(compare), result: RESULTS[compare.result] };
  switch (compare.target) {
    case 'value':
      return { ...base, target: CompareTarget.VALUE, value: bytes(compare.operand) };
    case 'version':
      return { ...base, target: CompareTarget.VERSION, version: BigInt(compare.operand) };
    case 'createRevision':
      return { ...base, target: CompareTarget.CREATE, createRevision: BigInt(compare.operand) };
    case 'modRevision':
      return { ...base, target: CompareTarget.MOD, modRevision: BigInt(compare.operand) };
    case 'lease':
      return { ...base, target: CompareTarget.LEASE, lease: compare.operand };
  }
}

export function rangeResponse(answer: RangeResponse): Response {
  return { revision: revisionOf(answer.header), result: rangeResult(answer) };
}

export function putResponse(answer: PutResponse): Response {
  return { revision: revisionOf(answer.header), result: putResult(answer) };
}

export function deleteResponse(answer: DeleteRangeResponse): Response {
  return { revision: revisionOf(answer.header), result: deleteResult(answer) };
}

export function txnResponse({ header, succeeded, responses }: TxnResponse): Response {
  return { revision: revisionOf(header), result: { kind: 'txn', succeeded, results: responses.map(opResult) } };
}

function opResult({ responseRange, responsePut, responseDeleteRange }: ResponseOp): OpResult {
  if (responseRange !== undefined) return rangeResult(responseRange);
  if (responsePut !== undefined) return putResult(responsePut);
  if (responseDeleteRange !== undefined) return deleteResult(responseDeleteRange);
  throw new TypeError('an answer of a kind that was not asked for');
}

function rangeResult({ kvs, count, more }: RangeResponse): RangeResult {
  return { kind: 'range', kvs: kvs.map(version), count: Number(count), more };
}

function putResult({ prevKv }: PutResponse): PutResult {
  return { kind: 'put', prevKv: prevKv && version(prevKv) };
}

function deleteResult({ deleted, prevKvs }: DeleteRangeResponse): DeleteResult {
  return { kind: 'delete', deleted: Number(deleted), prevKvs: prevKvs.map(version) };
}

function version({ key, value, lease, createRevision, modRevision, version: count }: KeyValue): KeyVersion {
  return {
    key: text(key),
    value: text(value),
    lease,
    createRevision: Number(createRevision),
    modRevision: Number(modRevision),
    version: Number(count),
  };
}

function keys({ key, end = '' }: KeyRange): { key: Buffer; rangeEnd: Buffer } {
  return { key: bytes(key), rangeEnd: bytes(end) };
}

function bytes(latin1: string): Buffer {
  return Buffer.from(latin1, 'latin1');
}

function text(raw: Uint8Array): string {
  return Buffer.from(raw).toString('latin1');
}

export function revisionOf(header: ResponseHeader | undefined): number {
  return Number(header?.revision ?? 0n);
}

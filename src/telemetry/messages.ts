/**
 * What can be told of calls from their messages, without knowing the types of all of them:
 * how large, how many keys, which revision. Never what is in them, but for the key where
 * `captureKeys` asks for it.
 *
 * Everything here runs only for spans that are recorded.
 *
 * @module
 */

import type { Attributes } from '@opentelemetry/api';
import type { CaptureKeys } from './api.ts';
import { ETCD, OTEL } from './semconv.ts';

/** The fields that requests of KV and transactions may have; all others are not looked at. */
interface RequestShape {
  readonly key?: Uint8Array | undefined;
  readonly rangeEnd?: Uint8Array | undefined;
  readonly value?: Uint8Array | undefined;
  readonly compare?: readonly unknown[] | undefined;
  readonly success?: readonly OpShape[] | undefined;
  readonly failure?: readonly OpShape[] | undefined;
}

interface OpShape {
  readonly requestPut?: RequestShape | undefined;
  readonly requestRange?: RequestShape | undefined;
  readonly requestDeleteRange?: RequestShape | undefined;
  readonly requestTxn?: RequestShape | undefined;
}

interface KvShape {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** The same for answers. */
interface AnswerShape {
  readonly header?: { readonly revision: bigint } | undefined;
  readonly kvs?: readonly KvShape[] | undefined;
  readonly count?: bigint | undefined;
  readonly deleted?: bigint | undefined;
  readonly succeeded?: boolean | undefined;
  readonly responses?: readonly AnswerOpShape[] | undefined;
}

interface AnswerOpShape {
  readonly responsePut?: unknown;
  readonly responseRange?: AnswerShape | undefined;
  readonly responseDeleteRange?: AnswerShape | undefined;
  readonly responseTxn?: AnswerShape | undefined;
}

const decoder = new TextDecoder();

/** Attributes of a request. Bytes are those of keys and values; the frame around them is not counted. */
export function requestAttributes(message: object, captureKeys: CaptureKeys): Attributes {
  const request = message as RequestShape;
  const attributes: Attributes = { [ETCD.requestBytes]: requestBytes(request) };
  const { success, failure, compare } = request;
  if (success !== undefined || failure !== undefined) {
    const size = (success?.length ?? 0) + (failure?.length ?? 0);
    // The convention: a batch is two operations or more.
    if (size > 1) attributes[OTEL.dbBatchSize] = size;
    attributes[ETCD.compares] = compare?.length ?? 0;
  }
  return Object.assign(attributes, keyAttributes(request.key, request.rangeEnd, captureKeys));
}

/** The key, or the part of it that may be told. */
export function keyAttributes(
  key: Uint8Array | undefined,
  rangeEnd: Uint8Array | undefined,
  captureKeys: CaptureKeys,
): Attributes {
  if (captureKeys === 'none' || !(key instanceof Uint8Array)) return {};
  const text = decoder.decode(key);
  const slash = text.indexOf('/', 1);
  const attributes: Attributes = slash < 0 ? {} : { [ETCD.keyPrefix]: text.slice(0, slash + 1) };
  if (captureKeys === 'full') {
    attributes[ETCD.key] = text;
    if (rangeEnd instanceof Uint8Array && rangeEnd.length > 0) attributes[ETCD.rangeEnd] = decoder.decode(rangeEnd);
  }
  return attributes;
}

function requestBytes({ key, rangeEnd, value, success, failure }: RequestShape): number {
  let bytes = (key?.length ?? 0) + (rangeEnd?.length ?? 0) + (value?.length ?? 0);
  for (const ops of [success, failure]) {
    for (const { requestPut, requestRange, requestDeleteRange, requestTxn } of ops ?? []) {
      bytes += requestBytes(requestPut ?? requestRange ?? requestDeleteRange ?? requestTxn ?? {});
    }
  }
  return bytes;
}

/** Attributes of an answer. */
export function answerAttributes(message: object): Attributes {
  const answer = message as AnswerShape;
  const attributes: Attributes = {};
  const revision = answer.header?.revision;
  // As a number: exact up to 2^53, which a store reaches after centuries.
  if (revision !== undefined) attributes[ETCD.revision] = Number(revision);
  const { kvs, count, deleted, succeeded } = answer;
  if (kvs !== undefined) {
    attributes[OTEL.dbReturnedRows] = kvs.length;
    attributes[ETCD.responseBytes] = answerBytes(answer);
  }
  if (count !== undefined) attributes[ETCD.keyCount] = Number(count);
  if (deleted !== undefined) attributes[ETCD.keyCount] = Number(deleted);
  if (answer.responses !== undefined && succeeded !== undefined) {
    attributes[ETCD.succeeded] = succeeded;
    attributes[ETCD.responseBytes] = answerBytes(answer);
  }
  return attributes;
}

function answerBytes({ kvs, responses }: AnswerShape): number {
  let bytes = 0;
  for (const { key, value } of kvs ?? []) bytes += key.length + value.length;
  for (const { responseRange, responseTxn } of responses ?? [])
    bytes += answerBytes(responseRange ?? responseTxn ?? {});
  return bytes;
}

/** The revision that a call of the KV service has made; undefined when it changed nothing. */
export function madeRevision(operation: string, message: object): bigint | undefined {
  const answer = message as AnswerShape;
  const made =
    operation === 'put' ||
    (operation === 'delete_range' && (answer.deleted ?? 0n) > 0n) ||
    (operation === 'txn' && wrote(answer));
  return made ? answer.header?.revision : undefined;
}

function wrote({ responses = [] }: AnswerShape): boolean {
  return responses.some(
    ({ responsePut, responseDeleteRange, responseTxn }) =>
      responsePut !== undefined ||
      (responseDeleteRange?.deleted ?? 0n) > 0n ||
      (responseTxn !== undefined && wrote(responseTxn)),
  );
}

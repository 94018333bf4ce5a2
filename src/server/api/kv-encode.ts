/**
 * Responses with keys in them, made of stored bytes.
 *
 * A record is stored as it is sent: an encoded `mvccpb.KeyValue`. So an answer is put together from such pieces, and no
 * record is decoded for it. The field numbers here are those of `rpc.proto`; the tests decode what these functions make
 * with the generated codecs, and compare it with what those would have made of the same fields.
 *
 * Messages are written back to front, as the {@link Writer} does: the last field first.
 *
 * @module
 */
import {
  type DeleteRangeRequest,
  type RangeRequest,
  type RequestOp,
  type ResponseHeader,
  type TxnRequest,
  writeResponseHeader,
} from '../../protocol/generated/etcdserverpb.ts';
import { writeKeyValue } from '../../protocol/generated/mvccpb.ts';
import { fromLatin1 } from '../../protocol/keys.ts';
import { type Init, Writer } from '../../protocol/wire.ts';
import type { QueryResult } from '../mvcc/query.ts';
import type { KvRecord } from '../mvcc/record.ts';
import type { OpResult } from '../mvcc/txn.ts';
import { Encoded } from '../rpc/call.ts';

/** A header, as far as it is filled in. */
export type Header = Init<ResponseHeader>;

type Result<Type extends OpResult['type']> = Extract<OpResult, { readonly type: Type }>;

/** Tags: the number of the field, and how it is written. */
const HEADER = 10;
const RANGE_KVS = 18;
const RANGE_MORE = 24;
const RANGE_COUNT = 32;
const PUT_PREV_KV = 18;
const DELETE_DELETED = 16;
const DELETE_PREV_KVS = 26;
const TXN_SUCCEEDED = 16;
const TXN_RESPONSES = 26;
const OP_RANGE = 10;
const OP_PUT = 18;
const OP_DELETE = 26;
const OP_TXN = 34;
const STREAM_RANGE = 10;

/** For whole messages, one at a time: nothing here waits. */
const writer = new Writer();

function encoded(write: (writer: Writer) => void): Encoded {
  writer.begin();
  write(writer);
  return new Encoded(writer.finish());
}

/** A `RangeResponse`. */
export function encodeRange(header: Header, found: QueryResult, keysOnly: boolean): Encoded {
  return encoded((w) => {
    writeRange(w, header, found, keysOnly);
  });
}

/** A chunk of a `RangeStream`; only the last one has a header, a count and `more`. */
export function encodeRangeChunk(
  records: readonly KvRecord[],
  keysOnly: boolean,
  last: { readonly header: Header; readonly count: number; readonly more: boolean } | undefined,
): Encoded {
  return encoded((w) => {
    const found = { records, count: last?.count ?? 0, more: last?.more ?? false };
    writeRange(w, last?.header, found, keysOnly);
    w.close(STREAM_RANGE, 0);
  });
}

/** A `PutResponse`. */
export function encodePut(header: Header, result: Result<'put'>): Encoded {
  return encoded((w) => {
    writePut(w, header, result);
  });
}

/** A `DeleteRangeResponse`. */
export function encodeDelete(header: Header, result: Result<'delete'>, prevKv: boolean): Encoded {
  return encoded((w) => {
    writeDelete(w, header, result, prevKv);
  });
}

/** A `TxnResponse`. `request` says what was asked of each operation. */
export function encodeTxn(header: Header, result: Result<'txn'>, request: TxnRequest): Encoded {
  return encoded((w) => {
    writeTxn(w, header, result, request);
  });
}

function writeHeader(w: Writer, header: Header | undefined): void {
  if (header === undefined) return;
  const before = w.size();
  writeResponseHeader(w, header);
  w.close(HEADER, before);
}

function writeRange(w: Writer, header: Header | undefined, found: QueryResult, keysOnly: boolean): void {
  const { records, count, more } = found;
  if (count > 0) w.int64(RANGE_COUNT, BigInt(count));
  if (more) w.bool(RANGE_MORE, true);
  for (let at = records.length; at-- > 0; ) {
    const record = records[at] as KvRecord;
    if (keysOnly) writeKeyOnly(w, record);
    else w.bytes(RANGE_KVS, record.bytes);
  }
  writeHeader(w, header);
}

/** All but the value. */
function writeKeyOnly(w: Writer, { key, createRevision, main, version, lease }: KvRecord): void {
  const before = w.size();
  writeKeyValue(w, {
    key: fromLatin1(key),
    createRevision: BigInt(createRevision),
    modRevision: BigInt(main),
    version: BigInt(version),
    lease,
  });
  w.close(RANGE_KVS, before);
}

function writePut(w: Writer, header: Header, { previous }: Result<'put'>): void {
  if (previous) w.bytes(PUT_PREV_KV, previous.bytes);
  writeHeader(w, header);
}

function writeDelete(w: Writer, header: Header, { deleted }: Result<'delete'>, prevKv: boolean): void {
  if (prevKv) for (let at = deleted.length; at-- > 0; ) w.bytes(DELETE_PREV_KVS, (deleted[at] as KvRecord).bytes);
  if (deleted.length > 0) w.int64(DELETE_DELETED, BigInt(deleted.length));
  writeHeader(w, header);
}

function writeTxn(w: Writer, header: Header, { succeeded, results }: Result<'txn'>, request: TxnRequest): void {
  const ops = succeeded ? request.success : request.failure;
  for (let at = results.length; at-- > 0; ) {
    const before = w.size();
    writeOp(w, results[at] as OpResult, ops[at] as RequestOp);
    w.close(TXN_RESPONSES, before);
  }
  if (succeeded) w.bool(TXN_SUCCEEDED, true);
  writeHeader(w, header);
}

/** The header of an operation has nothing but a revision; that of a transaction inside is empty. */
function writeOp(w: Writer, result: OpResult, op: RequestOp): void {
  const before = w.size();
  switch (result.type) {
    case 'range':
      writeRange(w, revisionOnly(result), result.found, (op.requestRange as RangeRequest).keysOnly);
      w.close(OP_RANGE, before);
      break;
    case 'put':
      writePut(w, revisionOnly(result), result);
      w.close(OP_PUT, before);
      break;
    case 'delete':
      writeDelete(w, revisionOnly(result), result, (op.requestDeleteRange as DeleteRangeRequest).prevKv);
      w.close(OP_DELETE, before);
      break;
    case 'txn':
      writeTxn(w, {}, result, op.requestTxn as TxnRequest);
      w.close(OP_TXN, before);
  }
}

function revisionOnly({ revision }: { readonly revision: number }): Header {
  return { revision: BigInt(revision) };
}

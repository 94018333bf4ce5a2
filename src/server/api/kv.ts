/**
 * The service KV.
 *
 * Reads look at the state here, after waiting for what anybody could know of already, unless they are content with less
 * (`serializable`). Writes go through the log; so does a transaction that has anything but ranges in it, whichever
 * branch it takes. What the caller may do was checked before a read waited, and is looked at again after that:
 * permissions that were taken away before the request was sent may arrive here only then.
 *
 * Source: etcd's API reference (`KV`), and its servers 3.4 and 3.5 as observed.
 *
 * @module
 */
import type {
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RangeStreamResponse,
  TxnRequest,
  TxnResponse,
} from '../../protocol/generated/etcdserverpb.ts';
import { KV } from '../../protocol/generated/etcdserverpb.ts';
import type { Result } from '../apply/outcome.ts';
import type { Actor } from '../auth/store.ts';
import type { Proposed, ServingMember } from '../member/serving.ts';
import { type QueryResult, query } from '../mvcc/query.ts';
import { type ApplyError, readTxn } from '../mvcc/txn.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import type { Encoded, Method, Outlet, Reply, ServerCall } from '../rpc/call.ts';
import { during } from '../tracing.ts';
import type { ApiOptions, Guard } from './guard.ts';
import { headerAfter, headerOf } from './header.ts';
import { checkDelete, checkedFirst, checkPut, checkRange, checkRangeStream, refuse } from './kv-check.ts';
import { encodeDelete, encodePut, encodeRange, encodeTxn } from './kv-encode.ts';
import { streamRange } from './kv-stream.ts';
import { checkTxn, isReadOnly, isSerializable } from './txn-check.ts';

/** The methods of `etcdserverpb.KV`. */
export function kvMethods(member: ServingMember, guard: Guard, options: ApiOptions): readonly Method[] {
  const service = new KvService(member, options);
  return [
    checkedFirst(guard.unary(KV.range, service.range), checkRange),
    checkedFirst(guard.serverStream(KV.rangeStream, service.rangeStream), checkRangeStream),
    checkedFirst(guard.unary(KV.put, service.put), checkPut),
    checkedFirst(guard.unary(KV.deleteRange, service.deleteRange), checkDelete),
    checkedFirst(guard.unary(KV.txn, service.txn), (request: TxnRequest) => checkTxn(request, options.maxTxnOps)),
    guard.unary(KV.compact, service.compact),
  ];
}

class KvService {
  readonly #member: ServingMember;
  readonly #options: ApiOptions;

  constructor(member: ServingMember, options: ApiOptions) {
    this.#member = member;
    this.#options = options;
  }

  readonly range = async (request: RangeRequest, call: ServerCall, actor: Actor): Promise<Reply<RangeResponse>> => {
    const found = await this.#read(request, call, actor);
    return encodeRange(headerOf(this.#member), found, request.keysOnly);
  };

  readonly rangeStream = async (
    request: RangeRequest,
    call: ServerCall,
    out: Outlet<RangeStreamResponse>,
    actor: Actor,
  ): Promise<void> => {
    const found = await this.#read(request, call, actor);
    const header = headerOf(this.#member);
    await streamRange({ request, found, header, maxBytes: this.#options.maxRequestBytes }, out, call.signal);
  };

  readonly put = async (request: PutRequest, call: ServerCall, actor: Actor): Promise<Reply<PutResponse>> => {
    const signal = call.cancellation ?? call.signal;
    const done = await this.#member.propose({ put: request }, { actor, signal, span: call.span });
    return encodePut(headerAfter(this.#member, done), resultOf(done, 'put'));
  };

  readonly deleteRange = async (
    request: DeleteRangeRequest,
    call: ServerCall,
    actor: Actor,
  ): Promise<Reply<DeleteRangeResponse>> => {
    const signal = call.cancellation ?? call.signal;
    const done = await this.#member.propose({ deleteRange: request }, { actor, signal, span: call.span });
    return encodeDelete(headerAfter(this.#member, done), resultOf(done, 'delete'), request.prevKv);
  };

  readonly txn = async (request: TxnRequest, call: ServerCall, actor: Actor): Promise<Reply<TxnResponse>> => {
    if (isReadOnly(request)) return this.#readTxn(request, call, actor);
    const signal = call.cancellation ?? call.signal;
    const done = await this.#member.propose({ txn: request }, { actor, signal, span: call.span });
    return encodeTxn(headerAfter(this.#member, done), resultOf(done, 'txn'), request);
  };

  readonly compact = async (
    request: CompactionRequest,
    call: ServerCall,
    actor: Actor,
  ): Promise<Reply<CompactionResponse>> => {
    const done = await this.#member.propose({ compaction: request }, { actor, signal: call.signal, span: call.span });
    if (request.physical) await this.#member.swept?.(call.signal);
    return { header: headerAfter(this.#member, done) };
  };

  async #readTxn(request: TxnRequest, call: ServerCall, actor: Actor): Promise<Encoded> {
    await this.#catchUp(isSerializable(request), call, actor);
    const result = readTxn(this.#member.state.store, request);
    if (typeof result === 'string') throw new RpcError(refusalOf(result));
    return encodeTxn(headerOf(this.#member), result, request);
  }

  /** What it gives is of now: take the header in the same turn. */
  async #read(request: RangeRequest, call: ServerCall, actor: Actor): Promise<QueryResult> {
    await this.#catchUp(request.serializable, call, actor);
    const found = query(this.#member.state.store, request);
    if (typeof found === 'string') throw new RpcError(refusalOf(found));
    return found;
  }

  async #catchUp(serializable: boolean, call: ServerCall, actor: Actor): Promise<void> {
    if (serializable) return;
    const waited = this.#member.linearize(call.cancellation ?? call.signal);
    await (call.span ? during(call.span, 'raft.read_index', waited) : waited);
    refuse(this.#member.state.auth.checkUnchanged(actor));
  }
}

/** What came out of the log for a request of one kind. */
function resultOf<Type extends Result['type']>({ result }: Proposed, type: Type): Extract<Result, { type: Type }> {
  if (result.type !== type) throw new TypeError(`a ${type} was proposed, and a ${result.type} applied`);
  return result as Extract<Result, { type: Type }>;
}

function refusalOf(error: ApplyError): Refusal {
  switch (error) {
    case 'compacted':
      return Refusals.Compacted;
    case 'future':
      return Refusals.FutureRevision;
    case 'key-not-found':
      return Refusals.KeyNotFound;
    case 'lease-not-found':
      return Refusals.LeaseNotFound;
  }
}

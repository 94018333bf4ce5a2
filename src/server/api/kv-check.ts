/**
 * What is looked at before a request of KV goes anywhere: the checks that need no state, in etcd's order.
 *
 * They come before those of the caller's rights, as with etcd: what they say depends on the request alone.
 *
 * Source: etcd's API reference (`KV`), and its servers 3.4 and 3.5 as observed. An unknown target of a sort is refused
 * as 3.6 does: it is what makes older servers crash.
 *
 * @module
 */
import {
  type DeleteRangeRequest,
  type PutRequest,
  type RangeRequest,
  RangeRequestSortOrder as SortOrder,
  RangeRequestSortTarget as SortTarget,
} from '../../protocol/generated/etcdserverpb.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import { type Method, serverStream, unary } from '../rpc/call.ts';

const SORT_TARGETS: ReadonlySet<number> = new Set(Object.values(SortTarget));

/** Looks at a request. @returns Why it is refused, if it is. */
export type Check<Request> = (request: Request) => Refusal | undefined;

/** Refuses a range without a key, and a sort by nothing known. */
export const checkRange: Check<RangeRequest> = ({ key, sortTarget }) => {
  if (key.length === 0) return Refusals.EmptyKey;
  return SORT_TARGETS.has(sortTarget) ? undefined : Refusals.InvalidSortOption;
};

/** As {@link checkRange}. A stream comes in the order of the keys, unfiltered. A target alone is an order too, so a stream refuses it. */
export const checkRangeStream: Check<RangeRequest> = (request) => {
  const refusal = checkRange(request);
  if (refusal) return refusal;
  const { sortOrder, sortTarget, minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  const byKey = sortTarget === SortTarget.KEY && (sortOrder === SortOrder.NONE || sortOrder === SortOrder.ASCEND);
  if (!byKey) return Refusals.NoCustomSort;
  const filters = [minModRevision, maxModRevision, minCreateRevision, maxCreateRevision];
  return filters.every((revision) => revision === 0n) ? undefined : Refusals.NoRevisionFilters;
};

/** Refuses a put without a key, and one that brings what it says to ignore. */
export const checkPut: Check<PutRequest> = ({ key, value, lease, ignoreValue, ignoreLease }) => {
  if (key.length === 0) return Refusals.EmptyKey;
  if (ignoreValue && value.length > 0) return Refusals.ValueProvided;
  return ignoreLease && lease !== 0n ? Refusals.LeaseProvided : undefined;
};

/** Refuses a delete without a key. */
export const checkDelete: Check<DeleteRangeRequest> = ({ key }) => (key.length === 0 ? Refusals.EmptyKey : undefined);

/** Throws what there is. */
export function refuse(refusal: Refusal | undefined): void {
  if (refusal) throw new RpcError(refusal);
}

/** The method, with a check before all else: before that of the caller's rights too. */
export function checkedFirst<Request>(method: Method, check: Check<Request>): Method {
  switch (method.kind) {
    case 'unary': {
      const { descriptor, handle } = method;
      return unary(descriptor, (request: Request, call) => {
        const refusal = check(request);
        return refusal ? Promise.reject(new RpcError(refusal)) : handle(request, call);
      });
    }
    case 'server-stream': {
      const { descriptor, handle } = method;
      return serverStream(descriptor, async (request: Request, call, out) => {
        refuse(check(request));
        await handle(request, call, out);
      });
    }
    case 'bidi':
      throw new TypeError('a stream of requests has no one request to check');
  }
}

/**
 * Reading a range of any size, page by page, all of it at one revision.
 *
 * The first page tells the revision; every further page asks for that revision, so the
 * whole is a snapshot however long the reader takes (unless the history is compacted
 * meanwhile, which is a CompactedError). Pages grow and shrink towards a size in bytes, so
 * neither small values cost many round trips nor large ones much memory. From a server
 * that has `RangeStream` (3.7) what follows the first page comes as one stream.
 *
 * @module
 */

import { KV, type RangeRequest, type RangeResponse } from '../../protocol/generated/etcdserverpb.ts';
import type { KeyValue as WireKeyValue } from '../../protocol/generated/mvccpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import { type ByteRange, keyAfter } from '../../protocol/keys.ts';
import type { Init } from '../../protocol/wire.ts';
import { onAbort } from '../../support/signals.ts';
import type { CallOptions } from '../call-options.ts';
import { supports } from '../capabilities.ts';
import type { Caller } from '../connection/caller.ts';
import { streamMessages } from '../connection/server-stream.ts';
import { EtcdError } from '../errors.ts';
import { checkRevision, positiveInteger } from './options.ts';
import { rangeTraits } from './reads.ts';

/** How to scan. */
export interface ScanOptions extends CallOptions {
  /** Reads the store as it was at this revision. Default: as it is at the first page. */
  readonly revision?: Revision | undefined;
  /** Answers from the member's own copy; see `GetOptions`. Default false. */
  readonly serializable?: boolean | undefined;
  /** Leaves the values out. */
  readonly keysOnly?: boolean | undefined;
  /** The number of keys in the first page; later pages aim at 1 MiB. Default 100. */
  readonly pageSize?: number | undefined;
  /** The time for each page, not for the whole. Default: the client's `timeoutMs`. */
  readonly timeoutMs?: number | undefined;
}

/** A part of a scan. */
export interface ScanPage {
  readonly kvs: readonly WireKeyValue[];
  readonly revision: Revision;
}

const FIRST_PAGE = 100;
/** Small values may be followed by large ones, and a server counts keys, not bytes: this bounds the surprise. */
const MAX_PAGE = 1_000;
const PAGE_BYTES = 1024 * 1024;

/** The pages of a range, in the order of the keys. */
export async function* scanPages(
  caller: Caller,
  range: ByteRange,
  options: ScanOptions,
): AsyncGenerator<ScanPage, void, void> {
  let limit = positiveInteger('pageSize', options.pageSize ?? FIRST_PAGE);
  let revision = checkRevision('revision', options.revision);
  let { key } = range;
  let streaming = true;
  for (;;) {
    const request: Init<RangeRequest> = {
      key,
      rangeEnd: range.end,
      revision,
      limit: BigInt(limit),
      keysOnly: options.keysOnly,
      serializable: options.serializable,
    };
    const page = await readPage(caller, request, key !== range.key, options);
    // 0 stands for "now" on the wire.
    const pinned = (revision || (page.header?.revision ?? 0n)) as Revision;
    revision = pinned;
    yield { kvs: page.kvs, revision: pinned };
    const last = page.kvs.at(-1);
    if (!page.more || last === undefined) return;
    key = keyAfter(last.key);
    limit = nextLimit(limit, page);
    if (streaming && streamsRanges(caller)) {
      const next = yield* streamRest(caller, { ...request, key, revision, limit: 0n }, pinned, options);
      if (next === undefined) return;
      // It broke, or the server has no such method after all: the rest comes by pages, whose errors are plain to read.
      key = next;
      streaming = false;
    }
  }
}

/** Reads one page. One at a revision that is known to exist is never too new, only new to a member that lags behind. */
async function readPage(
  caller: Caller,
  request: Init<RangeRequest>,
  exists: boolean,
  options: CallOptions,
): Promise<RangeResponse> {
  try {
    return await caller.unary(KV.range, request, rangeTraits(request), options);
  } catch (error) {
    const lags = exists && request.serializable && error instanceof EtcdError && error.code === 'future-revision';
    if (!lags) throw error;
    const current = { ...request, serializable: false };
    return caller.unary(KV.range, current, rangeTraits(current), options);
  }
}

function nextLimit(limit: number, page: RangeResponse): number {
  let bytes = 0;
  for (const { key, value } of page.kvs) bytes += key.length + value.length + 32;
  const fitting = Math.floor((limit * PAGE_BYTES) / Math.max(1, bytes));
  return Math.max(1, Math.min(MAX_PAGE, fitting, limit * 10));
}

/** Whether every member that can be asked is known to have RangeStream. */
function streamsRanges(caller: Caller): boolean {
  const healthy = caller.pool.members.filter((member) => member.healthy);
  return healthy.length > 0 && healthy.every(({ facts }) => supports(facts.version, 'rangeStream'));
}

/**
 * The rest of a scan as one stream. Returns where to go on when it broke off, nothing when
 * it got to the end. A stream that says nothing for the time of a page counts as broken.
 */
async function* streamRest(
  caller: Caller,
  request: Init<RangeRequest>,
  revision: Revision,
  options: ScanOptions,
): AsyncGenerator<ScanPage, Uint8Array | undefined, void> {
  let next = request.key as Uint8Array;
  const stop = new AbortController();
  const offAbort = onAbort(options.signal, () => stop.abort(options.signal?.reason));
  const streamOptions = { ...options, signal: stop.signal };
  const messages = streamMessages(caller, KV.rangeStream, request, rangeTraits(request), streamOptions);
  try {
    for (;;) {
      const timer = caller.clock.after(options.timeoutMs ?? caller.timeoutMs, () => stop.abort());
      const { done, value } = await messages.next().finally(() => timer.cancel());
      if (done) return undefined;
      const kvs = value.rangeResponse?.kvs ?? [];
      const last = kvs.at(-1);
      if (last === undefined) continue;
      yield { kvs, revision };
      next = keyAfter(last.key);
    }
  } catch (error) {
    if (!(error instanceof EtcdError) || options.signal?.aborted) throw error;
    return next;
  } finally {
    offAbort();
    await messages.return();
  }
}
